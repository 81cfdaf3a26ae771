#include "tools/host_arrivals.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "base/size_text.h"
#include "tools/endpoint.h"
#include "tools/json_output.h"
#include "transfer/pairing_key.h"

namespace vhdxm::tools {
namespace {

using transfer::ReceiverEvent;

/// That are over and still told of.
constexpr std::size_t kArrivalsKept = 200;

}  // namespace

const char* to_string(ArrivalView::State state) {
  switch (state) {
    case ArrivalView::State::kRunning:
      return "running";
    case ArrivalView::State::kDone:
      return "done";
    case ArrivalView::State::kFailed:
      return "failed";
  }
  return "unknown";
}

boost::system::result<std::unique_ptr<HostArrivals>, CommandFailure> HostArrivals::start(
    const migration::HostSettings& settings, migration::HostOwnership& ownership,
    migration::ArrivalHooks hooks, transfer::ForwardFunction forward, ServiceLog& log) {
  auto key = transfer::PairingKey::read_or_create_file(settings.key_file);
  if (key.has_error()) return failure_of(key.error());
  std::unique_ptr<HostArrivals> arrivals(new HostArrivals(log));
  HostArrivals* const self = arrivals.get();
  // The sentence first: the job is over for whoever watches it when the receiver says so.
  hooks.on_over = [self, on_over = std::move(hooks.on_over)](const migration::Arrival& arrival) {
    self->note_owner(arrival);
    on_over(arrival);
  };
  VHDXM_COMMAND_TRY(
      arrivals->receiver_,
      transfer::Receiver::bind({.into = settings.folder,
                                .folders = settings.folders,
                                .listen_address = settings.listen_address,
                                .port = settings.port,
                                .key = *key,
                                .jobs_max = settings.max_arrivals,
                                .owner_uid = settings.owner_uid,
                                .owner_gid = settings.owner_gid,
                                .file_mode = settings.file_mode,
                                .cutover_target = migration::arrivals(
                                    ownership, settings.arrival_folders(), std::move(hooks)),
                                .forward = std::move(forward)},
                               [self](const ReceiverEvent& event) { self->note(event); }));
  arrivals->thread_ = std::thread([self] { (void)self->receiver_->run(); });
  log.info(
      fmt::format("listening on {}; disks arrive in {}", arrivals->address(), settings.folder));
  return arrivals;
}

HostArrivals::~HostArrivals() {
  if (!thread_.joinable()) return;
  receiver_->stop();
  thread_.join();
}

void HostArrivals::note(const ReceiverEvent& event) {
  const std::lock_guard lock(mutex_);
  using enum ReceiverEvent::Type;
  if (event.type == kPeerRefused) {
    ++counts_.refused;
    const std::string why = event.failure ? failure_of(*event.failure).message : "no reason known";
    log_.warning(fmt::format("{}: turned away: {}", event.peer, why));
    return;
  }
  auto [found, is_new] = arrivals_.try_emplace(event.job);
  ArrivalView& arrival = found->second;
  if (is_new) {
    arrival.id = fmt::format("arrival-{}", event.job);
    arrival.peer = event.peer;
    arrival.created = rfc3339(std::chrono::system_clock::now());
    log_.notice(fmt::format("{}: from {}: started", arrival.id, event.peer));
  }
  ++arrival.revision;
  switch (event.type) {
    case kProgress:
      if (event.progress) {
        const ProgressSample sample = sample_of(*event.progress);
        Pace& pace = paces_[event.job];
        pace.add(std::chrono::steady_clock::now(), sample.done);
        arrival.progress = progress_fields(sample, pace);
      }
      break;
    case kDiskArrived:
    case kDiskIdentical:
      arrival.disks.push_back(event.disk);
      log_.notice(
          fmt::format("{}: {}, {}, {}", arrival.id, event.disk, format_size(event.virtual_bytes),
                      event.type == kDiskArrived ? "is complete here" : "was here already"));
      break;
    case kJobDone:
    case kMeasured:
    case kJobFailed:
      note_end(arrival, event);
      break;
    default:
      break;
  }
}

void HostArrivals::note_owner(const migration::Arrival& arrival) {
  const std::lock_guard lock(mutex_);
  owners_[arrival.number] = arrival.owner_sentence;
  const auto found = arrivals_.find(arrival.number);
  if (arrival.owns && found != arrivals_.end()) {
    log_.notice(fmt::format("{}: {}", found->second.id, arrival.owner_sentence));
  }
}

void HostArrivals::note_end(ArrivalView& arrival, const ReceiverEvent& event) {
  using enum ReceiverEvent::Type;
  arrival.ended = rfc3339(std::chrono::system_clock::now());
  paces_.erase(event.job);
  std::string owner;
  if (auto known = owners_.extract(event.job)) owner = std::move(known.mapped());
  if (event.type == kJobFailed) {
    ++counts_.failed;
    arrival.state = ArrivalView::State::kFailed;
    if (event.failure) {
      const CommandFailure failure = failure_of(*event.failure);
      arrival.exit = static_cast<std::int64_t>(failure.exit);
      arrival.message = failure.message;
      arrival.advice = failure.advice;
    }
    arrival.ownership = !owner.empty() ? owner
                        : event.kept
                            ? "The source still owns the disk; what came of it is kept here."
                            : "The source still owns the disk; nothing unfinished is left here.";
    log_.warning(fmt::format("{}: failed: {}", arrival.id, arrival.message));
  } else {
    ++counts_.done;
    arrival.state = ArrivalView::State::kDone;
    arrival.ownership = !owner.empty() ? owner
                        : event.type == kMeasured
                            ? "Only measured: nothing was kept."
                            : "The source keeps its copy and owns it; the one here is complete.";
    log_.notice(fmt::format("{}: done", arrival.id));
  }
  for (auto at = arrivals_.begin(); arrivals_.size() > kArrivalsKept && at != arrivals_.end();) {
    const bool goes = at->second.state != ArrivalView::State::kRunning && &at->second != &arrival;
    at = goes ? arrivals_.erase(at) : std::next(at);
  }
}

std::vector<ArrivalView> HostArrivals::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<ArrivalView> all;
  for (const auto& [number, arrival] : arrivals_) all.push_back(arrival);
  return all;
}

std::optional<ArrivalView> HostArrivals::find(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [number, arrival] : arrivals_) {
    if (arrival.id == id) return arrival;
  }
  return std::nullopt;
}

HostArrivals::Counts HostArrivals::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

}  // namespace vhdxm::tools
