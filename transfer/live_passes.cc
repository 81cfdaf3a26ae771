#include "transfer/live_passes.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "base/check.h"
#include "base/size_text.h"
#include "transfer/wait_clock.h"

namespace vhdxm::transfer {
namespace {

using State = CutoverSource::State;

constexpr std::size_t kPassReportsMax = 1000;
// Between passes that bring next to nothing: long enough to cost nothing, short for a person.
constexpr std::chrono::milliseconds kRestTime{100};
// A pass shorter than this is not followed at once by the next.
constexpr std::chrono::milliseconds kPassTimeMin{20};
// A mirrored pass is agreed on when it has lasted so long: while that is done, writes wait.
constexpr std::chrono::milliseconds kMirroredPassTimeMin{50};
constexpr std::chrono::milliseconds kMirroredRestTime{1000};
// Of max_pause, what the background copy may have under way: a write that comes waits for it.
constexpr double kCopyAheadShare = 0.25;
constexpr double kCopyAheadBytesMin = 256 * 1024;
constexpr double kCopyAheadBytesMax = 1024.0 * 1024 * 1024;

std::string rate_text(double bytes_per_second) {
  return format_size(static_cast<std::uint64_t>(bytes_per_second)) + "/s";
}

}  // namespace

const char* to_string(LivePhase phase) {
  switch (phase) {
    case LivePhase::kCopying:
      return "copying";
    case LivePhase::kPasses:
      return "passes";
    case LivePhase::kVerifying:
      return "verifying";
    case LivePhase::kWaiting:
      return "ready";
    case LivePhase::kHeld:
      return "last pass";
    case LivePhase::kHandover:
      return "hand-over";
    case LivePhase::kReleased:
      return "released";
    case LivePhase::kOwned:
      return "handed over";
    case LivePhase::kEnded:
      return "ended";
  }
  return "unknown";
}

LivePasses::LivePasses(LiveSource& source, CutoverSource& cutover,
                       const Convergence::Limits& limits)
    : source_(source), cutover_(cutover), convergence_(limits, std::chrono::steady_clock::now()) {
  progress_.max_pause = limits.max_pause;
}

void LivePasses::attach(Job job, const JobId& job_id) {
  job_.emplace(std::move(job));
  job_id_ = job_id;
  timer_.emplace(job_->context);
  deadline_.emplace(job_->context);
  pass_begun_ = std::chrono::steady_clock::now();
  marked_before_ = source_.marked_bytes();
  verify_pending_ = job_->verify != nullptr;
}

void LivePasses::post(std::function<void()> function) {
  job_->post([this, function = std::move(function)] {
    if (stage_ != Stage::kOver) function();
  });
}

void LivePasses::on_worker(std::function<void()> task) {
  asio::post(job_->worker, [this, task = std::move(task)] {
    if (!ended_) task();
  });
}

// One word with whoever hands over. Writes go ahead, if they may, before anything else is done.
void LivePasses::step(std::function<CutoverSource::Step()> task) {
  on_worker([this, task = std::move(task)] {
    CutoverSource::Step step = task();
    const bool dead = step.state == State::kVoid || step.state == State::kVoiding;
    if (dead && std::exchange(attempting_, false)) let_go();
    if (step.state == State::kReleased || step.state == State::kOwned) {
      if (holding_) {
        const std::lock_guard lock(mutex_);
        progress_.pause = std::chrono::steady_clock::now() - held_at_;
      }
      holding_ = false;  // the gate is fenced
    }
    outcome_ = step.state;
    post([this, step = std::move(step)] { take_step(step); });
  });
}

void LivePasses::enter(LivePhase phase) {
  {
    const std::lock_guard lock(mutex_);
    progress_.phase = phase;
    progress_.pass = pass_;
    progress_.dirty_bytes = source_.dirty_bytes();
    progress_.copy_rate = convergence_.copy_rate();
    progress_.dirty_rate = convergence_.dirty_rate();
    progress_.predicted_pause = convergence_.predicted_pause();
    progress_.throttled_to = convergence_.throttle_bytes_per_second();
  }
  refresh();
  job_->tell();
}

void LivePasses::refresh() {
  const ExtentQueue::MirrorState state = job_->mirror_state();
  const std::lock_guard lock(mutex_);
  progress_.mirroring = state.on;
  progress_.mirrored_bytes = state.bytes;
  progress_.mirrored_writes = state.writes;
  progress_.mirrored_left = state.left_dirty;
}

void LivePasses::on_introduced(HandoverBody answer) {
  step([this, answer = std::move(answer)] { return cutover_.start(answer); });
}

void LivePasses::on_copying() {
  if (stage_ == Stage::kFirst && pass_copied_ == TimePoint{}) {
    pass_copied_ = pass_begun_ = std::chrono::steady_clock::now();
  }
}

void LivePasses::on_copied(std::uint64_t payload_bytes, std::uint64_t data_bytes) {
  const TimePoint now = std::chrono::steady_clock::now();
  PassReport report{.pass = 1,
                    .sent_bytes = payload_bytes,
                    .marked_bytes = source_.marked_bytes() - marked_before_,
                    .dirty_bytes = source_.dirty_bytes(),
                    .copying = now - pass_begun_};
  marked_before_ += report.marked_bytes;
  pass_ended(report);
  // Where it was mostly zeroes, it took no time that says how fast guests' writes can be sent.
  const bool telling = data_bytes >= payload_bytes / 2;
  (void)convergence_.on_pass({.sent_bytes = telling ? data_bytes : 0,
                              .copying = telling ? report.copying : Convergence::Duration::zero(),
                              .dirty_bytes = report.dirty_bytes,
                              .marked_bytes = report.marked_bytes,
                              .ended = now});
  // Only a pass says what agreeing on one takes.
  begin_pass(Stage::kPass);
}

void LivePasses::pass_ended(const PassReport& report) {
  const std::lock_guard lock(mutex_);
  auto& passes = progress_.passes;
  if (passes.size() == kPassReportsMax) passes.erase(passes.begin());
  passes.push_back(report);
}

void LivePasses::begin_pass(Stage stage) {
  begin_pass(stage, stage == Stage::kLastPass ? LivePhase::kHeld : LivePhase::kPasses);
}

void LivePasses::begin_pass(Stage stage, LivePhase phase) {
  stage_ = stage;
  ++pass_;
  pass_begun_ = std::chrono::steady_clock::now();
  // While nothing is verified yet, pages are taken out of the dirty map by passes only.
  const bool mirrors = convergence_.mirrors() && !verify_pending_;
  if (stage == Stage::kPass && mirrors) job_->mirror(mirroring(phase));
  enter(phase);
  job_->begin_pass(pass_);
}

ExtentQueue::Mirroring LivePasses::mirroring(LivePhase phase) const {
  const double pause_s = std::min(seconds(convergence_.max_pause()), 1.0);
  const double ahead = convergence_.copy_rate() * pause_s * kCopyAheadShare;
  return {.patience = convergence_.max_pause(),
          .copy_bytes_max =
              static_cast<std::uint64_t>(std::clamp(ahead, kCopyAheadBytesMin, kCopyAheadBytesMax)),
          .pass_min = phase == LivePhase::kWaiting ? kMirroredRestTime : kMirroredPassTimeMin};
}

// A partition must not hang guests: they write as before, slowed down as they were.
void LivePasses::look_after_mirroring() {
  if (!convergence_.mirrors() || !job_->mirror_state().gave_up) return;
  convergence_.on_mirror_stopped();
  source_.gate().throttle(convergence_.throttle_bytes_per_second());
  const std::lock_guard lock(mutex_);
  ++progress_.mirror_stops;
}

void LivePasses::on_pass_sent() {
  if (stage_ != Stage::kPass && stage_ != Stage::kLastPass) return;
  pass_copied_ = std::chrono::steady_clock::now();
  job_->agree(pass_);
}

void LivePasses::on_pass_done(std::chrono::microseconds sync) {
  if (stage_ != Stage::kPass && stage_ != Stage::kLastPass) return;
  const TimePoint now = std::chrono::steady_clock::now();
  const bool held = stage_ == Stage::kLastPass;
  const ExtentQueue::PassBytes sent = job_->pass_bytes();
  const PassReport report{.pass = pass_,
                          .held = held,
                          .sent_bytes = sent.all,
                          .mirrored_bytes = sent.mirrored,
                          .marked_bytes = source_.marked_bytes() - marked_before_,
                          .dirty_bytes = source_.dirty_bytes(),
                          .copying = pass_copied_ - pass_begun_,
                          .agreeing = now - pass_copied_,
                          .sync = sync};
  marked_before_ += report.marked_bytes;
  pass_ended(report);
  if (held) {
    // What a broken stream did not get across is dirty again.
    if (report.dirty_bytes > 0) return begin_pass(Stage::kLastPass);
    return begin_handover();
  }
  // What was written while everything was copied has come with this one. What comes later is less,
  // and is not verified: guests would have to wait for it.
  if (std::exchange(verify_pending_, false)) {
    before_verify_ = report;
    stage_ = Stage::kVerifying;
    job_->verify();
    return enter(LivePhase::kVerifying);
  }
  go_on_after(report);
}

void LivePasses::on_verified(std::uint64_t verified_bytes, std::uint64_t left_out_bytes) {
  if (stage_ != Stage::kVerifying) return;
  {
    const std::lock_guard lock(mutex_);
    progress_.verified_bytes = verified_bytes;
    progress_.verify_left_out_bytes = left_out_bytes;
  }
  stage_ = Stage::kPass;
  PassReport report = before_verify_;
  const std::uint64_t marked = source_.marked_bytes() - marked_before_;
  marked_before_ += marked;
  report.marked_bytes += marked;
  report.dirty_bytes = source_.dirty_bytes();
  go_on_after(report);
}

void LivePasses::go_on_after(const PassReport& report) {
  look_after_mirroring();
  const auto next = convergence_.on_pass({.sent_bytes = report.sent_bytes,
                                          .copying = report.copying,
                                          .agreeing = report.agreeing,
                                          .sync = report.sync,
                                          .dirty_bytes = report.dirty_bytes,
                                          .marked_bytes = report.marked_bytes,
                                          .ended = std::chrono::steady_clock::now()});
  decide(next);
}

void LivePasses::decide(Convergence::Step step) {
  switch (step) {
    case Convergence::Step::kPass: {
      const auto took = std::chrono::steady_clock::now() - pass_begun_;
      if (took < kPassTimeMin && !convergence_.mirrors()) return rest(kPassTimeMin - took);
      return begin_pass(Stage::kPass);
    }
    case Convergence::Step::kRest:
      if (convergence_.mirrors()) return begin_pass(Stage::kPass, LivePhase::kWaiting);
      enter(LivePhase::kWaiting);
      return rest(kRestTime);
    case Convergence::Step::kHold:
      return hold();
    case Convergence::Step::kThrottle:
      source_.gate().throttle(convergence_.throttle_bytes_per_second());
      return begin_pass(Stage::kPass);
    case Convergence::Step::kMirror:
      source_.gate().throttle(0);
      return begin_pass(Stage::kPass);
    case Convergence::Step::kGiveUp:
      break;
  }
  const auto pause = convergence_.predicted_pause().value_or(Convergence::Duration::zero());
  const std::string text = fmt::format(
      "The disks are written at {} and can be sent at {}: writes would have to wait about {} ms, "
      "and {} ms are allowed. Nothing was handed over.",
      rate_text(convergence_.dirty_rate()), rate_text(convergence_.copy_rate()),
      std::chrono::duration_cast<std::chrono::milliseconds>(pause).count(),
      std::chrono::duration_cast<std::chrono::milliseconds>(convergence_.max_pause()).count());
  job_->fail(Error{.code = Errc::kNotConverging, .where = "passes do not get shorter"}, text);
}

void LivePasses::rest(Convergence::Duration time) {
  stage_ = Stage::kResting;
  timer_->expires_after(time);
  timer_->async_wait([this](const boost::system::error_code&) {
    post([this] {
      if (stage_ == Stage::kResting) begin_pass(Stage::kPass);
    });
  });
}

void LivePasses::hold() {
  stage_ = Stage::kDraining;
  // Those that wait have landed, and are dirty: the last pass brings them.
  job_->stop_mirroring();
  enter(LivePhase::kHeld);
  on_worker([this, longest = convergence_.max_pause()] {
    SharedGate& gate = source_.gate();
    const std::uint64_t hold = gate.hold();
    holding_ = true;
    held_at_ = std::chrono::steady_clock::now();
    const TimePoint until = held_at_ + longest;
    const bool idle = gate.wait_idle(until);
    if (!idle) let_go();
    post([this, idle, hold, until] {
      if (!idle) return hold_failed();
      hold_ = hold;
      deadline_->expires_at(until);
      arm_deadline();
      begin_pass(Stage::kLastPass);
    });
  });
}

void LivePasses::arm_deadline() {
  deadline_->async_wait([this, hold = hold_](const boost::system::error_code& ec) {
    if (ec) return;
    post([this, hold] {
      if (hold == hold_) on_deadline();
    });
  });
}

void LivePasses::on_deadline() {
  if (stage_ == Stage::kLastPass) {
    // Nobody was promised anything yet: the pass goes on as any other.
    on_worker([this] { let_go(); });
    stage_ = Stage::kPass;
    enter(LivePhase::kPasses);
    if (convergence_.on_hold_failed(convergence_.max_pause(), std::chrono::steady_clock::now()) ==
        Convergence::Step::kGiveUp) {
      decide(Convergence::Step::kGiveUp);
    }
    const std::lock_guard lock(mutex_);
    ++progress_.holds_failed;
  } else if (stage_ == Stage::kHandover) {
    step([this] { return cutover_.give_up(); });
  }
}

// On the worker.
void LivePasses::let_go() {
  if (!std::exchange(holding_, false)) return;
  source_.gate().let_go();
  const std::lock_guard lock(mutex_);
  progress_.pause = std::chrono::steady_clock::now() - held_at_;
}

void LivePasses::hold_failed() {
  deadline_->cancel();
  Convergence::Duration held{};
  {
    const std::lock_guard lock(mutex_);
    ++progress_.holds_failed;
    held = progress_.pause.value_or(Convergence::Duration::zero());
  }
  decide(convergence_.on_hold_failed(held, std::chrono::steady_clock::now()));
}

void LivePasses::begin_handover() {
  stage_ = Stage::kHandover;
  enter(LivePhase::kHandover);
  step([this,
        held = CutoverSource::Held{.job_id = job_id_, .hold = hold_, .ledgers = job_->ledgers()}] {
    attempting_ = true;
    return cutover_.begin(held);
  });
}

void LivePasses::on_handover(HandoverBody body) {
  step([this, body = std::move(body)] { return cutover_.on_message(body); });
}

void LivePasses::take_step(const CutoverSource::Step& step) {
  for (const HandoverBody& body : step.messages) job_->send(body);
  switch (step.state) {
    case State::kWaiting:
      if (stage_ == Stage::kHandover && !step.messages.empty()) {
        on_worker([this] { cutover_.get_ready(); });
      }
      return;
    case State::kVoiding:
      if (stage_ != Stage::kHandover) return;
      stage_ = Stage::kVoiding;
      deadline_->cancel();
      return enter(LivePhase::kPasses);
    case State::kVoid:
      if (stage_ == Stage::kHandover || stage_ == Stage::kVoiding) return hold_failed();
      if (step.problem.empty()) return;
      return job_->fail(Error{.code = Errc::kRefused, .where = "the hand-over"}, step.problem);
    case State::kReleased:
      stage_ = Stage::kReleased;
      deadline_->cancel();
      return enter(LivePhase::kReleased);
    case State::kOwned:
      stage_ = Stage::kReleased;
      deadline_->cancel();
      enter(LivePhase::kOwned);
      return job_->finish();
    case State::kBlocked:
      deadline_->cancel();
      return job_->fail(Error{.code = Errc::kPeerFailed, .where = "the hand-over"}, step.problem);
  }
}

void LivePasses::on_over() {
  if (stage_ == Stage::kOver) return;
  stage_ = Stage::kOver;
  job_->stop_mirroring();
  timer_->cancel();
  deadline_->cancel();
  asio::post(job_->worker, [this] { end(false); });
}

void LivePasses::wind_up() {
  end(outcome_ == State::kOwned);
}

void LivePasses::end(bool well) {
  if (std::exchange(ended_, true)) return;
  const State state = cutover_.end(well);
  outcome_ = state;
  if (state == State::kBlocked) source_.leave_as_it_is();
  if (state == State::kVoid || state == State::kVoiding) let_go();
  source_.stop();
  const std::lock_guard lock(mutex_);
  progress_.phase = state == State::kOwned      ? LivePhase::kOwned
                    : state == State::kReleased ? LivePhase::kReleased
                                                : LivePhase::kEnded;
}

void LivePasses::cancel(std::function<void()> cancel_job) {
  on_worker([this, cancel_job = std::move(cancel_job)] {
    CutoverSource::Step step{.state = State::kVoid};
    if (attempting_) step = cutover_.give_up();
    if (step.state != State::kVoid && step.state != State::kVoiding) return;
    attempting_ = false;
    let_go();
    post([this, messages = std::move(step.messages), cancel_job] {
      for (const HandoverBody& body : messages) job_->send(body);
      cancel_job();
    });
  });
}

void LivePasses::cut_over() {
  if (!job_) return;
  post([this] {
    convergence_.allow_hold();
    if (stage_ == Stage::kResting) timer_->cancel();
  });
}

void LivePasses::set_max_pause(Convergence::Duration max_pause) {
  if (!job_) return;
  post([this, max_pause] {
    convergence_.set_max_pause(max_pause);
    job_->set_mirror_patience(max_pause);
    {
      const std::lock_guard lock(mutex_);
      progress_.max_pause = max_pause;
    }
    // A shorter one holds for the writes that wait now.
    const bool holds = stage_ == Stage::kLastPass || stage_ == Stage::kHandover;
    if (!holds || held_at_ + max_pause >= deadline_->expiry()) return;
    deadline_->expires_at(held_at_ + max_pause);
    arm_deadline();
  });
}

LiveProgress LivePasses::progress() const {
  const std::lock_guard lock(mutex_);
  LiveProgress progress = progress_;
  if (progress.phase != LivePhase::kOwned) progress.dirty_bytes = source_.dirty_bytes();
  return progress;
}

bool LivePasses::may_cancel() const {
  const State state = outcome_;
  return state != State::kReleased && state != State::kOwned && state != State::kBlocked;
}

CutoverSource::State LivePasses::outcome() const {
  return outcome_;
}

}  // namespace vhdxm::transfer
