#include "transfer/receive_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "base/check.h"
#include "base/processor_time.h"
#include "base/random.h"
#include "transfer/host_measures.h"
#include "transfer/measure_sink.h"
#include "transfer/memory_budget.h"
#include "transfer/software.h"
#include "vhdx/layer.h"
#include "vhdx/layer_digest.h"

namespace vhdxm::transfer {
namespace {

constexpr std::uint32_t kExtentBytes = 1024 * 1024;
constexpr std::uint16_t kStreamsMaxOfJob = 16;
constexpr std::chrono::milliseconds kProgressInterval{250};
constexpr std::chrono::milliseconds kLookInterval{250};
// Often enough for a sender to react within a second to what it learns from two of them.
constexpr std::chrono::milliseconds kLoadInterval{50};

std::uint16_t streams_for(std::uint64_t memory_bytes) {
  const ReceiverBudget budget{.memory_bytes = memory_bytes, .extent_bytes = kExtentBytes};
  return static_cast<std::uint16_t>(
      std::min<std::uint64_t>(budget.streams(memory_bytes), kStreamsMaxOfJob));
}

ReceiverSession::Config session_config(const ReceiverOptions& options, const Preamble& preamble,
                                       std::uint64_t memory_bytes) {
  return {.preamble = preamble,
          .features =
              static_cast<std::uint64_t>(Feature::kZstd) |
              (options.plaintext_data ? static_cast<std::uint64_t>(Feature::kPlaintextData) : 0),
          .extent_bytes_max = kExtentBytes,
          .streams_max = streams_for(memory_bytes),
          .credit_bytes = credit_for(options.memory_bytes),
          .nonce = random_u64(),
          .software = kSoftware};
}

// Whether what a job brought cannot be relied on after this: its peer breaks the protocol, or bytes
// are not what they should be. What just ended, a later job goes on with.
bool spoils(const Error& error) {
  for (const Errc errc : {Errc::kNotOurProtocol, Errc::kProtocol, Errc::kTooLarge,
                          Errc::kLedgerMismatch, Errc::kVerifyMismatch}) {
    if (error.code == errc) return true;
  }
  return false;
}

// The digest of a VHDX of the folder, without its parents.
Result<Hash128> digest_of(const Directory& folder, const std::string& name, std::uint64_t seed,
                          const vhdx::WorkWatch& watch) {
  VHDXM_TRY(std::shared_ptr<PosixFile> file, folder.open_file(name, {.direct = true}));
  VHDXM_TRY(const auto layer, vhdx::Layer::open(file, vhdx::Layer::Replay::kInMemory));
  BufferPool pool(kExtentBytes, 1);
  const Buffer buffer = pool.acquire();
  return vhdx::layer_digest(*layer, seed, buffer.bytes(), watch);
}

}  // namespace

ReceiveJob::ReceiveJob(Setting setting, std::uint64_t number, Preamble preamble,
                       std::shared_ptr<ControlChannel> control)
    : setting_(std::move(setting)),
      number_(number),
      preamble_(preamble),
      control_(std::move(control)),
      session_(session_config(setting_.options, preamble, setting_.memory_bytes)),
      in_order_(asio::make_strand(setting_.workers.get_executor())),
      settled_(setting_.context),
      load_due_(setting_.context),
      look_due_(setting_.context),
      steps_(setting_.options.timeouts.stall),
      listening_(setting_.options.timeouts.stall),
      started_(std::chrono::steady_clock::now()),
      last_progress_(started_) {}

ReceiveJob::~ReceiveJob() {
  VHDXM_CHECK(streams_.empty());
}

template <class Function>
void ReceiveJob::post(Function function) {
  asio::post(setting_.context,
             [self = shared_from_this(), function = std::move(function)]() mutable {
               function(*self);
               self->drain_actions();
             });
}

template <class Task, class Then>
void ReceiveJob::work(Task task, Then then) {
  work_on(setting_.workers.get_executor(), std::move(task), std::move(then));
}

template <class Task, class Then>
void ReceiveJob::work_in_order(Task task, Then then) {
  work_on(in_order_, std::move(task), std::move(then));
}

template <class Executor, class Task, class Then>
void ReceiveJob::work_on(const Executor& executor, Task task, Then then) {
  ++working_;
  asio::post(executor, [self = shared_from_this(), task = std::move(task), then]() mutable {
    // What the task holds, a disk perhaps, is let go before anybody learns that it has ended.
    auto result = [&task] {
      Task once = std::move(task);
      return once();
    }();
    self->post([result = std::move(result), then](ReceiveJob& job) mutable {
      --job.working_;
      job.settled_.cancel();
      then(job, std::move(result));
    });
  });
}

asio::awaitable<void> ReceiveJob::run() {
  control_->start_writer();
  watching_ = true;
  asio::co_spawn(setting_.context, watch_sender(), [](const std::exception_ptr&) {});
  co_await converse();
  drain_actions();
  // The last words go out while files and threads are cleared away.
  cancelled_ = true;
  load_due_.cancel();
  look_due_.cancel();
  co_await clean_up();
  co_await control_->finish();
  if (met_) failure_.reset();  // whoever has heard the answer goes
  if (failure_) {
    emit(ReceiverEvent::Type::kJobFailed);
  } else {
    succeeded_ = true;
    emit(measured() ? ReceiverEvent::Type::kMeasured : ReceiverEvent::Type::kJobDone);
  }
}

asio::awaitable<void> ReceiveJob::converse() {
  while (!session_.over()) {
    std::optional<TransferError> lost;
    try {
      const Message message = co_await control_->receive();
      if (std::holds_alternative<Hello>(message)) control_->allow_long_messages();
      if (!std::holds_alternative<Heartbeat>(message)) ++news_;
      session_.on_message(message);
    } catch (const TransferError& problem) {
      lost = problem;
    }
    if (session_.over()) break;
    if (lost) session_.on_error(lost->error(), lost->text());
    drain_actions();
  }
}

asio::awaitable<void> ReceiveJob::clean_up() {
  // Threads are joined and files removed on a worker: other jobs go on meanwhile.
  auto streams = std::make_shared<std::vector<std::unique_ptr<ReceiveStream>>>();
  streams->swap(streams_);
  auto disks = std::make_shared<std::vector<std::shared_ptr<IncomingDisk>>>();
  {
    const std::lock_guard lock(disk_mutex_);
    disks->swap(live_disks_);
    if (disk_) disks->push_back(std::exchange(disk_, nullptr));
  }
  if (spoiled_ || (failure_ && spoils(failure_->error))) {
    for (const auto& disk : *disks) disk->discard();
  }
  auto done = std::make_shared<bool>(false);
  // After all that whoever takes over was asked.
  asio::post(in_order_, [self = shared_from_this(), streams, disks, done] {
    streams->clear();
    bool kept = false;
    for (auto& disk : *disks) {
      kept = kept || disk->will_stay();
      disk.reset();
    }
    if (self->target_) self->target_->end();
    asio::post(self->setting_.context, [self, done, kept] {
      self->kept_ = kept;
      *done = true;
      self->settled_.cancel();
    });
  });
  while (!*done || working_ > 0 || reporting_load_ || watching_) {
    settled_.expires_at(asio::steady_timer::time_point::max());
    (void)co_await settled_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

ReceiverBudget ReceiveJob::budget_of(const ReceiverOptions& options) {
  return {.memory_bytes = options.memory_bytes,
          .extent_bytes = kExtentBytes,
          .jobs_max = options.jobs_max};
}

std::uint64_t ReceiveJob::memory_bytes() const {
  const Welcome& welcome = session_.welcome();
  if (welcome.extent_bytes_max == 0) return setting_.memory_bytes;  // before Hello
  return budget_of(setting_.options).job_bytes(welcome.streams_max, held_ranges_max());
}

std::uint64_t ReceiveJob::held_ranges_max() const {
  return budget_of(setting_.options)
      .held_ranges(setting_.memory_bytes, session_.welcome().streams_max);
}

void ReceiveJob::stop() {
  session_.on_cancel();
  drain_actions();
  if (session_.over()) control_->stop_receiving();
}

bool ReceiveJob::plaintext_data() const {
  return (session_.welcome().features & static_cast<std::uint64_t>(Feature::kPlaintextData)) != 0;
}

void ReceiveJob::drain_actions() {
  while (auto action = session_.next_action()) {
    std::visit([this](auto& one) { act(one); }, *action);
  }
}

void ReceiveJob::fail(const Error& error, const std::string& text) {
  session_.on_error(error, text);
  drain_actions();
  control_->stop_receiving();
}

void ReceiveJob::act(ReceiverSession::Send& action) {
  control_->send(action.message);
}

void ReceiveJob::act(ReceiverSession::CheckOffer& action) {
  const OfferDisk& last = action.disks.back();
  emit(ReceiverEvent::Type::kJobStarted, text_of_place(last.folder, last.name),
       last.description.geometry.virtual_size_bytes);
  const bool live = session_.kind() == JobKind::kLive;
  if (live && setting_.options.cutover_target) target_ = setting_.options.cutover_target(number_);
  work_in_order(
      [this, live, action] {
        return live ? check_live_offer(action) : check_offer(setting_.folders, action.disks);
      },
      [](ReceiveJob& job, OfferVerdict verdict) {
        if (job.session_.over()) return;
        if (verdict.has_error()) {
          return job.fail(verdict.error().error, verdict.error().text);
        }
        job.offer_ = std::move(*verdict);
        job.session_.on_offer_checked(job.offer_.actions, std::move(job.introduction_));
      });
}

OfferVerdict ReceiveJob::check_live_offer(const ReceiverSession::CheckOffer& offer) {
  const std::vector<OfferDisk>& disks = offer.disks;
  const auto refused = [](Error error, std::string text) {
    return OfferVerdict(OfferRefusal{.error = std::move(error), .text = std::move(text)});
  };
  if (!target_) {
    return refused(Error{.code = Errc::kIncompatible, .where = "a disk in use"},
                   "This receiver takes no disks that are in use: move them through the host "
                   "service, vhdx-migrated.");
  }
  if (auto met = target_->meet(preamble_.job_id, offer.handover)) {
    if (met->has_error()) return refused(met->error(), describe(met->error()));
    introduction_ = std::move(**met);
    met_ = true;
    return CheckedOffer{.actions = std::vector(disks.size(), OfferAction::kSend), .disks = disks};
  }
  auto verdict = check_offer(setting_.folders, disks);
  if (verdict.has_error()) return verdict;
  for (std::size_t i = 0; i < disks.size(); ++i) {
    if (verdict->actions[i] == OfferAction::kSend) continue;
    return refused(Error{.code = Errc::kNameTaken,
                         .where = "a disk in use is never taken for one that is here",
                         .subject = setting_.folders.of(disks[i].folder).path_of(disks[i].name)},
                   fmt::format("{} exists at the destination. It is never overwritten: move under "
                               "another name, or move the other one away.",
                               disks[i].name));
  }
  auto begun = target_->begin(preamble_.job_id, verdict->disks, offer.handover);
  if (begun.has_error()) return refused(begun.error(), describe(begun.error()));
  introduction_ = std::move(*begun);
  return verdict;
}

void ReceiveJob::act(ReceiverSession::CompareWith& action) {
  const OfferDisk& disk = offer_.disks[action.disk];
  emit_progress(Phase::kComparing);
  work_on(
      setting_.readers.get_executor(),
      [this, folder = &setting_.folders.of(disk.folder), name = disk.name,
       seed = session_.hash_seed()] {
        return digest_of(*folder, name, seed, {.progress = {}, .cancel = &cancelled_});
      },
      [action](ReceiveJob& job, Result<Hash128> digest) {
        if (job.session_.over()) return;
        const OfferDisk& offered = job.offer_.disks[action.disk];
        if (digest.has_error()) return job.fail(digest.error(), {});
        if (*digest != action.digest) {
          return job.fail(
              Error{.code = Errc::kNameTaken,
                    .where = "content differs",
                    .subject = job.setting_.folders.of(offered.folder).path_of(offered.name)},
              fmt::format("{} exists at the destination, with the same identity (virtual disk {}) "
                          "but other content. It is never overwritten: send under another name "
                          "with --as NAME, or move the other one away.",
                          offered.name, to_string(offered.description.virtual_disk_id)));
        }
        job.emit(ReceiverEvent::Type::kDiskIdentical, text_of_place(offered.folder, offered.name),
                 offered.description.geometry.virtual_size_bytes);
        job.session_.on_compared(action.disk);
      });
}

void ReceiveJob::act(ReceiverSession::StartDisk& action) {
  if (met_) return fail(Error{.code = Errc::kProtocol, .where = "a disk after a word"}, {});
  work(
      [this, offer = offer_.disks[action.disk], plan = std::move(action.plan),
       seed = session_.hash_seed(), kind = session_.kind(),
       ranges_max = held_ranges_max()]() mutable {
        return IncomingDisk::start(setting_.folders.of(offer.folder), offer, std::move(plan), seed,
                                   preamble_.job_id, ranges_max, kind);
      },
      [disk = action.disk](ReceiveJob& job, Result<std::unique_ptr<IncomingDisk>> started) {
        if (job.session_.over()) return;
        if (started.has_error()) return job.fail(started.error(), {});
        // Only a plan is longer, and its memory is the account's while frames come. Of disks in
        // use, more plans come, and whoever hands over may have much to say.
        job.control_->allow_long_messages(job.session_.kind() == JobKind::kLive);
        {
          const std::lock_guard lock(job.disk_mutex_);
          job.disk_ = std::move(*started);
          job.disk_index_ = disk;
        }
        job.synced_bytes_ = 0;
        if (job.disk_->partial() == PartialState::kResumed) {
          job.emit(ReceiverEvent::Type::kDiskResumed, job.disk_->shown_name(),
                   job.disk_->virtual_bytes());
        }
        job.session_.on_disk_started(disk, {.held = job.disk_->held(),
                                            .partial = job.disk_->partial(),
                                            .resumed_bytes = job.disk_->resumed_bytes()});
      });
}

void ReceiveJob::act(ReceiverSession::HashCells& action) {
  work([disk = disk_, action] { return disk->hash_cells(action.cells_max); },
       [index = action.disk](ReceiveJob& job, IncomingDisk::HashedCells cells) {
         job.session_.on_cells_hashed(index, cells.first_cell, std::move(cells.hashes));
       });
}

asio::awaitable<void> ReceiveJob::report_load() {
  const std::shared_ptr<ReceiveJob> self = shared_from_this();
  while (!session_.over()) {
    load_due_.expires_after(kLoadInterval);
    (void)co_await load_due_.async_wait(asio::as_tuple(asio::use_awaitable));
    Load load;
    const auto now = std::chrono::steady_clock::now();
    for (const auto& stream : streams_) stream->add_to(load, now);
    if (load.streams > 0) session_.on_load(load);
    drain_actions();
  }
  reporting_load_ = false;
  settled_.cancel();
}

asio::awaitable<void> ReceiveJob::watch_sender() {
  const std::shared_ptr<ReceiveJob> self = shared_from_this();
  while (!session_.over()) {
    look_due_.expires_after(kLookInterval);
    (void)co_await look_due_.async_wait(asio::as_tuple(asio::use_awaitable));
    if (session_.over()) break;
    if (auto stalled = look_for_stall()) {
      const Error error = std::move(*stalled).about(control_->socket().peer());
      fail(error, stalled_text(error));
    }
  }
  watching_ = false;
  settled_.cancel();
}

// A sender may be alive and never go on, or never read.
std::optional<Error> ReceiveJob::look_for_stall() {
  const auto now = std::chrono::steady_clock::now();
  Load load;
  for (const auto& stream : streams_) stream->add_to(load, now);
  // What is done here, a slow disk written to, is not the sender's fault.
  Awaited awaited = session_.awaited();
  if (working_ > 0) awaited = {};
  const auto stalled = steps_.look(awaited, news_ + load.wire_bytes + load.writing_us, now);
  if (stalled) return stalled;
  const Awaited reader{.what = control_->has_unsent() ? kReadsWhatItIsTold : nullptr};
  return listening_.look(reader, control_->sent_bytes(), now);
}

void ReceiveJob::act(ReceiverSession::PrepareMeasure&) {
  work([this] { return measure_writing(setting_.folders.into(), cancelled_); },
       [](ReceiveJob& job, Result<WriteMeasure> writing) {
         if (job.session_.over()) return;
         if (writing.has_error()) return job.fail(writing.error(), {});
         {
           const std::lock_guard lock(job.disk_mutex_);
           job.measure_ = std::make_shared<MeasureSink>(job.session_.hash_seed());
         }
         job.session_.on_measure_ready(
             {.processors = static_cast<std::uint16_t>(usable_processors()),
              .write_bytes_per_second = writing->bytes_per_second,
              .write_ns_per_mib = writing->processor_ns_per_mib,
              .host_id = host_id()});
       });
}

std::shared_ptr<FrameSink> ReceiveJob::sink_of(std::uint32_t disk) {
  const std::lock_guard lock(disk_mutex_);
  if (measure_) return measure_;
  if (disk < live_disks_.size()) return live_disks_[disk];
  return disk == disk_index_ ? disk_ : nullptr;
}

void ReceiveJob::start_streams_job() {
  const Welcome& welcome = session_.welcome();
  const std::size_t buffers = welcome.streams_max;
  const bool zstd = (welcome.features & static_cast<std::uint64_t>(Feature::kZstd)) != 0;
  pool_ = std::make_unique<BufferPool>(welcome.extent_bytes_max, buffers);
  if (zstd) {
    unpacked_pool_ = std::make_unique<BufferPool>(
        welcome.extent_bytes_max, std::min<std::size_t>(buffers, kUnpackedBuffersMax));
  }
  streams_job_ = std::make_unique<ReceiveStreamJob>(ReceiveStreamJob{
      .pool = *pool_,
      .unpacked_pool = unpacked_pool_.get(),
      .counters = counters_,
      .limits = {.extent_bytes_max = welcome.extent_bytes_max,
                 .disk_count =
                     session_.measuring() ? 1 : static_cast<std::uint32_t>(offer_.disks.size()),
                 .zstd = zstd},
      .sink = [this](std::uint32_t disk) { return sink_of(disk); },
      .on_applied =
          [this] {
            // One report for all that happens until it is made.
            if (report_posted_.exchange(true, std::memory_order_acq_rel)) return;
            post([](ReceiveJob& job) { job.report_written(); });
          },
      .on_ended =
          [this](std::uint32_t stream) {
            post([stream](ReceiveJob& job) { job.stream_ended(stream); });
          },
      .on_fatal =
          [this](const Error& error) {
            post([error](ReceiveJob& job) {
              job.spoiled_ = true;
              if (!job.session_.over()) job.fail(error, {});
            });
          }});
}

void ReceiveJob::act(ReceiverSession::GrantStreams& action) {
  if (!streams_job_) start_streams_job();
  std::vector<StreamGrant> grants;
  for (std::uint16_t i = 0; i < action.count; ++i) {
    StreamGrant grant{.stream = action.first_stream + i};
    random_bytes(std::as_writable_bytes(std::span(grant.token)));
    grants.push_back(grant);
  }
  grants_.insert(grants_.end(), grants.begin(), grants.end());
  reported_.resize(action.first_stream + action.count);
  session_.on_granted(grants);
}

bool ReceiveJob::may_join(const Join& join) {
  const auto grant = std::find_if(grants_.begin(), grants_.end(), [&](const StreamGrant& one) {
    return one.stream == join.stream && one.token == join.token;
  });
  if (session_.over() || grant == grants_.end()) return false;
  grants_.erase(grant);  // good once
  return true;
}

void ReceiveJob::join(std::uint32_t stream, SecureSocket::Parts connection) {
  // The job may have ended, or the stream been given up, while the reply was sent: then not a frame
  // of it may be applied.
  const bool given_up = std::find(gone_.begin(), gone_.end(), stream) != gone_.end();
  if (session_.over() || given_up) {
    SecureSocket(setting_.context, std::move(connection)).abort();
    return;
  }
  streams_.push_back(std::make_unique<ReceiveStream>(*streams_job_, stream, std::move(connection)));
  if (!reporting_load_) {
    reporting_load_ = true;
    asio::co_spawn(setting_.context, report_load(), [](const std::exception_ptr&) {});
  }
}

void ReceiveJob::act(ReceiverSession::DrainStream& action) {
  const auto stream = std::find_if(streams_.begin(), streams_.end(),
                                   [&](const auto& one) { return one->number() == action.stream; });
  if (stream == streams_.end()) {
    // It never joined: its token dies, and no frame of it was applied.
    std::erase_if(grants_, [&](const StreamGrant& one) { return one.stream == action.stream; });
    gone_.push_back(action.stream);
    session_.on_drained(action.stream, 0);
    return;
  }
  draining_.push_back(action.stream);
  (*stream)->abort();
  if ((*stream)->ended()) stream_ended(action.stream);
}

void ReceiveJob::stream_ended(std::uint32_t stream) {
  const auto draining = std::find(draining_.begin(), draining_.end(), stream);
  if (draining == draining_.end() || session_.over()) return;
  draining_.erase(draining);
  report_written();  // credit first: the sender takes the rest of the stream's back itself
  const auto one = std::find_if(streams_.begin(), streams_.end(),
                                [&](const auto& each) { return each->number() == stream; });
  VHDXM_CHECK(one != streams_.end());
  session_.on_drained(stream, (*one)->frames());
}

void ReceiveJob::report_written() {
  report_posted_.store(false, std::memory_order_release);
  if (session_.over()) return;
  std::vector<WrittenCount> news;
  std::uint64_t payload = 0;
  for (const auto& stream : streams_) {
    // Payload first: it is counted before the frame, so credit never runs ahead of the count.
    payload += stream->payload_bytes();
    WrittenCount& before = reported_[stream->number()];
    const std::uint64_t frames = stream->frames();
    if (frames == before.frames) continue;
    before = {.stream = stream->number(), .frames = frames};
    news.push_back(before);
  }
  const std::uint64_t credit = payload - credit_reported_;
  if (news.empty() && credit == 0) return;
  credit_reported_ = payload;
  session_.on_written(news, credit);
  sync_if_due();
  const auto now = std::chrono::steady_clock::now();
  if (now - last_progress_ >= kProgressInterval) emit_progress(Phase::kCopying);
}

// Called right after a report: what the sync makes durable includes all that was reported.
void ReceiveJob::sync_if_due() {
  const std::shared_ptr<IncomingDisk> disk = disk_;  // only this thread changes it
  if (!disk || syncing_ || disk->written_bytes() - synced_bytes_ < kSyncEveryBytes) return;
  syncing_ = true;
  synced_bytes_ = disk->written_bytes();
  const std::uint64_t applied = disk->applied_bytes();
  work([disk] { return disk->sync(); },
       [index = disk_index_, applied](ReceiveJob& job, Result<void> synced) {
         job.syncing_ = false;
         if (job.session_.over()) return;
         if (synced.has_error()) return job.fail(synced.error(), {});
         job.counters_.durable_bytes.store(applied, std::memory_order_relaxed);
         job.session_.on_durable(index, applied);
       });
}

void ReceiveJob::act(ReceiverSession::SealDisk& action) {
  emit_progress(Phase::kSealing);
  work([disk = disk_, end = action.end] { return disk->seal(end); },
       [index = action.end.disk](ReceiveJob& job, Result<Hash128> sealed) {
         if (job.session_.over()) return;
         if (sealed.has_error()) return job.fail(sealed.error(), {});
         if (job.session_.kind() == JobKind::kLive) {
           const std::lock_guard lock(job.disk_mutex_);
           job.live_disks_.push_back(std::exchange(job.disk_, nullptr));
         }
         job.session_.on_sealed(index, *sealed);
       });
}

void ReceiveJob::act(ReceiverSession::VerifyWith& action) {
  emit_progress(Phase::kVerifying);
  work_on(
      setting_.readers.get_executor(),
      [this, folder = &setting_.folders.of(offer_.disks[action.disk].folder),
       name = disk_->name() + ".partial", seed = session_.hash_seed()] {
        return digest_of(*folder, name, seed, {.progress = {}, .cancel = &cancelled_});
      },
      [action](ReceiveJob& job, Result<Hash128> digest) {
        if (job.session_.over()) return;
        if (digest.has_error()) return job.fail(digest.error(), {});
        if (*digest != action.digest) {
          return job.fail(Error{.code = Errc::kVerifyMismatch, .subject = job.disk_->path()},
                          "The disk, read again at the destination, is not the source's.");
        }
        job.session_.on_verified(action.disk);
      });
}

void ReceiveJob::act(ReceiverSession::Commit& action) {
  const IncomingDisk::Ownership ownership{.uid = setting_.options.owner_uid,
                                          .gid = setting_.options.owner_gid,
                                          .mode = setting_.options.file_mode};
  work([disk = disk_, ownership] { return disk->commit(ownership); },
       [index = action.disk](ReceiveJob& job, Result<void> committed) {
         if (job.session_.over()) return;
         if (committed.has_error()) return job.fail(committed.error(), {});
         job.emit(ReceiverEvent::Type::kDiskArrived, job.disk_->shown_name(),
                  job.disk_->virtual_bytes());
         {
           const std::lock_guard lock(job.disk_mutex_);
           job.disk_.reset();
         }
         job.control_->allow_long_messages();
         job.session_.on_committed(index);
       });
}

void ReceiveJob::act(ReceiverSession::SyncPass& action) {
  using Clock = std::chrono::steady_clock;
  work(
      [disks = live_disks_, end = action.end]() -> Result<Clock::duration> {
        const auto begun = Clock::now();
        for (std::size_t i = 0; i < disks.size(); ++i) {
          VHDXM_TRY_VOID(disks[i]->end_pass(end.disks[i]));
        }
        return Clock::now() - begun;
      },
      [pass = action.end.pass](ReceiveJob& job, Result<Clock::duration> synced) {
        if (job.session_.over()) return;
        if (synced.has_error()) return job.fail(synced.error(), {});
        const auto us = std::chrono::duration_cast<std::chrono::microseconds>(*synced).count();
        job.session_.on_pass_synced(pass, static_cast<std::uint64_t>(us));
      });
}

void ReceiveJob::act(ReceiverSession::ComparePages& action) {
  work_in_order([disk = live_disks_[action.range.disk],
                 range = action.range] { return disk->differing_pages(range); },
                [disk = action.range.disk, offset = action.range.offset](
                    ReceiveJob& job, Result<std::vector<std::uint32_t>> differing) {
                  if (job.session_.over()) return;
                  if (differing.has_error()) return job.fail(differing.error(), {});
                  job.session_.on_pages_compared(disk, offset, std::move(*differing));
                });
}

// On in_order_. What is promised holds before it is told.
CutoverTarget::Step ReceiveJob::take_over(const HandoverBody& body) {
  std::vector<std::shared_ptr<IncomingDisk>> disks;
  {
    const std::lock_guard lock(disk_mutex_);
    disks = live_disks_;
  }
  std::vector<PassLedger> ledgers;
  for (const auto& disk : disks) ledgers.push_back(disk->pass_ledger());
  // Also when the answer cannot be sent any more.
  for (const auto& disk : disks) disk->keep_always(true);
  CutoverTarget::Step step = target_->on_message(body, ledgers);
  if (step.state == CutoverTarget::State::kReceiving) {
    for (const auto& disk : disks) {
      disk->keep_always(false);
      if (auto opened = disk->reopen(); opened.has_error()) {
        return {.state = CutoverTarget::State::kFailed, .problem = describe(opened.error())};
      }
    }
  }
  if (step.state != CutoverTarget::State::kReleased) return step;
  const IncomingDisk::Ownership ownership{.uid = setting_.options.owner_uid,
                                          .gid = setting_.options.owner_gid,
                                          .mode = setting_.options.file_mode};
  for (const auto& disk : disks) {
    if (auto closed = disk->close_for_owner(ownership); closed.has_error()) {
      return {.state = CutoverTarget::State::kFailed, .problem = describe(closed.error())};
    }
  }
  CutoverTarget::Step owned = target_->on_closed();
  if (owned.state == CutoverTarget::State::kOwned) {
    for (const auto& disk : disks) disk->let_go();
    target_->on_free();
    for (const auto& disk : disks) disk->forget();
  }
  owned.messages.insert(owned.messages.begin(), step.messages.begin(), step.messages.end());
  return owned;
}

void ReceiveJob::act(ReceiverSession::DeliverHandover& action) {
  work_in_order(
      [this, body = std::move(action.body)] { return take_over(body); },
      [](ReceiveJob& job, const CutoverTarget::Step& step) {
        if (job.session_.over()) return;
        for (const HandoverBody& body : step.messages) job.session_.send_handover(body);
        if (step.state == CutoverTarget::State::kFailed) {
          return job.fail(Error{.code = Errc::kPeerFailed, .where = "the hand-over"}, step.problem);
        }
        if (step.state == CutoverTarget::State::kPrepared) job.get_ready();
        if (step.state != CutoverTarget::State::kOwned) return;
        for (const auto& disk : job.live_disks_) {
          job.emit(ReceiverEvent::Type::kDiskArrived, disk->shown_name(), disk->virtual_bytes());
        }
        job.session_.on_handed_over();
      });
}

// While the source writes down that it releases: a guest waits for what comes after that.
void ReceiveJob::get_ready() {
  work_in_order(
      [this, disks = live_disks_] {
        if (!target_->get_ready()) return false;
        // What fails here fails when it is due, too, and is told then.
        for (const auto& disk : disks) (void)disk->close_ahead().has_error();
        return true;
      },
      [](ReceiveJob&, bool) {});
}

void ReceiveJob::act(ReceiverSession::Finish&) {}

void ReceiveJob::act(ReceiverSession::Abort& action) {
  failure_ = failure_of(action);
  cancelled_ = true;
}

Failure ReceiveJob::failure_of(const ReceiverSession::Abort& action) const {
  Failure failure;
  failure.failure_class = classify(action.error);
  failure.error = action.error;
  if (action.peer_text.empty()) {
    failure.message = describe(action.error);
  } else if (action.error.code == BaseErrc::kCancelled) {
    failure.message = action.peer_text;
  } else {
    failure.message = "The sender gave up: " + action.peer_text;
  }
  return failure;
}

void ReceiveJob::emit(ReceiverEvent::Type type, const std::string& disk, std::uint64_t bytes) {
  if (!setting_.on_event) return;
  setting_.on_event(
      ReceiverEvent{.type = type,
                    .job = number_,
                    .peer = control_->socket().peer(),
                    .disk = disk,
                    .virtual_bytes = bytes,
                    .resumed_bytes = disk_ ? disk_->resumed_bytes() : 0,
                    .kept = kept_,
                    .peak_buffer_bytes = pool_ ? pool_->high_water() * pool_->buffer_bytes() : 0,
                    .buffer_stages = pool_ ? pool_->stage_bytes() : BufferPool::StageBytes{},
                    .failure = type == ReceiverEvent::Type::kJobFailed ? failure_ : std::nullopt,
                    .progress = std::nullopt});
}

void ReceiveJob::emit_progress(Phase phase) {
  last_progress_ = std::chrono::steady_clock::now();
  if (!setting_.on_event || measured()) return;
  Progress progress;
  progress.phase = phase;
  progress.disk_count = static_cast<std::uint32_t>(offer_.disks.size());
  progress.disk_index = session_.disks_done();
  if (progress.disk_index < offer_.disks.size()) {
    const OfferDisk& disk = offer_.disks[progress.disk_index];
    progress.disk = text_of_place(disk.folder, disk.name);
    progress.bytes_total = disk.payload_bytes;
  }
  if (disk_) {
    progress.bytes_done = disk_->payload_bytes() + disk_->same_bytes();
    progress.resumed_bytes = disk_->resumed_bytes();
    progress.same_bytes = disk_->same_bytes();
    progress.written_bytes = disk_->payload_bytes();
  }
  progress.wire_bytes = counters_.wire_bytes.load(std::memory_order_relaxed);
  progress.durable_bytes = counters_.durable_bytes.load(std::memory_order_relaxed);
  progress.streams = counters_.streams.load(std::memory_order_relaxed);
  progress.elapsed = last_progress_ - started_;
  setting_.on_event(ReceiverEvent{.type = ReceiverEvent::Type::kProgress,
                                  .job = number_,
                                  .peer = control_->socket().peer(),
                                  .disk = progress.disk,
                                  .virtual_bytes = disk_ ? disk_->virtual_bytes() : 0,
                                  .resumed_bytes = progress.resumed_bytes,
                                  .failure = std::nullopt,
                                  .progress = progress});
}

}  // namespace vhdxm::transfer
