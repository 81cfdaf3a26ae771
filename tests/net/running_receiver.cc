#include "tests/net/running_receiver.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <utility>

namespace vhdxm::transfer {
namespace {

// No test waits so long unless something is broken.
constexpr std::chrono::seconds kNever{120};

}  // namespace

RunningReceiver::RunningReceiver(ReceiverOptions options, ReceiverEventFunction also) {
  options.listen_address = "127.0.0.1";
  options.port = 0;
  auto receiver = Receiver::bind(std::move(options),
                                 [this, also = std::move(also)](const ReceiverEvent& event) {
                                   if (also) also(event);
                                   const std::lock_guard lock(mutex_);
                                   events_.push_back(event);
                                   changed_.notify_all();
                                 });
  if (receiver.has_error()) {
    ADD_FAILURE() << describe(receiver.error());
    std::abort();
  }
  receiver_ = std::move(*receiver);
  thread_ = std::thread([this] { outcome_ = receiver_->run(); });
}

RunningReceiver::~RunningReceiver() {
  stop();
}

std::optional<Failure> RunningReceiver::stop() {
  receiver_->stop();
  return join();
}

std::optional<Failure> RunningReceiver::join() {
  if (thread_.joinable()) thread_.join();
  return outcome_;
}

std::vector<ReceiverEvent> RunningReceiver::of_type_locked(ReceiverEvent::Type type) const {
  std::vector<ReceiverEvent> found;
  for (const ReceiverEvent& event : events_) {
    if (event.type == type) found.push_back(event);
  }
  return found;
}

ReceiverEvent RunningReceiver::wait_for(ReceiverEvent::Type type, std::size_t count) {
  std::unique_lock lock(mutex_);
  const bool came =
      changed_.wait_for(lock, kNever, [&] { return of_type_locked(type).size() >= count; });
  if (!came) {
    ADD_FAILURE() << "event " << to_string(type) << " never came";
    return {};
  }
  return of_type_locked(type)[count - 1];
}

std::size_t RunningReceiver::count(ReceiverEvent::Type type) const {
  const std::lock_guard lock(mutex_);
  return of_type_locked(type).size();
}

}  // namespace vhdxm::transfer
