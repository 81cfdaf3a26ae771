// Runs the passes of a live job and its cutover, beside the job that copies: when to make another
// pass, when to hold writes, and what to do when that does not work out.
//
// The promise about the guest: writes are held for at most max_pause, unless the disks were
// released by then; and however the job ends before that, they go ahead.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "transfer/convergence.h"
#include "transfer/cutover.h"
#include "transfer/live_progress.h"
#include "transfer/live_source.h"

namespace vhdxm::transfer {

namespace asio = boost::asio;

/// Thread safety: all on the job's control thread, but for what says otherwise.
class LivePasses {
 public:
  /// What it needs of the job. Called on the control thread.
  struct Job {
    asio::io_context& context;
    asio::thread_pool& worker;  ///< One thread: what blocks is done there, in order.
    /// Runs a function on the control thread, soon. From any thread.
    std::function<void(std::function<void()>)> post;
    std::function<void(std::uint32_t pass)> begin_pass;  ///< Answer: on_pass_sent().
    std::function<void(std::uint32_t pass)> agree;       ///< Answer: on_pass_done().
    /// Both sides read again, between passes. Answer: on_verified(). Null: nobody asked for it.
    std::function<void()> verify;
    std::function<std::vector<PassLedger>()> ledgers;
    std::function<ExtentQueue::PassBytes()> pass_bytes;
    /// Between passes: writes are mirrored from the next one on.
    std::function<void(const ExtentQueue::Mirroring&)> mirror;
    std::function<void(Convergence::Duration)> set_mirror_patience;
    std::function<void()> stop_mirroring;
    std::function<ExtentQueue::MirrorState()> mirror_state;
    std::function<void(HandoverBody)> send;
    std::function<void()> finish;  ///< The destination owns the disks.
    std::function<void(const Error&, const std::string&)> fail;
    std::function<void()> tell;  ///< Something changed that a person may want to see.
  };

  LivePasses(LiveSource& source, CutoverSource& cutover, const Convergence::Limits& limits);

  /// Before the job's threads run.
  void attach(Job job, const JobId& job_id);

  /// What the other side answered to the offer.
  void on_introduced(HandoverBody answer);
  void on_copying();  ///< The first frames may go now.
  /// `data_bytes`: what of the payload was neither zero nor there already.
  void on_copied(std::uint64_t payload_bytes, std::uint64_t data_bytes);
  void on_pass_sent();
  void on_pass_done(std::chrono::microseconds sync);
  void on_verified(std::uint64_t verified_bytes, std::uint64_t left_out_bytes);
  void on_handover(HandoverBody body);
  void refresh();  ///< What is told of the progress, in between.
  /// The job is over: writes go ahead as soon as the attempt, if there is one, is void.
  void on_over();
  /// After the worker has ended: the same, if it was not done yet. Well: the destination owns.
  void wind_up();

  // From any thread.
  /// Makes an attempt that is under way void, then calls `cancel_job` on the control thread; not if
  /// the disks were released: then it is too late.
  void cancel(std::function<void()> cancel_job);
  void cut_over();
  void set_max_pause(Convergence::Duration max_pause);
  LiveProgress progress() const;
  /// Whether the job may still be cancelled: nothing was released.
  bool may_cancel() const;
  CutoverSource::State outcome() const;

 private:
  enum class Stage : std::uint8_t {
    kFirst,  ///< The first pass.
    kPass,   ///< A pass goes, or is agreed on.
    kVerifying,
    kResting,
    kDraining,  ///< Held; writes under way are awaited.
    kLastPass,  ///< Held; a pass goes, or is agreed on.
    kHandover,  ///< Held; the other side is spoken to.
    kVoiding,   ///< Writes go ahead; no data before the other side knows.
    kReleased,
    kOver,
  };
  using TimePoint = Convergence::TimePoint;

  void post(std::function<void()> function);
  void on_worker(std::function<void()> task);
  void step(std::function<CutoverSource::Step()> task);
  void take_step(const CutoverSource::Step& step);
  void begin_pass(Stage stage);
  void begin_pass(Stage stage, LivePhase phase);
  ExtentQueue::Mirroring mirroring(LivePhase phase) const;
  void look_after_mirroring();
  void decide(Convergence::Step step);
  void pass_ended(const PassReport& report);
  void go_on_after(const PassReport& report);
  void rest(Convergence::Duration time);
  void hold();
  void begin_handover();
  void arm_deadline();
  void on_deadline();
  void hold_failed();
  void let_go();
  void end(bool well);
  void enter(LivePhase phase);

  LiveSource& source_;
  CutoverSource& cutover_;
  std::optional<Job> job_;
  JobId job_id_{};
  std::optional<asio::steady_timer> timer_;
  std::optional<asio::steady_timer> deadline_;
  Convergence convergence_;
  Stage stage_ = Stage::kFirst;
  std::uint32_t pass_ = 1;
  std::uint64_t marked_before_ = 0;
  TimePoint pass_begun_{};
  TimePoint pass_copied_{};
  bool verify_pending_ = false;
  PassReport before_verify_;  ///< Of the pass that was verified.
  std::uint64_t hold_ = 0;    ///< The gate's number for the last one.
  // Only on the worker, and in wind_up().
  bool ended_ = false;
  bool holding_ = false;
  bool attempting_ = false;
  TimePoint held_at_{};

  std::atomic<CutoverSource::State> outcome_{CutoverSource::State::kVoid};
  mutable std::mutex mutex_;
  LiveProgress progress_;  ///< Protected by mutex_.
};

}  // namespace vhdxm::transfer
