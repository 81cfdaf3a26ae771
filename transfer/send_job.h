// Runs one job of a sender: drives its SenderSession with a socket, threads and the source.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/buffer_pool.h"
#include "transfer/compressor_pool.h"
#include "transfer/control_channel.h"
#include "transfer/extent_queue.h"
#include "transfer/job_counters.h"
#include "transfer/live_passes.h"
#include "transfer/live_verify.h"
#include "transfer/memory_budget.h"
#include "transfer/mode_steering.h"
#include "transfer/rate_limiter.h"
#include "transfer/send_source.h"
#include "transfer/send_stream.h"
#include "transfer/sender.h"
#include "transfer/sender_session.h"
#include "transfer/stall_watch.h"

namespace vhdxm::transfer {

/// Everything but cancel() and the bodies of work() runs on the thread that calls run().
class SendJob {
 public:
  /// Of the disk that the options name.
  SendJob(const SenderOptions& options, ProgressFunction progress);
  /// Of disks in use, in passes. Both live longer than the job.
  SendJob(const SenderOptions& options, ProgressFunction progress, LiveSource& source,
          LivePasses& live, CutoverSource& cutover);
  ~SendJob();

  SendResult run();
  void cancel();
  /// 0: none. From any thread.
  void set_limit(std::uint64_t bytes_per_second);
  /// As LiveSender::set_mode().
  void set_mode(Mode mode);

 private:
  asio::awaitable<void> converse();
  asio::awaitable<void> connect();
  asio::awaitable<void> report_regularly();
  asio::awaitable<void> steer_regularly();
  void drain_actions();
  void act(SenderSession::Send& action);
  void act(SenderSession::ComputeDigest& action);
  void act(SenderSession::PreparePlan& action);
  void act(SenderSession::OpenStreams& action);
  void act(SenderSession::CopyDisk& action);
  void act(SenderSession::TakeHashes& action);
  void act(SenderSession::Acknowledge& action);
  void act(SenderSession::NoteLoad& action);
  void act(SenderSession::NoteDurable& action);
  void act(SenderSession::RequeueStream& action);
  void act(SenderSession::CheckSource& action);
  void act(SenderSession::DiskDone& action);
  void act(SenderSession::Introduced& action);
  void act(SenderSession::StartPasses& action);
  void act(SenderSession::PassDone& action);
  void act(SenderSession::RangeCompared& action);
  void act(SenderSession::DeliverHandover& action);
  void act(SenderSession::Finish& action);
  void act(SenderSession::Abort& action);

  /// Runs `task` on the worker, then `then(result)` on the control thread, unless the job is over.
  template <class Task, class Then>
  void work(Task task, Then then);
  template <class Function>
  void post(Function function);

  bool open_source();
  void attach_live();
  void begin_verify();
  void verify_more();
  std::vector<PassLedger> pass_ledgers() const;
  void cancel_session();
  void start_streams_job();
  void stop_streams(bool at_once);
  void give_up_stalled();
  void look_for_stall();
  Awaited awaited() const;
  void note_news(const Message& message);
  void fail(const Error& error, const std::string& text);
  void settle(const Error& error, FailureClass failure_class, const std::string& text);
  void enter(Phase phase);
  void tell_progress();
  Progress snapshot();
  ModeReport mode_report() const;
  SendResult result();

  const SenderOptions options_;
  const ProgressFunction on_progress_;
  const std::chrono::steady_clock::time_point started_;
  std::string peer_;
  Preamble preamble_;

  asio::io_context context_{1};
  asio::thread_pool worker_{1};
  std::unique_ptr<SendSource> opened_;
  LiveSource* live_source_ = nullptr;   ///< Null: of disks that nobody writes to.
  LivePasses* live_ = nullptr;          ///< Null, as it.
  SendSource* source_ = nullptr;        ///< One of those.
  HandoverBody introduction_;           ///< Of a live job.
  std::unique_ptr<LiveVerify> verify_;  ///< Of a live job, while it reads again.
  unsigned comparing_ = 0;              ///< Answers that the worker looks at.
  std::unique_ptr<SenderSession> session_;
  std::shared_ptr<ControlChannel> control_;
  std::string host_address_;

  JobCounters counters_;
  std::unique_ptr<BufferPool> pool_;
  const SenderBudget::Shares shares_;
  ModeSteering steering_;
  std::unique_ptr<CompressorPool> compressors_;  ///< Null: nothing is compressed.
  RateLimiter limiter_;
  std::shared_ptr<ExtentQueue> queue_;  ///< Mirrored writes may have it longer than the job.
  std::unique_ptr<SendStreamJob> streams_job_;
  std::vector<std::unique_ptr<SendStream>> streams_;
  /// When a stream last got something done, by its number.
  struct Movement {
    std::uint64_t sent_bytes = 0;
    std::uint64_t acknowledged = 0;
    std::chrono::steady_clock::time_point when;
    bool given_up = false;
  };
  std::map<std::uint32_t, Movement> movements_;
  std::uint64_t news_ = 0;  ///< Messages that got the job on; streams that were given up.
  StallWatch answers_;
  StallWatch listening_;  ///< Whether the receiver takes what control says.

  std::atomic<bool> cancelled_{false};
  asio::steady_timer tick_{context_};
  asio::steady_timer steer_tick_{context_};
  bool ended_ = false;
  Phase phase_ = Phase::kConnecting;
  std::uint32_t disk_ = 0;
  std::uint64_t shown_done_ = 0;      ///< The greatest bytes_done that was told.
  std::uint64_t durable_before_ = 0;  ///< Of the disks before this one.
  std::vector<DiskReport> reports_;
  std::vector<OfferDisk> offer() const;
  Hash128 ledger_;
  bool resumed_ = false;             ///< The disk that is being sent.
  std::uint64_t resumed_bytes_ = 0;  ///< Of all disks so far.
  std::uint64_t same_before_ = 0;    ///< Of the disks before this one.
  std::uint32_t partials_replaced_ = 0;
  std::string cipher_;
  std::optional<Failure> failure_;
};

}  // namespace vhdxm::transfer
