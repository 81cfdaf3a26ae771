// One data stream of a receiver: a thread that takes frames off a connection and applies them.
//
// As on the sending side the thread runs an io_context of its own, so that it may block in a write.
// Payload goes from the socket straight into an aligned buffer and from there to the file.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "base/buffer_pool.h"
#include "compression/compressor.h"
#include "transfer/frame.h"
#include "transfer/frame_sink.h"
#include "transfer/job_counters.h"
#include "transfer/messages.h"
#include "transfer/secure_socket.h"
#include "transfer/wait_clock.h"

namespace vhdxm::transfer {

/// What all data streams of a job share. Lives longer than they.
struct ReceiveStreamJob {
  BufferPool& pool;
  /// For what was unpacked; a stream holds one only until its extent is written, so there are as
  /// many as processors that unpack. Null if nothing may come packed.
  BufferPool* unpacked_pool = nullptr;
  JobCounters& counters;
  FrameLimits limits;
  /// What takes the frames of this disk, or nullptr if it is not being received.
  std::function<std::shared_ptr<FrameSink>(std::uint32_t disk)> sink;
  /// Frames were applied. From the stream's thread; must be cheap.
  std::function<void()> on_applied;
  /// The stream has ended: nothing more will be applied. From the stream's thread.
  std::function<void(std::uint32_t stream)> on_ended;
  /// The job cannot go on. From the stream's thread.
  std::function<void(const Error& error)> on_fatal;
};

class ReceiveStream {
 public:
  /// Starts the thread with a connection that has joined.
  ReceiveStream(ReceiveStreamJob& job, std::uint32_t number, SecureSocket::Parts connection);
  /// Breaks the connection and waits for the thread.
  ~ReceiveStream();
  ReceiveStream(const ReceiveStream&) = delete;
  ReceiveStream& operator=(const ReceiveStream&) = delete;

  std::uint32_t number() const { return number_; }
  /// Frames applied so far, from the first.
  std::uint64_t frames() const { return frames_.load(std::memory_order_acquire); }
  /// Bytes of payload applied so far, unpacked.
  std::uint64_t payload_bytes() const { return payload_bytes_.load(std::memory_order_acquire); }
  /// Adds what the stream did with its time so far. From any thread.
  void add_to(Load& load, WaitClock::TimePoint now) const;
  bool ended() const { return ended_.load(std::memory_order_acquire); }
  /// Breaks the connection; on_ended follows. From any thread.
  void abort();

 private:
  void thread_main();
  asio::awaitable<void> run();
  asio::awaitable<bool> receive_frame(std::span<std::byte> buffer);
  void apply(const FrameHeader& frame, std::span<std::byte> payload, std::span<std::byte> buffer);
  void unpack(std::span<const std::byte> packed, std::span<std::byte> raw);

  ReceiveStreamJob& job_;
  const std::uint32_t number_;
  std::atomic<std::uint64_t> frames_{0};
  std::atomic<std::uint64_t> payload_bytes_{0};
  std::atomic<bool> ended_{false};
  const WaitClock::TimePoint started_ = std::chrono::steady_clock::now();
  std::atomic<WaitClock::TimePoint> ended_at_{};
  WaitClock waiting_;
  WaitClock writing_;
  std::atomic<std::uint64_t> processor_ns_{0};
  std::atomic<std::uint64_t> unpacking_ns_{0};
  std::atomic<std::uint64_t> packed_bytes_{0};
  std::atomic<std::uint64_t> wire_bytes_{0};
  std::optional<compression::Decompressor> decompressor_;  ///< Made when it is needed.
  asio::io_context context_{1};
  std::unique_ptr<SecureSocket> socket_;
  std::thread thread_;
};

}  // namespace vhdxm::transfer
