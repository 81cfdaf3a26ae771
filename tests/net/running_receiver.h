// A Receiver at a free loopback port, in a thread, whose events a test can wait for.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "transfer/receiver.h"

namespace vhdxm::transfer {

class RunningReceiver {
 public:
  /// `options`: address and port are set here.
  explicit RunningReceiver(ReceiverOptions options, ReceiverEventFunction also = {});
  /// Stops it if need be.
  ~RunningReceiver();
  RunningReceiver(const RunningReceiver&) = delete;
  RunningReceiver& operator=(const RunningReceiver&) = delete;

  std::uint16_t port() const { return receiver_->port(); }
  /// Asks it to stop, from any thread; does not wait.
  void ask_to_stop() { receiver_->stop(); }
  /// Stops it, and waits for run() to return what it returns.
  std::optional<Failure> stop();
  /// Waits for run() to return by itself.
  std::optional<Failure> join();

  /// Waits for the `count`th event of the type, and returns it.
  ReceiverEvent wait_for(ReceiverEvent::Type type, std::size_t count = 1);
  std::size_t count(ReceiverEvent::Type type) const;

 private:
  std::vector<ReceiverEvent> of_type_locked(ReceiverEvent::Type type) const;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<ReceiverEvent> events_;  ///< Protected by mutex_.
  std::unique_ptr<Receiver> receiver_;
  std::optional<Failure> outcome_;
  std::thread thread_;
};

}  // namespace vhdxm::transfer
