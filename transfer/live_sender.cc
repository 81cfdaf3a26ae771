#include "transfer/live_sender.h"

#include <mutex>
#include <optional>
#include <utility>

#include "transfer/send_job.h"
#include "transfer/send_setup.h"

namespace vhdxm::transfer {

struct LiveSender::Impl {
  Impl(LiveSenderOptions given, CutoverSource& hook, LiveProgressFunction function)
      : options(std::move(given)), cutover(hook), on_progress(std::move(function)) {}

  SendResult run();
  SendJob* job_now();

  LiveSenderOptions options;
  CutoverSource& cutover;
  const LiveProgressFunction on_progress;

  mutable std::mutex mutex;
  // Protected by mutex until they are made; they stay then. The passes go first: their timers are
  // of the job.
  bool cancelled = false;
  bool cut_over = false;
  std::optional<Mode> mode;
  std::unique_ptr<LiveSource> source;
  std::unique_ptr<SendJob> job;
  std::unique_ptr<LivePasses> passes;
};

SendResult LiveSender::Impl::run() {
  auto started = LiveSource::start(options.disks);
  if (started.has_error()) {
    return failure_from(classify(started.error()), started.error(), {});
  }
  {
    const std::lock_guard lock(mutex);
    if (cancelled) {
      const Error error{.code = BaseErrc::kCancelled};
      return failure_from(FailureClass::kCancelled, error, {});
    }
    if (cut_over) options.limits.hold_when_ready = true;
    source = std::move(*started);
    passes = std::make_unique<LivePasses>(*source, cutover, options.limits);
    SenderOptions sender = options.sender;
    sender.folder.clear();
    sender.seed_from.clear();
    sender.flatten = false;
    ProgressFunction tell;
    if (on_progress) {
      tell = [this](const Progress& progress) { on_progress(progress, passes->progress()); };
    }
    job = std::make_unique<SendJob>(sender, std::move(tell), *source, *passes, cutover);
    if (mode) job->set_mode(*mode);
  }
  return job->run();
}

SendJob* LiveSender::Impl::job_now() {
  const std::lock_guard lock(mutex);
  return job.get();
}

LiveSender::LiveSender(LiveSenderOptions options, CutoverSource& cutover,
                       LiveProgressFunction progress)
    : impl_(std::make_unique<Impl>(std::move(options), cutover, std::move(progress))) {}

LiveSender::~LiveSender() = default;

SendResult LiveSender::run() {
  return impl_->run();
}

void LiveSender::cancel() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->cancelled = true;
  }
  if (SendJob* job = impl_->job_now()) job->cancel();
}

void LiveSender::cut_over() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->cut_over = true;
  }
  if (impl_->job_now() != nullptr) impl_->passes->cut_over();
}

void LiveSender::set_max_pause(Convergence::Duration max_pause) {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->options.limits.max_pause = max_pause;
  }
  if (impl_->job_now() != nullptr) impl_->passes->set_max_pause(max_pause);
}

void LiveSender::set_limit(std::uint64_t bytes_per_second) {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->options.sender.limit_bytes_per_second = bytes_per_second;
  }
  if (SendJob* job = impl_->job_now()) job->set_limit(bytes_per_second);
}

void LiveSender::set_mode(Mode mode) {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->mode = mode;
  }
  if (SendJob* job = impl_->job_now()) job->set_mode(mode);
}

CutoverSource::State LiveSender::outcome() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->passes ? impl_->passes->outcome() : CutoverSource::State::kVoid;
}

LiveProgress LiveSender::live_progress() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->passes ? impl_->passes->progress() : LiveProgress{};
}

}  // namespace vhdxm::transfer
