// Measures the way to a receiver and both hosts' processors, by sending it a sample that it drops
// (docs/protocol.md, "Measuring").
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/buffer_pool.h"
#include "transfer/compressor_pool.h"
#include "transfer/control_channel.h"
#include "transfer/extent_queue.h"
#include "transfer/job_counters.h"
#include "transfer/memory_budget.h"
#include "transfer/mode_control.h"
#include "transfer/rate_limiter.h"
#include "transfer/sample_disk.h"
#include "transfer/send_stream.h"
#include "transfer/sender.h"

namespace vhdxm::transfer {

/// What flowed for a while, and what it cost. Seconds of processor time are of all streams
/// together. Over a slow link what the sender sent is more than what came, or something older.
struct FlowMeasure {
  double seconds = 0;
  double raw_bytes = 0;   ///< Verified at the receiver.
  double wire_bytes = 0;  ///< That came out of the network there.
  double sender_cpu_s = 0;
  double compress_cpu_s = 0;     ///< Of sender_cpu_s.
  double sent_bytes = 0;         ///< Raw, that the sender read, compressed and gave to the kernel.
  double sent_packed_bytes = 0;  ///< Of sent_bytes: what it compressed.
  double receiver_cpu_s = 0;
  double unpack_cpu_s = 0;      ///< Of receiver_cpu_s.
  double packed_bytes = 0;      ///< Of raw_bytes: what came compressed.
  double held_back = 0;         ///< Share of the sender's time that the network took nothing more.
  double receiver_waiting = 0;  ///< Share of the receiver's time that nothing had come.
};

struct LinkMeasure {
  FlowMeasure plain;
  FlowMeasure packed;  ///< At level 1.
  MeasureReady receiver;
  unsigned streams = 0;
  double connect_s = 0;  ///< Until control was connected and authenticated.
  std::string peer;      ///< Address, port and software.
};

/// Thread safety: run() once, cancel() from any other thread.
class LinkMeasurer {
 public:
  /// `options`: how the move would be done; its disk, name, mode and seed are not looked at.
  /// `sample`: not empty.
  LinkMeasurer(const SenderOptions& options, std::span<const std::byte> sample);
  ~LinkMeasurer();

  /// Takes about two seconds. Blocks.
  boost::system::result<LinkMeasure, Failure> run();
  void cancel();

 private:
  struct Snapshot;

  asio::awaitable<void> converse();
  asio::awaitable<void> connect();
  asio::awaitable<void> begin();
  asio::awaitable<void> measure();
  asio::awaitable<Snapshot> snapshot();
  asio::awaitable<FlowMeasure> flow(const ModeMix& mix);
  asio::awaitable<void> listen();
  asio::awaitable<void> watch();
  asio::awaitable<void> pause(std::chrono::milliseconds time);
  template <class Reply>
  asio::awaitable<Reply> expect(const char* what);
  void open_streams(const Welcome& welcome, const StreamTokens& tokens);
  void take(const Message& message);
  void fail(const TransferError& problem);

  const SenderOptions options_;
  const SenderBudget::Shares shares_;
  EndlessDisk disk_;
  Preamble preamble_;
  LinkMeasure result_;
  std::optional<Failure> failure_;
  asio::io_context context_{1};
  std::shared_ptr<ControlChannel> control_;
  asio::steady_timer tick_{context_};
  asio::steady_timer look_due_{context_};
  std::string host_address_;
  JobCounters counters_;
  ModeControl mode_;
  RateLimiter limiter_;
  std::unique_ptr<BufferPool> pool_;
  std::unique_ptr<CompressorPool> compressors_;
  std::unique_ptr<ExtentQueue> queue_;
  std::unique_ptr<SendStreamJob> streams_job_;
  std::vector<std::unique_ptr<SendStream>> streams_;
  std::optional<Load> load_;
  unsigned loads_ = 0;  ///< That came.
  const char* awaited_ = "Welcome";
  bool done_ = false;  ///< JobDone came, or it failed.
};

}  // namespace vhdxm::transfer
