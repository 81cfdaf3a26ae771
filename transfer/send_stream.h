// One data stream of a sender: a connection and a thread that pulls, reads, hashes and sends.
//
// The thread runs an io_context of its own. Nothing else runs on it, so blocking on the queue or on
// the disk there holds up nobody, and no extent crosses a thread between disk and socket; while
// this stream reads, the kernel sends what it queued and the other streams go on. (docs/decisions
// says why this and not a pool of workers.)
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/buffer_pool.h"
#include "transfer/compressor_pool.h"
#include "transfer/extent_queue.h"
#include "transfer/job_counters.h"
#include "transfer/messages.h"
#include "transfer/mode_control.h"
#include "transfer/pairing_key.h"
#include "transfer/rate_limiter.h"
#include "transfer/secure_socket.h"
#include "transfer/stream_pacer.h"
#include "transfer/timeouts.h"
#include "transfer/wait_clock.h"

namespace vhdxm::transfer {

/// What all data streams of a job share. Lives longer than they.
struct SendStreamJob {
  ExtentQueue& queue;
  RateLimiter& limiter;
  BufferPool& pool;
  JobCounters& counters;
  ModeControl& mode;
  CompressorPool* compressors = nullptr;  ///< Null: nothing is to be compressed.
  std::uint64_t hash_seed = 0;
  PairingKey key;
  JobId job_id{};
  std::string host;  ///< The address of the control connection: all streams go to one host.
  std::uint16_t port = 0;
  Timeouts timeouts;
  bool plaintext = false;
  /// The stream is gone; its thread ends. Called from the stream's thread.
  std::function<void(std::uint32_t stream)> on_lost;
  /// The job cannot go on: the source cannot be read. Called from the stream's thread.
  std::function<void(const Error& error)> on_fatal;
};

class SendStream {
 public:
  /// Starts the thread, which connects and joins.
  SendStream(SendStreamJob& job, StreamGrant grant);
  /// Ends the thread: in good order after ExtentQueue::stop(), at once after abort().
  ~SendStream();
  SendStream(const SendStream&) = delete;
  SendStream& operator=(const SendStream&) = delete;

  std::uint32_t number() const { return grant_.stream; }
  /// Ends the thread soon, whatever it waits for; on_lost is not called. From any thread.
  void abort();
  /// Breaks the connection of a stream of a job that goes on: on_lost follows, and by then the
  /// stream has given its buffer back, which the one that replaces it waits for. From any thread.
  void give_up();
  /// Bytes that went out so far. From any thread.
  std::uint64_t sent_bytes() const { return sent_bytes_.load(std::memory_order_relaxed); }
  /// What it did with its time so far. From any thread.
  struct Work {
    WaitClock::Duration up{};         ///< Since it joined.
    WaitClock::Duration held_back{};  ///< Of that: by the network, the receiver or the limit.
    WaitClock::Duration reading{};    ///< Of that: for the source.
    std::uint64_t processor_ns = 0;
    std::uint64_t queued_bytes = 0;  ///< Written, and not at the peer yet, when it last wrote.

    Work& operator+=(const Work& other);
  };
  Work work(WaitClock::TimePoint now) const;
  /// Whether it waits for the limit's sake. From any thread.
  bool held_back() const { return held_back_.load(std::memory_order_relaxed); }

 private:
  void thread_main();
  asio::awaitable<void> run();
  asio::awaitable<void> join();
  asio::awaitable<void> pump();
  asio::awaitable<void> write_paced(std::vector<asio::const_buffer> buffers);
  asio::awaitable<void> send_batch(ExtentQueue::Batch batch, std::span<std::byte> buffer);
  asio::awaitable<void> pace(std::uint64_t wire_bytes);

  SendStreamJob& job_;
  const StreamGrant grant_;
  asio::io_context context_{1};
  std::unique_ptr<SecureSocket> socket_;
  StreamPacer pacer_;
  std::atomic<std::uint64_t> sent_bytes_{0};
  std::atomic<bool> held_back_{false};
  std::atomic<WaitClock::TimePoint> joined_{};
  std::atomic<WaitClock::TimePoint> ended_{};
  WaitClock writing_;
  WaitClock reading_;
  std::atomic<std::uint64_t> processor_ns_{0};
  std::atomic<std::uint64_t> queued_bytes_{0};
  std::thread thread_;
};

}  // namespace vhdxm::transfer
