#include "transfer/link_measurer.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <limits>
#include <utility>

#include "base/random.h"
#include "transfer/send_setup.h"
#include "transfer/software.h"
#include "transfer/stall_watch.h"

namespace vhdxm::transfer {
namespace {

using namespace std::chrono_literals;

// A connection needs some round trips until it goes as fast as it can.
constexpr auto kWarmUp = 250ms;
constexpr auto kFlow = 600ms;
constexpr auto kPoll = 10ms;
constexpr auto kLookEvery = 100ms;

double since(std::uint64_t now, std::uint64_t then) {
  return static_cast<double>(now - std::min(now, then));
}

double part(double some, double all) {
  return all > 0 ? std::clamp(some / all, 0.0, 1.0) : 0;
}

}  // namespace

// Both sides at the moment that the receiver's word came.
struct LinkMeasurer::Snapshot {
  Load load;
  SendStream::Work work;
  std::uint64_t compress_ns = 0;
  std::uint64_t sent_packed_bytes = 0;
  std::uint64_t sent_bytes = 0;
};

LinkMeasurer::LinkMeasurer(const SenderOptions& options, std::span<const std::byte> sample)
    : options_(options),
      shares_(shares_of(options)),
      disk_(sample),
      mode_({}, std::numeric_limits<double>::infinity()),
      limiter_(options.limit_bytes_per_second) {
  random_bytes(std::as_writable_bytes(std::span(preamble_.job_id)));
}

LinkMeasurer::~LinkMeasurer() = default;

boost::system::result<LinkMeasure, Failure> LinkMeasurer::run() {
  asio::co_spawn(context_, converse(), [this](const std::exception_ptr& failure) {
    try {
      if (failure) std::rethrow_exception(failure);
    } catch (const TransferError& problem) {
      fail(problem);
    }
    look_due_.cancel();
    if (queue_) queue_->stop();
    for (const auto& stream : streams_) stream->abort();
    streams_.clear();
    if (!failure_) return;
    // Or whoever asked would wait for the deadline of what was under way.
    if (control_) control_->socket().abort();
    context_.stop();
  });
  context_.run();
  if (!failure_ && !done_) {
    fail(TransferError(Error{.code = BaseErrc::kCancelled}, FailureClass::kCancelled));
  }
  if (failure_) return *failure_;
  return result_;
}

void LinkMeasurer::cancel() {
  // Nothing is lost by ending it anywhere.
  context_.stop();
}

void LinkMeasurer::fail(const TransferError& problem) {
  if (failure_) return;
  failure_ = failure_from(problem.failure_class(), problem.error(), problem.text());
}

asio::awaitable<void> LinkMeasurer::pause(std::chrono::milliseconds time) {
  tick_.expires_after(time);
  (void)co_await tick_.async_wait(asio::as_tuple(asio::use_awaitable));
}

asio::awaitable<void> LinkMeasurer::converse() {
  const auto before = std::chrono::steady_clock::now();
  ControlConnection connection = co_await connect_control(context_, options_, preamble_);
  result_.connect_s = seconds(std::chrono::steady_clock::now() - before);
  control_ = std::move(connection.channel);
  host_address_ = std::move(connection.address);
  control_->start_writer();
  asio::co_spawn(context_, watch(), [](const std::exception_ptr&) {});
  co_await begin();
  asio::co_spawn(context_, listen(), [](const std::exception_ptr&) {});
  co_await measure();
  if (failure_) co_return;
  queue_->stop();
  control_->send(EndJob{});
  awaited_ = "JobDone";
  while (!done_ && !failure_) co_await pause(kPoll);
  co_await control_->finish();
}

template <class Reply>
asio::awaitable<Reply> LinkMeasurer::expect(const char* what) {
  for (;;) {
    const Message message = co_await control_->receive();
    if (const auto* reply = std::get_if<Reply>(&message)) co_return *reply;
    take(message);
    if (failure_) throw TransferError(failure_->error, failure_->failure_class, failure_->message);
    if (std::holds_alternative<Heartbeat>(message)) continue;
    throw TransferError(Error{.code = Errc::kProtocol, .where = what}, FailureClass::kFailed);
  }
}

asio::awaitable<void> LinkMeasurer::begin() {
  const std::uint64_t nonce = random_u64();
  SenderOptions options = options_;
  options.mode = Mode::kAuto;  // compressed payload is a part of it
  control_->send(Hello{.preamble = encode(preamble_),
                       .features = features_of(options),
                       .extent_bytes_max = extent_of(options),
                       .streams_wanted = static_cast<std::uint16_t>(shares_.streams),
                       .nonce = nonce,
                       .software = kSoftware});
  const auto welcome = co_await expect<Welcome>("Welcome");
  control_->allow_long_messages();
  result_.peer = endpoint_text(options_.host, options_.port) + ", " + welcome.software;
  control_->send(Measure{});
  awaited_ = "MeasureReady";
  result_.receiver = co_await expect<MeasureReady>("MeasureReady");
  result_.streams = std::min<unsigned>(static_cast<unsigned>(shares_.streams), welcome.streams_max);
  control_->send(StreamRequest{.count = static_cast<std::uint16_t>(result_.streams)});
  awaited_ = "StreamTokens";
  const auto tokens = co_await expect<StreamTokens>("StreamTokens");
  awaited_ = "Load";

  pool_ = std::make_unique<BufferPool>(welcome.extent_bytes_max, result_.streams);
  compressors_ = std::make_unique<CompressorPool>(welcome.extent_bytes_max, shares_.level_max,
                                                  shares_.compressors);
  queue_ = std::make_unique<ExtentQueue>(
      welcome.extent_bytes_max, welcome.credit_bytes, nonce + welcome.nonce,
      [](std::uint32_t, const Ledger&) {}, [](std::uint32_t, std::uint32_t) {});
  queue_->begin_disk(0, disk_);
  open_streams(welcome, tokens);
}

void LinkMeasurer::open_streams(const Welcome& welcome, const StreamTokens& tokens) {
  const auto lost = [this](const Error& error) {
    asio::post(context_, [this, error] {
      if (!done_) fail(TransferError(error, classify(error)));
      tick_.cancel();
    });
  };
  const auto plaintext = static_cast<std::uint64_t>(Feature::kPlaintextData);
  streams_job_ = std::make_unique<SendStreamJob>(SendStreamJob{
      .queue = *queue_,
      .limiter = limiter_,
      .pool = *pool_,
      .counters = counters_,
      .mode = mode_,
      .compressors = compressors_.get(),
      .hash_seed = queue_->hash_seed(),
      .key = options_.key,
      .job_id = preamble_.job_id,
      .host = host_address_,
      .port = options_.port,
      .timeouts = options_.timeouts,
      .plaintext = (welcome.features & plaintext) != 0,
      .on_lost =
          [lost](std::uint32_t) { lost(Error{.code = Errc::kPeerClosed, .where = "measuring"}); },
      .on_fatal = lost});
  for (const StreamGrant& grant : tokens.grants) {
    streams_.push_back(std::make_unique<SendStream>(*streams_job_, grant));
  }
}

// A receiver may be alive and never answer.
asio::awaitable<void> LinkMeasurer::watch() {
  StallWatch answers(options_.timeouts.stall);
  while (!done_ && !failure_) {
    look_due_.expires_after(kLookEvery);
    (void)co_await look_due_.async_wait(asio::as_tuple(asio::use_awaitable));
    const bool ending = queue_ != nullptr && queue_->stopped();
    const std::uint64_t movement = ending ? 0 : loads_;
    auto stalled = answers.look({.what = awaited_}, movement, std::chrono::steady_clock::now());
    if (!stalled || done_ || failure_) continue;
    const Error error = std::move(*stalled).about(control_->socket().peer());
    fail(TransferError(error, classify(error), stalled_text(error)));
    control_->stop_receiving();
  }
}

// Messages, from when streams are open until the end.
asio::awaitable<void> LinkMeasurer::listen() {
  while (!done_ && !failure_) {
    try {
      take(co_await control_->receive());
    } catch (const TransferError& problem) {
      if (!done_) fail(problem);
    }
  }
}

void LinkMeasurer::take(const Message& message) {
  if (const auto* written = std::get_if<Written>(&message)) {
    queue_->add_credit(written->credit_bytes);
    for (const WrittenCount& count : written->streams) {
      const auto taken = queue_->acknowledge(count.stream, count.frames);
      if (taken.has_error()) fail(TransferError(taken.error(), FailureClass::kFailed));
    }
  } else if (const auto* load = std::get_if<Load>(&message)) {
    load_ = *load;
    ++loads_;
  } else if (const auto* end = std::get_if<Fail>(&message)) {
    const Error error{.code = static_cast<Errc>(end->code)};
    fail(TransferError(error, classify(error), result_.peer + ": " + end->text));
  } else if (std::holds_alternative<Cancel>(message)) {
    fail(TransferError(Error{.code = BaseErrc::kCancelled}, FailureClass::kCancelled,
                       "The receiver was stopped."));
  } else if (std::holds_alternative<JobDone>(message)) {
    done_ = true;
  }
}

asio::awaitable<LinkMeasurer::Snapshot> LinkMeasurer::snapshot() {
  for (const unsigned before = loads_; loads_ == before && !failure_;) co_await pause(kPoll);
  Snapshot out;
  if (load_) out.load = *load_;
  const auto now = std::chrono::steady_clock::now();
  for (const auto& stream : streams_) out.work += stream->work(now);
  const ModeControl::Totals totals = mode_.totals();
  out.compress_ns = totals.processor_ns;
  out.sent_packed_bytes = totals.packed_bytes;
  out.sent_bytes = counters_.payload_done.load(std::memory_order_relaxed);
  co_return out;
}

asio::awaitable<FlowMeasure> LinkMeasurer::flow(const ModeMix& mix) {
  mode_.set(mix);
  co_await pause(kWarmUp);
  const Snapshot first = co_await snapshot();
  co_await pause(kFlow);
  const Snapshot last = co_await snapshot();
  const double sender_up = seconds(last.work.up - first.work.up);
  const double receiver_up = since(last.load.stream_us, first.load.stream_us);
  co_return FlowMeasure{
      .seconds = since(last.load.elapsed_us, first.load.elapsed_us) / 1e6,
      .raw_bytes = since(last.load.raw_bytes, first.load.raw_bytes),
      .wire_bytes = since(last.load.wire_bytes, first.load.wire_bytes),
      .sender_cpu_s = since(last.work.processor_ns, first.work.processor_ns) / 1e9,
      .compress_cpu_s = since(last.compress_ns, first.compress_ns) / 1e9,
      .sent_bytes = since(last.sent_bytes, first.sent_bytes),
      .sent_packed_bytes = since(last.sent_packed_bytes, first.sent_packed_bytes),
      .receiver_cpu_s = since(last.load.processor_us, first.load.processor_us) / 1e6,
      .unpack_cpu_s = since(last.load.unpacking_us, first.load.unpacking_us) / 1e6,
      .packed_bytes = since(last.load.packed_bytes, first.load.packed_bytes),
      .held_back = part(seconds(last.work.held_back - first.work.held_back), sender_up),
      .receiver_waiting = part(since(last.load.waiting_us, first.load.waiting_us), receiver_up)};
}

asio::awaitable<void> LinkMeasurer::measure() {
  result_.plain = co_await flow({});
  if (failure_) co_return;
  result_.packed = co_await flow({.light = kDefaultLevel, .strong = kDefaultLevel});
}

}  // namespace vhdxm::transfer
