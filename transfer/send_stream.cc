#include "transfer/send_stream.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "base/processor_time.h"
#include "transfer/frame_builder.h"
#include "transfer/frame_packer.h"

namespace vhdxm::transfer {
namespace {

// How long a pull waits before the stream looks whether its connection is still there.
constexpr std::chrono::milliseconds kPullWait{200};
// Of a limited stream. What waits in the kernel for a link that stood still goes out at the link's
// speed, not at the limit's.
constexpr int kUnsentBytesMax = 64 * 1024;

// An error of this host's disk, which no other stream would do better with.
class SourceError : public ErrorException {
 public:
  using ErrorException::ErrorException;
};

// Takes up to `bytes` off the front of `rest`: pointers, no bytes are copied.
std::vector<asio::const_buffer> take_front(std::span<asio::const_buffer>& rest, std::size_t bytes) {
  std::vector<asio::const_buffer> front;
  while (!rest.empty() && bytes > 0) {
    front.push_back(asio::buffer(rest.front(), bytes));
    bytes -= front.back().size();
    rest.front() += front.back().size();
    if (rest.front().size() == 0) rest = rest.subspan(1);
  }
  return front;
}

}  // namespace

SendStream::SendStream(SendStreamJob& job, StreamGrant grant)
    : job_(job), grant_(grant), pacer_(job.limiter) {
  thread_ = std::thread([this] { thread_main(); });
}

SendStream::~SendStream() {
  thread_.join();
}

void SendStream::abort() {
  context_.stop();
}

void SendStream::give_up() {
  // Not stop(): the coroutine would be left suspended, and keep its buffer.
  asio::post(context_, [this] {
    if (socket_) socket_->abort();
  });
}

void SendStream::thread_main() {
  bool lost = false;
  asio::co_spawn(context_, run(), [this, &lost](const std::exception_ptr& failure) {
    if (!failure) return;
    try {
      std::rethrow_exception(failure);
    } catch (const SourceError& problem) {
      job_.on_fatal(problem.error());
    } catch (const std::exception&) {
      lost = true;  // what the network did is told by the job when no stream can be had
      if (socket_) socket_->abort();  // or its deadline would keep the thread
    }
  });
  context_.run();
  ended_.store(std::chrono::steady_clock::now(), std::memory_order_relaxed);
  // Not reset: the coroutine, if it was stopped, still refers to it.
  if (socket_) socket_->abort();
  if (lost) job_.on_lost(grant_.stream);
}

asio::awaitable<void> SendStream::run() {
  co_await join();
  // However it ends, by an exception or because the thread is stopped.
  struct Count {
    std::atomic<unsigned>& streams;
    explicit Count(std::atomic<unsigned>& counter) : streams(counter) { ++streams; }
    ~Count() { --streams; }
  } const count(job_.counters.streams);
  co_await pump();
}

asio::awaitable<void> SendStream::join() {
  tcp::socket socket = co_await connect_to(context_, job_.host, job_.port, job_.timeouts.handshake);
  socket_ = std::make_unique<SecureSocket>(std::move(socket), endpoint_text(job_.host, job_.port));
  socket_->count_sent(sent_bytes_);
  socket_->set_deadline(job_.timeouts.handshake);
  const Preamble preamble{.kind = ConnectionKind::kJobData, .job_id = job_.job_id};
  co_await socket_->connect_secure(preamble, job_.key, job_.plaintext);
  const auto join =
      encode(Join{.preamble = encode(preamble), .stream = grant_.stream, .token = grant_.token});
  const std::array<asio::const_buffer, 1> buffers = {asio::buffer(join)};
  co_await socket_->write(buffers);

  std::vector<std::byte> reply(encode(JoinReply{}).size());
  if (!co_await socket_->read_exact(reply)) {
    throw TransferError(
        Error{.code = Errc::kPeerClosed, .where = "joining", .subject = socket_->peer()},
        FailureClass::kNetwork);
  }
  MessageReader reader;
  reader.feed(reply);
  auto message = reader.next();
  const JoinReply* joined = nullptr;
  if (!message.has_error() && message->has_value()) joined = std::get_if<JoinReply>(&**message);
  if (joined == nullptr || joined->stream != grant_.stream) {
    throw TransferError(
        Error{.code = Errc::kProtocol, .where = "JoinReply", .subject = socket_->peer()},
        FailureClass::kFailed);
  }
  socket_->clear_deadline();
  socket_->time_waits(&writing_, nullptr);
  joined_.store(std::chrono::steady_clock::now(), std::memory_order_release);
  if (pacer_.limited()) socket_->bound_unsent(kUnsentBytesMax);
}

asio::awaitable<void> SendStream::pump() {
  Buffer buffer = job_.pool.acquire();
  for (;;) {
    ExtentQueue::Batch batch;
    auto pulled = job_.queue.pull(batch, kPullWait);
    if (pulled.has_error()) throw SourceError(std::move(pulled).error());
    if (*pulled == ExtentQueue::Pull::kStopped) break;
    if (*pulled == ExtentQueue::Pull::kIdle) {
      // Frames may be lost with the connection while nothing is left to send: look.
      co_await asio::post(context_, asio::use_awaitable);  // lets abort() in
      if (socket_->peer_gone()) {
        throw TransferError(
            Error{.code = Errc::kPeerClosed, .where = "data stream", .subject = socket_->peer()},
            FailureClass::kNetwork);
      }
      continue;
    }
    co_await send_batch(std::move(batch), buffer.bytes());
  }
  const FrameHeaderBytes end = encode(FrameHeader{.kind = FrameKind::kEnd});
  const std::array<asio::const_buffer, 1> buffers = {asio::buffer(end)};
  socket_->set_deadline(job_.timeouts.goodbye);
  co_await socket_->write(buffers);
  co_await socket_->finish();
}

asio::awaitable<void> SendStream::send_batch(ExtentQueue::Batch batch,
                                             std::span<std::byte> buffer) {
  auto built = [&] {
    const Waiting reading(&reading_);
    return build_frames(batch, buffer, job_.hash_seed, job_.pool);
  }();
  if (built.has_error()) throw SourceError(std::move(built).error());
  if (job_.compressors != nullptr) pack_frames(*built, buffer, job_.mode, *job_.compressors);

  std::vector<FrameHeaderBytes> headers;
  headers.reserve(built->frames.size());
  std::vector<asio::const_buffer> buffers;
  buffers.reserve(2 * built->frames.size());
  std::uint64_t wire_bytes = 0;
  for (std::size_t i = 0; i < built->frames.size(); ++i) {
    const auto& header = headers.emplace_back(encode(built->frames[i].header));
    buffers.emplace_back(header.data(), header.size());
    if (const auto payload = built->payloads[i]; !payload.empty()) {
      buffers.emplace_back(payload.data(), payload.size());
    }
    wire_bytes += header.size() + built->payloads[i].size();
  }
  std::uint64_t read_bytes = 0;
  std::uint64_t saved_bytes = 0;
  for (const ExtentQueue::Sent& frame : built->frames) {
    read_bytes += frame.read_bytes;
    if (frame.header.kind == FrameKind::kData) {
      saved_bytes += frame.header.raw_length - frame.header.wire_length;
    }
  }
  // Before the queue knows of them: what it takes back is taken off again.
  job_.counters.zero_bytes.fetch_add(built->zero_bytes, std::memory_order_relaxed);
  job_.counters.same_bytes.fetch_add(built->same_bytes, std::memory_order_relaxed);
  job_.counters.saved_bytes.fetch_add(saved_bytes, std::memory_order_relaxed);
  job_.counters.payload_done.fetch_add(read_bytes, std::memory_order_relaxed);
  job_.queue.note_sent(grant_.stream, batch, built->frames);
  if (pacer_.limited()) {
    co_await write_paced(std::move(buffers));
  } else {
    co_await socket_->write(buffers);
  }
  queued_bytes_.store(socket_->queued_bytes(), std::memory_order_relaxed);
  for (const auto& payload : built->payloads) {
    job_.pool.note(BufferPool::Stage::kDrained, payload);
  }
  job_.counters.frames.fetch_add(built->frames.size(), std::memory_order_relaxed);
  job_.counters.wire_bytes.fetch_add(wire_bytes, std::memory_order_relaxed);
  processor_ns_.store(thread_processor_ns(), std::memory_order_relaxed);
}

SendStream::Work& SendStream::Work::operator+=(const Work& other) {
  up += other.up;
  held_back += other.held_back;
  reading += other.reading;
  processor_ns += other.processor_ns;
  queued_bytes += other.queued_bytes;
  return *this;
}

SendStream::Work SendStream::work(WaitClock::TimePoint now) const {
  const WaitClock::TimePoint joined = joined_.load(std::memory_order_acquire);
  const WaitClock::TimePoint ended = ended_.load(std::memory_order_relaxed);
  if (joined == WaitClock::TimePoint{}) return {};
  const bool has_ended = ended != WaitClock::TimePoint{};
  if (has_ended) now = ended;
  return {.up = now - joined,
          .held_back = writing_.total(now),
          .reading = reading_.total(now),
          .processor_ns = processor_ns_.load(std::memory_order_relaxed),
          .queued_bytes = has_ended ? 0 : queued_bytes_.load(std::memory_order_relaxed)};
}

asio::awaitable<void> SendStream::write_paced(std::vector<asio::const_buffer> buffers) {
  std::span<asio::const_buffer> rest(buffers);
  while (!rest.empty()) {
    const auto piece = take_front(rest, pacer_.turn_bytes());
    std::uint64_t wire_bytes = 0;
    for (const auto& part : piece) wire_bytes += socket_->wire_bytes(part.size());
    co_await pace(wire_bytes);
    co_await socket_->write(piece);
  }
}

asio::awaitable<void> SendStream::pace(std::uint64_t wire_bytes) {
  const Waiting waiting(&writing_);
  for (;;) {
    const auto wait = pacer_.ask(wire_bytes, std::chrono::steady_clock::now());
    if (wait <= RateLimiter::Duration::zero()) break;
    held_back_ = true;
    asio::steady_timer timer(context_, wait);
    (void)co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  held_back_ = false;
}

}  // namespace vhdxm::transfer
