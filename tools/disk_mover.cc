#include "tools/disk_mover.h"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "migration/json_fields.h"
#include "migration/service_job.h"
#include "tools/json_output.h"

namespace vhdxm::tools {

Result<std::unique_ptr<DiskMover>> DiskMover::start(const std::string& socket, About about,
                                                    std::function<void()> end) {
  std::unique_ptr<DiskMover> mover(new DiskMover(std::move(about), std::move(end)));
  DiskMover* const self = mover.get();
  VHDXM_TRY(mover->server_,
            MoverServer::start(socket, [self](const std::string& op, const auto& request) {
              return self->answer(op, request);
            }));
  return mover;
}

bool DiskMover::client_opens() {
  const std::lock_guard lock(mutex_);
  if (ending_) return false;
  if (clients_++ == 0 && job_ != nullptr) job_->set_in_use(true);
  return true;
}

void DiskMover::client_closes() {
  const std::lock_guard lock(mutex_);
  if (--clients_ == 0 && job_ != nullptr) job_->set_in_use(false);
}

void DiskMover::closed(bool well) {
  boost::json::object event;
  event["event"] = "closed";
  event["well"] = well;
  server_->publish(event);
}

MoverAnswer DiskMover::answer(const std::string& op, const boost::json::object& request) {
  if (op == "status") return describe();
  if (op == "end") return end(request);
  if (op == "move") return move(request);
  return mover_error("unknown_op", fmt::format("a disk's mover does not know '{}'", op));
}

MoverAnswer DiskMover::describe() {
  MoverAnswer answer;
  answer.fields["kind"] = "disk";
  answer.fields["software"] = VHDXM_VERSION;
  answer.fields["pid"] = ::getpid();
  answer.fields["name"] = json_text(about_.name);
  answer.fields["path"] = json_text(about_.path);
  answer.fields["read_only"] = about_.read_only;
  answer.fields["virtual_bytes"] = about_.virtual_bytes;
  if (about_.disk != nullptr && !about_.read_only) {
    // Another host owns the disk, or will: writes are refused.
    answer.fields["fenced"] = about_.disk->gate().state() == transfer::WriteGate::State::kFenced;
  }
  if (about_.disk != nullptr) {
    answer.fields["differencing"] = about_.disk->geometry().type == vhdx::DiskType::kDifferencing;
  }
  const std::lock_guard lock(mutex_);
  answer.fields["clients"] = clients_;
  answer.fields["ending"] = ending_;
  if (moves()) answer.fields["job"] = job_->id();
  return answer;
}

void DiskMover::end_job() {
  std::unique_ptr<LiveJob> job;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;  // no other begins
    job = std::move(job_);
  }
}

MoverAnswer DiskMover::move(const boost::json::object& request) {
  std::int64_t version = 0;
  std::string op;
  std::string id;
  migration::JsonFields fields(request);
  fields.number("version", version, kMoverProtocol, kMoverProtocol);
  fields.text("op", op);
  fields.text("id", id, true);
  std::string complaint = fields.finish();
  if (complaint.empty() && !migration::is_job_id(id)) complaint = "id: is none";
  if (!complaint.empty()) return mover_error("bad_request", complaint);
  if (about_.disk == nullptr || about_.read_only || about_.state_folder.empty()) {
    return mover_error("read_only", "the disk is exported read-only");
  }
  const std::lock_guard lock(mutex_);
  if (ending_) return mover_error("in_use", "the disk is being closed");
  if (moves()) return mover_error("in_use", fmt::format("job {} moves the disk", job_->id()));
  job_.reset();  // an earlier one ends wholly before the next begins
  job_ = std::make_unique<LiveJob>(LiveJob::Setting{.state_folder = about_.state_folder,
                                                    .run_folder = about_.run_folder,
                                                    .id = id,
                                                    .disk = about_.disk,
                                                    .path = about_.path,
                                                    .in_use = clients_ != 0},
                                   [this](bool begun) {
                                     boost::json::object event;
                                     event["event"] = "move";
                                     event["begun"] = begun;
                                     server_->publish(event);
                                   });
  MoverAnswer answer;
  answer.fields["id"] = id;
  answer.subscribes = true;  // for the event "move"
  return answer;
}

MoverAnswer DiskMover::end(const boost::json::object& request) {
  std::int64_t version = 0;
  std::string op;
  bool force = false;
  migration::JsonFields fields(request);
  fields.number("version", version, kMoverProtocol, kMoverProtocol);
  fields.text("op", op);
  fields.flag("force", force);
  if (const std::string complaint = fields.finish(); !complaint.empty()) {
    return mover_error("bad_request", complaint);
  }
  {
    const std::lock_guard lock(mutex_);
    if (moves()) {
      return mover_error("moving", fmt::format("job {} moves the disk: cancel it", job_->id()));
    }
    if (clients_ != 0 && !force) {
      MoverAnswer refused = mover_error("in_use", fmt::format("{} clients use the disk", clients_));
      refused.fields["clients"] = clients_;
      return refused;
    }
    ending_ = true;
  }
  end_();
  MoverAnswer answer;
  answer.fields["ending"] = true;
  answer.subscribes = true;  // for the event "closed"
  return answer;
}

}  // namespace vhdxm::tools
