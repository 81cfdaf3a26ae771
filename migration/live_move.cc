#include "migration/live_move.h"

#include <utility>

#include "migration/errc.h"
#include "migration/source_cutover.h"

namespace vhdxm::migration {
namespace {

using transfer::CutoverSource;
using transfer::FailureClass;

HandoverEnd::Kind kind_of(FailureClass failure_class) {
  switch (failure_class) {
    case FailureClass::kNetwork:
      return HandoverEnd::Kind::kNetwork;
    case FailureClass::kData:
      return HandoverEnd::Kind::kData;
    case FailureClass::kCancelled:
      return HandoverEnd::Kind::kCancelled;
    default:
      return HandoverEnd::Kind::kFailed;
  }
}

// What this host's records say of the disks that are to move.
Result<std::vector<JobDisk>> terms_of(HostOwnership& host, const LiveMoveOptions& options) {
  const std::lock_guard lock(host.mutex);
  std::vector<JobDisk> disks;
  for (const LiveMoveOptions::Disk& disk : options.disks) {
    VHDXM_TRY_VOID(host.store.check_writable(disk.place));
    VHDXM_TRY(const OwnershipRecord owned, host.store.adopt(disk.place, OwnershipId::random()));
    disks.push_back(
        {.terms = {.id = owned.id, .epoch = owned.epoch, .ledger = {}}, .place = disk.place});
  }
  return disks;
}

transfer::LiveSenderOptions sender_options(const LiveMoveOptions& options) {
  transfer::LiveSenderOptions sender{
      .sender = options.sender, .disks = {}, .limits = options.limits};
  for (const LiveMoveOptions::Disk& disk : options.disks) {
    sender.disks.push_back({.disk = disk.disk,
                            .name = disk.name_there.empty() ? disk.place.name : disk.name_there,
                            .folder = disk.folder_there});
  }
  return sender;
}

}  // namespace

struct LiveMove::Impl {
  Impl(HostOwnership& owner, LiveMoveOptions given, Progress function)
      : host(owner), options(std::move(given)), progress(std::move(function)) {}

  LiveMoveResult run();
  LiveMoveResult failed(const Error& error) const;
  template <class Function>
  void tell(Function function);

  HostOwnership& host;
  LiveMoveOptions options;
  const Progress progress;
  std::optional<SourceCutover> cutover;
  std::mutex mutex;
  // Protected by mutex until it is made; it stays then.
  std::unique_ptr<transfer::LiveSender> sender;
  std::vector<std::function<void(transfer::LiveSender&)>> told_early;
};

// What comes before there is a sender to hear it is told to it first.
template <class Function>
void LiveMove::Impl::tell(Function function) {
  const std::lock_guard lock(mutex);
  if (sender) return function(*sender);
  told_early.push_back(function);
}

LiveMoveResult LiveMove::Impl::failed(const Error& error) const {
  LiveMoveResult result;
  result.failure = transfer::Failure{.failure_class = transfer::classify(error),
                                     .error = error,
                                     .message = describe(error),
                                     .advice = {}};
  result.owner_sentence = "This host owns the disks, as before.";
  return result;
}

LiveMoveResult LiveMove::Impl::run() {
  if (options.disks.empty()) {
    return failed(Error{.code = BaseErrc::kInvalidArgument, .where = "no disks"});
  }
  auto disks = terms_of(host, options);
  if (disks.has_error()) return failed(disks.error());
  cutover.emplace(host, options.disks.front().disk->gate(), std::move(*disks), options.group);
  {
    const std::lock_guard lock(mutex);
    sender = std::make_unique<transfer::LiveSender>(sender_options(options), *cutover, progress);
    for (const auto& function : std::exchange(told_early, {})) function(*sender);
  }
  auto sent = sender->run();

  LiveMoveResult result;
  result.live = sender->live_progress();
  result.job = cutover->record().job;
  result.owner_sentence = cutover->owner_sentence();
  if (sent.has_error()) result.failure = sent.error();
  switch (sender->outcome()) {
    case CutoverSource::State::kOwned:
      // However the connection ended after that.
      result.kind = HandoverEnd::Kind::kDone;
      result.failure.reset();
      if (sent.has_value()) result.report = std::move(*sent);
      break;
    case CutoverSource::State::kReleased:
    case CutoverSource::State::kBlocked:
      result.kind = HandoverEnd::Kind::kUnconfirmed;
      break;
    default:
      result.kind =
          sent.has_error() ? kind_of(sent.error().failure_class) : HandoverEnd::Kind::kFailed;
      break;
  }
  return result;
}

LiveMove::LiveMove(HostOwnership& host, LiveMoveOptions options, Progress progress)
    : impl_(std::make_unique<Impl>(host, std::move(options), std::move(progress))) {}

LiveMove::~LiveMove() = default;

LiveMoveResult LiveMove::run() {
  return impl_->run();
}

void LiveMove::cancel() {
  impl_->tell([](transfer::LiveSender& sender) { sender.cancel(); });
}

void LiveMove::cut_over() {
  impl_->tell([](transfer::LiveSender& sender) { sender.cut_over(); });
}

void LiveMove::set_max_pause(transfer::Convergence::Duration max_pause) {
  impl_->tell([max_pause](transfer::LiveSender& sender) { sender.set_max_pause(max_pause); });
}

void LiveMove::set_limit(std::uint64_t bytes_per_second) {
  impl_->tell(
      [bytes_per_second](transfer::LiveSender& sender) { sender.set_limit(bytes_per_second); });
}

void LiveMove::set_mode(transfer::Mode mode) {
  impl_->tell([mode](transfer::LiveSender& sender) { sender.set_mode(mode); });
}

std::function<std::unique_ptr<transfer::CutoverTarget>(std::uint64_t)> arrivals(
    HostOwnership& host, transfer::FolderPaths folders, ArrivalHooks hooks) {
  return [&host, folders = std::move(folders), hooks = std::move(hooks)](std::uint64_t number) {
    return std::make_unique<TargetCutover>(host, folders, hooks, number);
  };
}

}  // namespace vhdxm::migration
