#include "transfer/send_job.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "base/directory.h"
#include "base/random.h"
#include "transfer/send_setup.h"
#include "transfer/software.h"
#include "transfer/source_chain.h"
#include "transfer/storage_folders.h"
#include "transfer/wire_text.h"
#include "vhdx/block_plan.h"
#include "vhdx/layer_digest.h"

namespace vhdxm::transfer {
namespace {

constexpr std::chrono::milliseconds kSendProgressInterval{250};

constexpr std::chrono::milliseconds kSteerInterval{20};
// What is read at a time to compare or verify. Bytes.
constexpr std::size_t kDigestBytes = 1024 * 1024;

}  // namespace

void throw_exception_from_error(const Failure& failure, const boost::source_location&) {
  throw TransferError(failure.error, failure.failure_class, failure.message);
}

SendJob::SendJob(const SenderOptions& options, ProgressFunction progress)
    : options_(options),
      on_progress_(std::move(progress)),
      started_(std::chrono::steady_clock::now()),
      peer_(endpoint_text(options.host, options.port)),
      shares_(shares_of(options)),
      steering_(options, shares_),
      limiter_(options.limit_bytes_per_second),
      answers_(options.timeouts.stall),
      listening_(options.timeouts.stall) {
  random_bytes(std::as_writable_bytes(std::span(preamble_.job_id)));
}

SendJob::SendJob(const SenderOptions& options, ProgressFunction progress, LiveSource& source,
                 LivePasses& live, CutoverSource& cutover)
    : SendJob(options, std::move(progress)) {
  live_source_ = &source;
  live_ = &live;
  source_ = &source;
  introduction_ = cutover.introduce(preamble_.job_id);
  attach_live();
}

SendJob::~SendJob() {
  stop_streams(true);
  worker_.join();
}

template <class Function>
void SendJob::post(Function function) {
  asio::post(context_, [this, function = std::move(function)]() mutable {
    function();
    drain_actions();
  });
}

template <class Task, class Then>
void SendJob::work(Task task, Then then) {
  asio::post(worker_, [this, task = std::move(task), then = std::move(then)]() mutable {
    auto result = task();
    post([this, result = std::move(result), then = std::move(then)]() mutable {
      if (session_->over()) return;
      if (result.has_error()) return fail(result.error(), {});
      then(std::move(*result));
    });
  });
}

SendResult SendJob::run() {
  enter(Phase::kPlanning);
  if (source_ == nullptr && !open_source()) return result();
  if (!options_.seed_from.empty() && !Directory::is_plain_name(options_.seed_from)) {
    const Error error{.code = BaseErrc::kInvalidArgument,
                      .where = "the name of a seed is no plain name of a file",
                      .subject = options_.seed_from};
    settle(error, classify(error), {});
    return result();
  }
  if (!options_.folder.empty() && !is_folder_name(options_.folder)) {
    const Error error{.code = BaseErrc::kInvalidArgument,
                      .where = "the name of a folder at the destination",
                      .subject = options_.folder};
    settle(error, classify(error), {});
    return result();
  }
  if (cancelled_) {
    settle(Error{.code = BaseErrc::kCancelled}, FailureClass::kCancelled, {});
    return result();
  }
  enter(Phase::kConnecting);
  asio::co_spawn(context_, converse(), [this](const std::exception_ptr& failure) {
    ended_ = true;
    tick_.cancel();
    steer_tick_.cancel();
    try {
      if (failure) std::rethrow_exception(failure);
    } catch (const TransferError& problem) {
      settle(problem.error(), problem.failure_class(), problem.text());
    } catch (const std::exception& problem) {
      settle(Error{.code = Errc::kProtocol}, FailureClass::kFailed, problem.what());
    }
  });
  asio::co_spawn(context_, report_regularly(), [](const std::exception_ptr&) {});
  asio::co_spawn(context_, steer_regularly(), [](const std::exception_ptr&) {});
  context_.run();
  // What the worker still does is of no use any more; it looks at cancelled_.
  cancelled_ = true;
  stop_streams(true);
  worker_.join();
  if (live_ != nullptr) live_->wind_up();
  return result();
}

bool SendJob::open_source() {
  auto chain = SourceChain::open(options_.disk_path, options_.name, options_.flatten);
  if (chain.has_error()) {
    settle(chain.error(), classify(chain.error()), {});
    return false;
  }
  opened_ = std::move(*chain);
  source_ = opened_.get();
  return true;
}

void SendJob::set_limit(std::uint64_t bytes_per_second) {
  limiter_.set_rate(bytes_per_second, std::chrono::steady_clock::now());
}

void SendJob::set_mode(Mode mode) {
  // Nothing was agreed about compression with the other side, nor room set aside for it.
  if (options_.mode == Mode::kPlain) return;
  asio::post(context_, [this, mode] { steering_.set_mode(mode); });
}

void SendJob::cancel() {
  // A job that is handing over may be past the point where it can be cancelled.
  if (live_ == nullptr) cancelled_ = true;
  asio::post(context_, [this] {
    if (!session_) {
      cancelled_ = true;
      context_.stop();  // connecting: there is nobody to tell
      return;
    }
    if (live_ == nullptr) return cancel_session();
    live_->cancel([this] { cancel_session(); });
  });
}

void SendJob::cancel_session() {
  cancelled_ = true;
  session_->on_cancel();
  drain_actions();
  if (control_) control_->stop_receiving();
}

asio::awaitable<void> SendJob::connect() {
  ControlConnection connection = co_await connect_control(context_, options_, preamble_);
  host_address_ = std::move(connection.address);
  cipher_ = std::move(connection.cipher);
  control_ = std::move(connection.channel);
  control_->limit_by(limiter_);
}

asio::awaitable<void> SendJob::converse() {
  co_await connect();
  control_->start_writer();
  session_ = std::make_unique<SenderSession>(
      SenderSession::Config{.preamble = preamble_,
                            .features = features_of(options_),
                            .extent_bytes_max = extent_of(options_),
                            .streams_wanted = static_cast<std::uint16_t>(shares_.streams),
                            .nonce = random_u64(),
                            .software = kSoftware,
                            .verify = options_.verify && live_ == nullptr,
                            .kind = live_ != nullptr ? JobKind::kLive : JobKind::kCopy,
                            .handover = introduction_,
                            .disks = offer()});
  enter(Phase::kPlanning);
  session_->start();
  drain_actions();
  if (cancelled_) session_->on_cancel();
  while (!session_->over()) {
    std::optional<TransferError> lost;
    try {
      const Message message = co_await control_->receive();
      if (std::holds_alternative<Welcome>(message)) control_->allow_long_messages();
      note_news(message);
      session_->on_message(message);
    } catch (const TransferError& problem) {
      lost = problem;
    }
    if (!session_->over() && lost) {
      // What the connection says goes before what the session would make of it.
      settle(lost->error(), lost->failure_class(), lost->text());
      session_->on_error(lost->error(), lost->text());
    }
    drain_actions();
  }
  drain_actions();
  cancelled_ = true;
  // In good order only when all went well: a stream of a dead job has nothing to finish.
  stop_streams(failure_.has_value());
  co_await control_->finish();
}

std::vector<OfferDisk> SendJob::offer() const {
  std::vector<OfferDisk> disks = source_->offer();
  // The disk that was asked for; its parents are what they are.
  disks.back().seed_name = options_.seed_from;
  if (options_.folder.empty()) return disks;
  for (OfferDisk& disk : disks) disk.folder = options_.folder;
  return disks;
}

asio::awaitable<void> SendJob::report_regularly() {
  while (!ended_) {
    tick_.expires_after(kSendProgressInterval);
    (void)co_await tick_.async_wait(asio::as_tuple(asio::use_awaitable));
    if (ended_) break;
    give_up_stalled();
    look_for_stall();
    if (live_ != nullptr) live_->refresh();
    tell_progress();
  }
}

asio::awaitable<void> SendJob::steer_regularly() {
  while (!ended_) {
    steer_tick_.expires_after(kSteerInterval);
    (void)co_await steer_tick_.async_wait(asio::as_tuple(asio::use_awaitable));
    if (phase_ != Phase::kCopying) continue;
    const auto now = std::chrono::steady_clock::now();
    SendStream::Work work;
    for (const auto& stream : streams_) work += stream->work(now);
    steering_.steer(work, counters_.wire_bytes.load(std::memory_order_relaxed), now);
  }
}

void SendJob::drain_actions() {
  while (session_) {
    auto action = session_->next_action();
    if (!action) return;
    std::visit([this](auto& one) { act(one); }, *action);
  }
}

void SendJob::fail(const Error& error, const std::string& text) {
  session_->on_error(error, text);
  drain_actions();
  control_->stop_receiving();
}

void SendJob::act(SenderSession::Send& action) {
  control_->send(action.message);
}

void SendJob::act(SenderSession::ComputeDigest& action) {
  disk_ = action.disk;
  counters_.phase_total = source_->payload_bytes(action.disk);
  counters_.phase_done = 0;
  enter(action.verify ? Phase::kVerifying : Phase::kComparing);
  const vhdx::WorkWatch watch{.progress =
                                  [this](std::uint64_t done, std::uint64_t total) {
                                    counters_.phase_done = done;
                                    counters_.phase_total = total;
                                  },
                              .cancel = &cancelled_};
  work(
      [this, disk = action.disk, seed = session_->hash_seed(), watch] {
        BufferPool pool(kDigestBytes, 1);
        const Buffer buffer = pool.acquire();
        return vhdx::layer_digest(source_->view(disk), seed, buffer.bytes(), watch);
      },
      [this, disk = action.disk](const Hash128& digest) { session_->on_digest(disk, digest); });
}

void SendJob::act(SenderSession::PreparePlan& action) {
  disk_ = action.disk;
  enter(Phase::kPlanning);
  work([this, disk = action.disk] { return vhdx::BlockPlan::of_disk(source_->view(disk)); },
       [this, disk = action.disk](const vhdx::BlockPlan& plan) {
         session_->on_plan(disk, plan.encoded());
       });
}

void SendJob::start_streams_job() {
  const Welcome& welcome = session_->welcome();
  const auto streams = std::min<std::uint64_t>(shares_.streams, welcome.streams_max);
  const bool zstd = (welcome.features & static_cast<std::uint64_t>(Feature::kZstd)) != 0;
  if (zstd) {
    compressors_ = std::make_unique<CompressorPool>(welcome.extent_bytes_max, shares_.level_max,
                                                    shares_.compressors);
  }
  pool_ = std::make_unique<BufferPool>(welcome.extent_bytes_max, streams);
  queue_ = std::make_shared<ExtentQueue>(
      welcome.extent_bytes_max, welcome.credit_bytes, session_->hash_seed(),
      [this](std::uint32_t disk, const Ledger& ledger) {
        // Called inside an acknowledgement, on the control
        // thread.
        ledger_ = ledger.sum();
        enter(Phase::kSealing);
        session_->on_copied(disk, ledger);
      },
      [this](std::uint32_t disk, std::uint32_t cells) {
        post([this, disk, cells] { session_->on_hashes_used(disk, cells); });
      });
  streams_job_ = std::make_unique<SendStreamJob>(SendStreamJob{
      .queue = *queue_,
      .limiter = limiter_,
      .pool = *pool_,
      .counters = counters_,
      .mode = steering_.control(),
      .compressors = compressors_.get(),
      .hash_seed = session_->hash_seed(),
      .key = options_.key,
      .job_id = preamble_.job_id,
      .host = host_address_,
      .port = options_.port,
      .timeouts = options_.timeouts,
      .plaintext = (welcome.features & static_cast<std::uint64_t>(Feature::kPlaintextData)) != 0,
      .on_lost =
          [this](std::uint32_t stream) {
            post([this, stream] { session_->on_stream_lost(stream); });
          },
      .on_fatal =
          [this](const Error& error) {
            post([this, error] {
              if (!session_->over()) fail(error, {});
            });
          }});
}

void SendJob::act(SenderSession::OpenStreams& action) {
  if (!streams_job_) start_streams_job();
  for (const StreamGrant& grant : action.grants) {
    streams_.push_back(std::make_unique<SendStream>(*streams_job_, grant));
  }
}

void SendJob::act(SenderSession::CopyDisk& action) {
  disk_ = action.disk;
  resumed_ = action.partial == PartialState::kResumed;
  resumed_bytes_ += action.resumed_bytes;
  if (action.partial == PartialState::kReplaced) ++partials_replaced_;
  enter(Phase::kCopying);
  if (live_ != nullptr) live_->on_copying();
  queue_->begin_disk(action.disk, source_->view(action.disk), std::move(action.held),
                     live_ != nullptr ? 1 : 0);
}

void SendJob::act(SenderSession::TakeHashes& action) {
  queue_->add_hashes(action.first_cell, std::move(action.hashes));
}

void SendJob::act(SenderSession::Acknowledge& action) {
  if (!queue_) return;
  queue_->add_credit(action.credit_bytes);
  counters_.written_bytes.fetch_add(action.credit_bytes, std::memory_order_relaxed);
  for (const WrittenCount& count : action.streams) {
    auto taken = queue_->acknowledge(count.stream, count.frames);
    if (taken.has_error()) return fail(taken.error(), {});
  }
}

void SendJob::act(SenderSession::NoteLoad& action) {
  steering_.note(action.load);
}

void SendJob::act(SenderSession::NoteDurable& action) {
  counters_.durable_bytes.store(durable_before_ + action.raw_bytes, std::memory_order_relaxed);
}

void SendJob::act(SenderSession::RequeueStream& action) {
  auto requeued = queue_->requeue(action.stream, action.frames);
  if (requeued.has_error()) return fail(requeued.error(), {});
  counters_.resent_bytes.fetch_add(requeued->wire_bytes, std::memory_order_relaxed);
  counters_.payload_done.fetch_sub(requeued->read_bytes, std::memory_order_relaxed);
  counters_.saved_bytes.fetch_sub(requeued->saved_bytes, std::memory_order_relaxed);
  counters_.zero_bytes.fetch_sub(requeued->zero_bytes, std::memory_order_relaxed);
  counters_.same_bytes.fetch_sub(requeued->same_bytes, std::memory_order_relaxed);
}

void SendJob::act(SenderSession::CheckSource& action) {
  enter(Phase::kCommitting);
  auto unchanged = source_->check_unchanged(action.disk);
  if (unchanged.has_error()) return fail(unchanged.error(), {});
  session_->on_source_unchanged(action.disk);
}

void SendJob::act(SenderSession::DiskDone& action) {
  const std::uint32_t disk = action.disk;
  const vhdx::Geometry& geometry = source_->view(disk).geometry();
  reports_.push_back(
      {.name = text_of_place(options_.folder, source_->name(disk)),
       .source_path = source_->path(disk),
       .outcome = action.identical ? DiskReport::Outcome::kIdentical : DiskReport::Outcome::kSent,
       .virtual_bytes = geometry.virtual_size_bytes,
       .payload_bytes = source_->payload_bytes(disk),
       .ledger = action.identical ? std::string{} : to_string(ledger_),
       .verified = options_.verify && live_ == nullptr && !action.identical,
       .resumed = resumed_ && !action.identical,
       .same_bytes = counters_.same_bytes - same_before_});
  same_before_ = counters_.same_bytes;
  resumed_ = false;
  if (!action.identical) {
    durable_before_ += geometry.virtual_size_bytes;
    counters_.durable_bytes.store(durable_before_, std::memory_order_relaxed);
  }
}

void SendJob::attach_live() {
  live_->attach(
      {.context = context_,
       .worker = worker_,
       .post = [this](std::function<void()> function) { post(std::move(function)); },
       .begin_pass =
           [this](std::uint32_t pass) {
             queue_->begin_pass(pass, live_source_->sources(), [this] {
               post([this] {
                 if (!session_->over()) live_->on_pass_sent();
               });
             });
           },
       .agree = [this](std::uint32_t pass) { session_->on_pass_copied(pass, pass_ledgers()); },
       .verify = options_.verify ? [this] { begin_verify(); } : std::function<void()>(),
       .ledgers = [this] { return pass_ledgers(); },
       .pass_bytes = [this] { return queue_->pass_bytes(); },
       .mirror =
           [this](const ExtentQueue::Mirroring& how) {
             queue_->start_mirroring(how);
             live_source_->mirror_over(queue_);
           },
       .set_mirror_patience =
           [this](Convergence::Duration patience) {
             if (queue_) queue_->set_mirror_patience(patience);
           },
       .stop_mirroring =
           [this] {
             if (queue_) queue_->stop_mirroring();
           },
       .mirror_state =
           [this] { return queue_ ? queue_->mirror_state() : ExtentQueue::MirrorState{}; },
       .send = [this](HandoverBody body) { session_->send_handover(std::move(body)); },
       .finish = [this] { session_->on_handed_over(); },
       .fail =
           [this](const Error& error, const std::string& text) {
             settle(error, classify(error), text);
             fail(error, text);
           },
       .tell = [this] { tell_progress(); }},
      preamble_.job_id);
}

std::vector<PassLedger> SendJob::pass_ledgers() const {
  std::vector<PassLedger> ledgers;
  for (std::uint32_t disk = 0; disk < source_->size(); ++disk) {
    const Ledger ledger = queue_->ledger(disk);
    ledgers.push_back(
        {.ledger = ledger.sum(), .entries = ledger.entries(), .raw_bytes = ledger.raw_bytes()});
  }
  return ledgers;
}

void SendJob::act(SenderSession::Introduced& action) {
  live_->on_introduced(std::move(action.body));
}

void SendJob::act(SenderSession::StartPasses&) {
  enter(Phase::kCopying);
  std::uint64_t payload = 0;
  for (std::uint32_t disk = 0; disk < source_->size(); ++disk) {
    payload += source_->payload_bytes(disk);
  }
  const std::uint64_t spared = counters_.zero_bytes.load(std::memory_order_relaxed) +
                               counters_.same_bytes.load(std::memory_order_relaxed);
  live_->on_copied(payload, payload - std::min(payload, spared));
}

void SendJob::act(SenderSession::PassDone& action) {
  live_->on_pass_done(std::chrono::microseconds(action.sync_us));
}

void SendJob::begin_verify() {
  verify_ = std::make_unique<LiveVerify>(*live_source_, session_->hash_seed());
  counters_.phase_done = 0;
  counters_.phase_total = 0;
  for (std::uint32_t disk = 0; disk < source_->size(); ++disk) {
    counters_.phase_total += source_->payload_bytes(disk);
  }
  phase_ = Phase::kVerifying;  // the passes tell of it
  post([this] { verify_more(); });
}

void SendJob::verify_more() {
  if (session_->over()) return;
  if (verify_->begin_read(session_->verifying())) {
    work([this] { return verify_->read_next(); },
         [this](const std::optional<VerifyRange>& range) {
           verify_->on_read(range);
           counters_.phase_done = verify_->read_bytes();
           if (range) session_->verify_range(*range);
           verify_more();
         });
    return;
  }
  if (!verify_->all_read() || session_->verifying() > 0 || comparing_ > 0) return;
  const std::uint64_t left_out = verify_->left_out_bytes();
  const std::uint64_t read = verify_->read_bytes();
  verify_.reset();
  for (DiskReport& report : reports_) report.verified = true;
  phase_ = Phase::kCopying;
  live_->on_verified(read - std::min(read, left_out), left_out);
}

void SendJob::act(SenderSession::RangeCompared& action) {
  if (action.differing.empty()) return verify_more();
  ++comparing_;
  work([this, asked = std::move(
                  action)] { return verify_->left_out(asked.disk, asked.offset, asked.differing); },
       [this](std::uint64_t left_out) {
         --comparing_;
         verify_->on_compared(left_out);
         verify_more();
       });
}

void SendJob::act(SenderSession::DeliverHandover& action) {
  live_->on_handover(std::move(action.body));
}

void SendJob::act(SenderSession::Finish&) {
  enter(Phase::kDone);
}

void SendJob::act(SenderSession::Abort& action) {
  cancelled_ = true;
  // Before anything that takes time: a guest may be waiting.
  if (live_ != nullptr) live_->on_over();
  std::string text;
  if (!action.peer_text.empty()) text = peer_ + ": " + action.peer_text;
  settle(action.error, classify(action.error), text);
}

void SendJob::stop_streams(bool at_once) {
  if (queue_) queue_->stop();
  if (at_once) {
    for (const auto& stream : streams_) stream->abort();
  }
  streams_.clear();
}

// Control may be alive while a data stream is not: a relay that swallows, a path that died.
void SendJob::give_up_stalled() {
  const auto now = std::chrono::steady_clock::now();
  for (const auto& stream : streams_) {
    const ExtentQueue::StreamState state = queue_->stream_state(stream->number());
    const std::uint64_t sent = stream->sent_bytes();
    // A new stream has as long as any other.
    Movement& last = movements_.try_emplace(stream->number(), Movement{.when = now}).first->second;
    const bool idle = state.in_flight == 0 || stream->held_back();
    if (idle || sent != last.sent_bytes || state.acknowledged != last.acknowledged) {
      last = {.sent_bytes = sent, .acknowledged = state.acknowledged, .when = now};
    } else if (now - last.when > options_.timeouts.stall && !last.given_up) {
      stream->give_up();
      last.given_up = true;
      ++news_;  // another one is tried before the job is given up
    }
  }
}

// Neither what comes by the clock, nor an acknowledgement of nothing: what Written counts is looked
// at where it is taken.
void SendJob::note_news(const Message& message) {
  const auto* written = std::get_if<Written>(&message);
  if (written != nullptr) {
    if (written->credit_bytes > 0) ++news_;
    return;
  }
  const bool by_the_clock = std::holds_alternative<Heartbeat>(message) ||
                            std::holds_alternative<Load>(message) ||
                            std::holds_alternative<Durable>(message);
  if (!by_the_clock) ++news_;
}

Awaited SendJob::awaited() const {
  // It cannot answer what it was not told yet.
  if (control_->has_unsent()) return {};
  if (!session_->copying() || session_->verifying() > 0) return session_->awaited();
  const bool limited = std::any_of(streams_.begin(), streams_.end(),
                                   [](const auto& stream) { return stream->held_back(); });
  if (limited || !queue_->waits_for_receiver()) return {};
  return session_->awaited();
}

// A receiver may be alive and never answer, or never read.
void SendJob::look_for_stall() {
  if (!session_ || session_->over()) return;
  const auto now = std::chrono::steady_clock::now();
  std::uint64_t movement = news_ + control_->sent_bytes();
  if (queue_) movement += queue_->acknowledged();
  for (const auto& stream : streams_) movement += stream->sent_bytes();
  auto stalled = answers_.look(awaited(), movement, now);
  if (!stalled) {
    const Awaited reader{.what = control_->has_unsent() ? kReadsWhatItIsTold : nullptr};
    stalled = listening_.look(reader, control_->sent_bytes(), now);
  }
  if (!stalled) return;
  const Error error = std::move(*stalled).about(peer_);
  settle(error, classify(error), stalled_text(error));
  fail(error, {});
}

void SendJob::settle(const Error& error, FailureClass failure_class, const std::string& text) {
  if (failure_) return;  // the first failure is the cause, what follows is its consequence
  failure_ = failure_from(failure_class, error, text);
  const bool again =
      failure_class == FailureClass::kNetwork || failure_class == FailureClass::kCancelled;
  // Once data was sent, the destination keeps it.
  if (again && queue_) failure_->advice = "Run the same command again: it resumes.";
}

void SendJob::enter(Phase phase) {
  phase_ = phase;
  tell_progress();
}

void SendJob::tell_progress() {
  if (on_progress_) on_progress_(snapshot());
}

Progress SendJob::snapshot() {
  Progress progress;
  progress.phase = phase_;
  progress.elapsed = std::chrono::steady_clock::now() - started_;
  progress.disk_index = disk_;
  if (source_ != nullptr) {
    progress.disk = text_of_place(options_.folder, source_->name(disk_));
    progress.disk_count = static_cast<std::uint32_t>(source_->size());
    for (std::uint32_t disk = 0; disk < source_->size(); ++disk) {
      progress.bytes_total += source_->payload_bytes(disk);
      progress.unallocated_bytes +=
          source_->view(disk).geometry().virtual_size_bytes - source_->payload_bytes(disk);
    }
  }
  for (const DiskReport& report : reports_) {
    if (report.outcome == DiskReport::Outcome::kIdentical) {
      progress.bytes_done += report.payload_bytes;
    }
  }
  progress.bytes_done += counters_.payload_done.load(std::memory_order_relaxed);
  // What a broken stream takes back is made up for before anybody sees less than before.
  progress.bytes_done = shown_done_ = std::max(shown_done_, progress.bytes_done);
  progress.resumed_bytes = resumed_bytes_;
  progress.same_bytes = counters_.same_bytes.load(std::memory_order_relaxed);
  progress.partials_replaced = partials_replaced_;
  progress.phase_bytes_total = counters_.phase_total.load(std::memory_order_relaxed);
  progress.phase_bytes_done = counters_.phase_done.load(std::memory_order_relaxed);
  progress.wire_bytes = counters_.wire_bytes.load(std::memory_order_relaxed);
  progress.zero_bytes = counters_.zero_bytes.load(std::memory_order_relaxed);
  progress.compressed_bytes = counters_.saved_bytes.load(std::memory_order_relaxed);
  progress.mode = mode_report();
  progress.written_bytes = counters_.written_bytes.load(std::memory_order_relaxed);
  progress.durable_bytes = counters_.durable_bytes.load(std::memory_order_relaxed);
  progress.streams = counters_.streams.load(std::memory_order_relaxed);
  return progress;
}

ModeReport SendJob::mode_report() const {
  return {.asked = steering_.mode(),
          .mix = compressors_ ? steering_.mix() : ModeMix{},
          .gaining = steering_.gaining(),
          .bottleneck = steering_.bottleneck()};
}

SendResult SendJob::result() {
  if (!failure_ && phase_ != Phase::kDone) {
    settle(Error{.code = BaseErrc::kCancelled}, FailureClass::kCancelled, {});
  }
  if (failure_) return *failure_;
  JobReport report;
  report.disks = reports_;
  report.totals = snapshot();
  report.peer = peer_ + ", " + session_->welcome().software;
  report.cipher = cipher_;
  report.plaintext_data = streams_job_ && streams_job_->plaintext;
  report.frames = counters_.frames.load();
  report.streams_replaced = session_->streams_replaced();
  report.resent_bytes = counters_.resent_bytes.load();
  report.compression = steering_.summary();
  report.compression.supported = !streams_job_ || compressors_ != nullptr;
  if (pool_) {
    report.peak_buffer_bytes = pool_->high_water() * pool_->buffer_bytes();
    report.buffer_stages = pool_->stage_bytes();
  }
  if (queue_) {
    const ExtentQueue::HighWater most = queue_->high_water();
    report.peak_credit_bytes = most.credit_bytes;
    report.peak_frames_under_way = most.frames;
  }
  return report;
}

}  // namespace vhdxm::transfer
