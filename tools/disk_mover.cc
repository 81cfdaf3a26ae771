#include "tools/disk_mover.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/json/array.hpp>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/signal_free_thread.h"
#include "migration/json_fields.h"
#include "migration/owner_check.h"
#include "migration/service_job.h"
#include "tools/command_failure.h"
#include "tools/json_output.h"
#include "tools/mover_files.h"

namespace vhdxm::tools {
namespace {

namespace json = boost::json;

/// What is wrong with it; empty if nothing is.
std::string read_disks(const json::object& request, std::vector<MoverDisks::Wish>& wishes) {
  const json::value* const disks = request.if_contains("disks");
  if (disks == nullptr || !disks->is_array() || disks->as_array().empty()) {
    return "disks: must be a list of at least one";
  }
  for (const json::value& one : disks->as_array()) {
    if (!one.is_object()) return "disks: must be objects";
    MoverDisks::Wish wish;
    migration::JsonFields fields(one.as_object());
    fields.text("name", wish.name, true);
    fields.text("path", wish.path, true);
    fields.flag("read_only", wish.read_only);
    if (std::string complaint = fields.finish(); !complaint.empty()) return complaint;
    wishes.push_back(std::move(wish));
  }
  return "";
}

/// Of disks that have just arrived.
struct Taken {
  bool taken = false;
  std::string job;  ///< That brought them; empty: nobody may forward anything.
};

/// The whole of a request that names disks. `taken`: null where it may not say so.
std::string read_wishes(const json::object& request, std::vector<MoverDisks::Wish>& wishes,
                        Taken* taken = nullptr) {
  std::string complaint = read_disks(request, wishes);
  if (!complaint.empty()) return complaint;
  json::object rest = request;
  rest.erase("disks");
  migration::JsonFields fields(rest);
  if (taken != nullptr) {
    fields.flag("taken", taken->taken);
    fields.text("job", taken->job);
  }
  return fields.finish();
}

json::object json_of(const MoverDisks::View& view) {
  const MoverDisk& disk = *view.disk;
  json::object one;
  one["name"] = json_text(disk.name());
  one["path"] = json_text(disk.path());
  one["read_only"] = disk.read_only();
  one["clients"] = view.clients;
  if (disk.live() != nullptr) {
    one["virtual_bytes"] = disk.live()->size_bytes();
    one["differencing"] = disk.live()->geometry().type == vhdx::DiskType::kDifferencing;
  }
  return one;
}

}  // namespace

Result<std::unique_ptr<DiskMover>> DiskMover::start(const std::string& socket, About about,
                                                    std::function<void()> end) {
  std::unique_ptr<DiskMover> mover(new DiskMover(std::move(about), std::move(end)));
  DiskMover* const self = mover.get();
  VHDXM_TRY(mover->server_,
            MoverServer::start(socket, [self](const std::string& op, const auto& request) {
              return self->answer(op, request);
            }));
  if (mover->about_.life_fd >= 0) {
    mover->life_ = signal_free_thread([self] { self->watch_life(); });
  }
  return mover;
}

DiskMover::~DiskMover() {
  end_job();
  // nbdkit removes a name that it does not have any more.
  for (const std::string& path : {about_.waits_at, about_.serves_at}) {
    if (!path.empty()) ::unlink(path.c_str());
  }
  if (about_.life_fd < 0) return;
  ::shutdown(about_.life_fd, SHUT_RDWR);  // its thread may wait there
  if (life_.joinable()) life_.join();
  ::close(about_.life_fd);
}

/// Ends a mover that nobody will ever give a disk to.
void DiskMover::watch_life() {
  char nothing = 0;
  while (::read(about_.life_fd, &nothing, 1) < 0 && errno == EINTR) {
  }
  {
    const std::lock_guard lock(mutex_);
    orphan_ = true;
    if (ending_ || opening_ || !disks_.list().empty()) return;
    ending_ = true;
  }
  end_();
}

void DiskMover::note_clients() {
  const bool in_use = disks_.clients() != 0;
  if (job_ != nullptr) job_->set_in_use(in_use);
}

DiskMover::Opened DiskMover::client_opens(const std::string& export_name) {
  const std::lock_guard lock(mutex_);
  if (ending_) return {};
  const auto forwarded = forwarded_.find(export_name);
  Opened opened{.disk = disks_.client_opens(forwarded ? forwarded->disk : export_name),
                .session = std::nullopt};
  if (forwarded) opened.session = forwarded->session;
  if (opened.disk != nullptr) note_clients();
  return opened;
}

void DiskMover::client_closes(MoverDisk& disk) {
  const std::lock_guard lock(mutex_);
  if (disks_.client_closes(disk) == 0) disk.rest();
  note_clients();
}

void DiskMover::close_all() {
  bool well = true;
  if (about_.group) {
    for (const auto& name : disks_.expected()) unlink_client_socket(about_.run_folder, name);
  }
  for (const MoverDisks::View& view : disks_.list()) {
    if (about_.group) unlink_client_socket(about_.run_folder, view.disk->name());
    if (view.disk->close().has_error()) well = false;
  }
  json::object event;
  event["event"] = "closed";
  event["well"] = well;
  server_->publish(event);
}

MoverAnswer DiskMover::answer(const std::string& op, const json::object& request) {
  if (op == "status") return describe();
  if (op == "expect") return expect(request);
  if (op == "open") return open(request);
  if (op == "close") return close(request);
  if (op == "end") return end(request);
  if (op == "move") return move(request);
  if (op == "forward") return forward(request);
  return mover_error("unknown_op", fmt::format("a disk's mover does not know '{}'", op));
}

MoverAnswer DiskMover::describe() {
  MoverAnswer answer;
  answer.fields["kind"] = "disk";
  answer.fields["software"] = VHDXM_VERSION;
  answer.fields["pid"] = ::getpid();
  json::array disks;
  bool writable = false;
  bool forwards = false;
  for (const MoverDisks::View& view : disks_.list()) {
    disks.push_back(json_of(view));
    if (!view.disk->read_only()) writable = true;
    if (view.disk->live() != nullptr && view.disk->elsewhere() != nullptr) forwards = true;
  }
  answer.fields["disks"] = std::move(disks);
  // Another host owns the disks, or will: writes are refused.
  answer.fields["fenced"] =
      writable && disks_.gate()->state() == transfer::WriteGate::State::kFenced;
  answer.fields["forwards"] = forwards;
  const std::lock_guard lock(mutex_);
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

/// Clients find the disks from here on.
Result<void> DiskMover::show(const std::vector<MoverDisks::Wish>& disks) {
  if (about_.serves_at.empty()) return {};
  if (::rename(about_.waits_at.c_str(), about_.serves_at.c_str()) != 0 && errno != ENOENT) {
    return errno_error("give the NBD socket its name").about(about_.serves_at);
  }
  if (!about_.group) return {};
  for (const MoverDisks::Wish& one : disks) {
    VHDXM_TRY_VOID(link_client_socket(about_.run_folder, one.name, about_.serves_at));
  }
  return {};
}

MoverAnswer DiskMover::expect(const json::object& request) {
  std::vector<MoverDisks::Wish> wishes;
  const std::string complaint = read_wishes(request, wishes);
  if (!complaint.empty()) return mover_error("bad_request", complaint);
  {
    const std::lock_guard lock(mutex_);
    if (ending_) return mover_error("in_use", "the mover is ending");
  }
  disks_.expect(wishes);
  if (const auto shown = show(wishes); shown.has_error()) {
    return mover_error("failed", failure_of(shown.error()).message);
  }
  return describe();
}

MoverAnswer DiskMover::open(const json::object& request) {
  Taken taken;
  std::vector<MoverDisks::Wish> wishes;
  const std::string complaint = read_wishes(request, wishes, &taken);
  if (!complaint.empty()) return mover_error("bad_request", complaint);
  {
    const std::lock_guard lock(mutex_);
    if (ending_) return mover_error("in_use", "the mover is ending");
    if (moves()) {
      return mover_error("moving", fmt::format("job {} moves its disks", job_->id()));
    }
    opening_ = true;
  }
  // Before anybody here can write: whoever does ends it.
  if (!taken.job.empty()) forwarded_.allow(taken.job);
  auto opened = disks_.open(wishes, [&](const MoverDisks::Wish& wish) {
    return taken.taken ? migration::check_taken_record(wish.path, about_.state_folder)
                       : migration::check_owner_record(wish.path);
  });
  if (opened.has_value()) opened = show(wishes);
  bool forsaken = false;
  {
    const std::lock_guard lock(mutex_);
    opening_ = false;
    forsaken = orphan_ && disks_.list().empty();
    if (forsaken) ending_ = true;
  }
  if (forsaken) end_();
  if (opened.has_error()) {
    const CommandFailure failure = failure_of(opened.error());
    MoverAnswer refused = mover_error("failed", failure.message);
    refused.fields["advice"] = json_text(failure.advice);
    return refused;
  }
  return describe();
}

MoverAnswer DiskMover::close(const json::object& request) {
  std::string name;
  bool force = false;
  migration::JsonFields fields(request);
  fields.text("name", name, true);
  fields.flag("force", force);
  if (const std::string complaint = fields.finish(); !complaint.empty()) {
    return mover_error("bad_request", complaint);
  }
  std::shared_ptr<MoverDisk> disk;
  {
    const std::lock_guard lock(mutex_);
    if (moves()) {
      return mover_error("moving", fmt::format("job {} moves the disk: cancel it", job_->id()));
    }
    const auto found = disks_.find(name);
    if (!found) return mover_error("not_there", fmt::format("there is no disk '{}'", name));
    if (found->clients != 0 && !force) {
      MoverAnswer refused =
          mover_error("in_use", fmt::format("{} clients use the disk", found->clients));
      refused.fields["clients"] = found->clients;
      return refused;
    }
    disk = disks_.take(name);
    job_.reset();  // one that is over has the disk still
  }
  if (about_.group) unlink_client_socket(about_.run_folder, name);
  MoverAnswer answer;
  answer.fields["well"] = disk->close().has_value();
  disk->let_go();
  return answer;
}

MoverAnswer DiskMover::move(const json::object& request) {
  std::string id;
  migration::JsonFields fields(request);
  fields.text("id", id, true);
  std::string complaint = fields.finish();
  if (complaint.empty() && !migration::is_job_id(id)) complaint = "id: is none";
  if (!complaint.empty()) return mover_error("bad_request", complaint);
  const std::lock_guard lock(mutex_);
  if (ending_) return mover_error("in_use", "the disk is being closed");
  if (moves()) return mover_error("in_use", fmt::format("job {} moves the disk", job_->id()));
  // A job moves all disks behind the gate, or one would be fenced with them that was never sent.
  if (opening_) return mover_error("not_now", "it is opening a disk");
  LiveJob::Setting setting{.state_folder = about_.state_folder,
                           .run_folder = about_.run_folder,
                           .id = id,
                           .disks = {},
                           .in_use = disks_.clients() != 0,
                           .make_elsewhere = about_.make_elsewhere};
  for (const MoverDisks::View& view : disks_.list()) {
    if (view.disk->read_only() || view.disk->live() == nullptr) {
      return mover_error("read_only", "the disk is exported read-only");
    }
    setting.disks.push_back(
        {.disk = view.disk->live(),
         .path = view.disk->path(),
         .set_elsewhere = [disk = view.disk](std::shared_ptr<ElsewhereDisk> elsewhere) {
           disk->set_elsewhere(std::move(elsewhere));
         }});
  }
  if (setting.disks.empty() || about_.state_folder.empty()) {
    return mover_error("not_now", "there is no disk that it could move");
  }
  job_.reset();  // an earlier one ends wholly before the next begins
  job_ = std::make_unique<LiveJob>(std::move(setting), [this](bool begun) {
    json::object event;
    event["event"] = "move";
    event["begun"] = begun;
    server_->publish(event);
  });
  MoverAnswer answer;
  answer.fields["id"] = id;
  answer.subscribes = true;  // for the event "move"
  return answer;
}

MoverAnswer DiskMover::forward(const json::object& request) {
  std::string name;
  std::string job;
  migration::JsonFields fields(request);
  fields.text("name", name, true);
  fields.text("job", job, true);
  if (const std::string complaint = fields.finish(); !complaint.empty()) {
    return mover_error("bad_request", complaint);
  }
  if (!disks_.find(name)) return mover_error("not_now", fmt::format("'{}' is not open yet", name));
  const ForwardedWrites::Outcome begun = forwarded_.begin(job, name);
  if (!begun.session) {
    if (begun.refusal == ForwardedWrites::Refusal::kNotYet) {
      return mover_error("not_now", "writes that were forwarded earlier are under way");
    }
    return mover_error("not_there",
                       "the disk did not come by that job, or its mover was started anew since: "
                       "nothing is forwarded to it");
  }
  MoverAnswer answer;
  answer.fields["export"] = begun.session->export_name;
  answer.fields["instance"] = forwarded_.instance();
  return answer;
}

MoverAnswer DiskMover::end(const json::object& request) {
  bool force = false;
  migration::JsonFields fields(request);
  fields.flag("force", force);
  if (const std::string complaint = fields.finish(); !complaint.empty()) {
    return mover_error("bad_request", complaint);
  }
  {
    const std::lock_guard lock(mutex_);
    if (moves()) {
      return mover_error("moving", fmt::format("job {} moves the disk: cancel it", job_->id()));
    }
    if (const std::uint64_t clients = disks_.clients(); clients != 0 && !force) {
      MoverAnswer refused = mover_error("in_use", fmt::format("{} clients use the disk", clients));
      refused.fields["clients"] = clients;
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
