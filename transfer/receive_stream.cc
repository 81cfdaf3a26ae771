#include "transfer/receive_stream.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <utility>

#include "base/processor_time.h"
#include "transfer/errc.h"

namespace vhdxm::transfer {
namespace {

// What ends the job, not just the stream: a bad frame, or a disk that cannot be written.
class FrameError : public ErrorException {
 public:
  using ErrorException::ErrorException;
};

}  // namespace

ReceiveStream::ReceiveStream(ReceiveStreamJob& job, std::uint32_t number,
                             SecureSocket::Parts connection)
    : job_(job), number_(number) {
  // The socket is made here, so that abort() finds it whenever it comes.
  socket_ = std::make_unique<SecureSocket>(context_, std::move(connection));
  socket_->time_waits(nullptr, &waiting_);
  socket_->count_received(wire_bytes_);
  thread_ = std::thread([this] { thread_main(); });
}

ReceiveStream::~ReceiveStream() {
  abort();
  thread_.join();
}

void ReceiveStream::abort() {
  asio::post(context_, [this] { socket_->abort(); });
}

void ReceiveStream::thread_main() {
  job_.counters.streams.fetch_add(1, std::memory_order_relaxed);
  std::optional<Error> fatal;
  asio::co_spawn(context_, run(), [&fatal](const std::exception_ptr& failure) {
    if (!failure) return;
    try {
      std::rethrow_exception(failure);
    } catch (const FrameError& problem) {
      fatal = problem.error();
    } catch (const std::exception&) {
      // The connection broke: the sender sees it too, and says so on control.
    }
  });
  context_.run();
  socket_->abort();
  ended_at_.store(std::chrono::steady_clock::now(), std::memory_order_relaxed);
  job_.counters.streams.fetch_sub(1, std::memory_order_relaxed);
  if (fatal) job_.on_fatal(*fatal);
  ended_.store(true, std::memory_order_release);
  job_.on_ended(number_);
}

asio::awaitable<void> ReceiveStream::run() {
  Buffer buffer = job_.pool.acquire();
  while (co_await receive_frame(buffer.bytes())) {
  }
}

asio::awaitable<bool> ReceiveStream::receive_frame(std::span<std::byte> buffer) {
  FrameHeaderBytes bytes{};
  if (!co_await socket_->read_exact(bytes)) co_return false;
  auto frame = decode_frame_header(bytes, job_.limits);
  if (frame.has_error()) throw FrameError(std::move(frame).error().about(socket_->peer()));
  if (frame->kind == FrameKind::kEnd) {
    co_await socket_->finish();
    co_return false;
  }
  const auto payload = buffer.first(frame->wire_length);
  if (!payload.empty() && !co_await socket_->read_exact(payload)) co_return false;
  job_.pool.note(BufferPool::Stage::kFilled, payload);
  apply(*frame, payload, buffer);
  processor_ns_.store(thread_processor_ns(), std::memory_order_relaxed);
  // Before the frame: credit never runs ahead of the count.
  if (frame->kind == FrameKind::kData) {
    payload_bytes_.fetch_add(frame->raw_length, std::memory_order_release);
  }
  frames_.fetch_add(1, std::memory_order_release);
  job_.counters.frames.fetch_add(1, std::memory_order_relaxed);
  job_.counters.wire_bytes.fetch_add(bytes.size() + payload.size(), std::memory_order_relaxed);
  job_.on_applied();
  co_return true;
}

void ReceiveStream::apply(const FrameHeader& frame, std::span<std::byte> payload,
                          std::span<std::byte> buffer) {
  const auto sink = job_.sink(frame.disk);
  if (!sink) {
    throw FrameError(Error{.code = Errc::kProtocol,
                           .where = "a frame for a disk that is not being sent",
                           .found = frame.disk,
                           .subject = socket_->peer()});
  }
  Buffer unpacked;
  BufferPool* pool = &job_.pool;
  if (frame.codec != compression::Codec::kNone) {
    unpacked = job_.unpacked_pool->acquire();
    pool = job_.unpacked_pool;
    const auto raw = unpacked.bytes().first(frame.raw_length);
    unpack(payload, raw);
    payload = raw;
  }
  const Waiting writing(&writing_);
  if (auto applied = sink->apply(frame, payload, buffer); applied.has_error()) {
    throw FrameError(std::move(applied).error());
  }
  pool->note(BufferPool::Stage::kHashed, payload);
  pool->note(BufferPool::Stage::kDrained, payload);
}

void ReceiveStream::unpack(std::span<const std::byte> packed, std::span<std::byte> raw) {
  if (!decompressor_) decompressor_.emplace();
  const std::uint64_t before = thread_processor_ns();
  auto unpacked = decompressor_->decompress(packed, raw);
  if (unpacked.has_error()) {
    // What it is called further down does not say whose fault it is: a peer that sends such bytes.
    Error error = std::move(unpacked).error();
    error.code = Errc::kChecksum;
    throw FrameError(std::move(error).about(socket_->peer()));
  }
  unpacking_ns_.fetch_add(thread_processor_ns() - before, std::memory_order_relaxed);
  packed_bytes_.fetch_add(raw.size(), std::memory_order_relaxed);
  job_.unpacked_pool->note(BufferPool::Stage::kFilled, raw);
}

void ReceiveStream::add_to(Load& load, WaitClock::TimePoint now) const {
  const auto us = [](WaitClock::Duration time) {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(time).count());
  };
  const WaitClock::TimePoint ended_at = ended_at_.load(std::memory_order_relaxed);
  const WaitClock::TimePoint until = ended_at == WaitClock::TimePoint{} ? now : ended_at;
  load.elapsed_us = std::max(load.elapsed_us, us(now - started_));
  if (!ended()) ++load.streams;
  load.stream_us += us(until - started_);
  load.waiting_us += us(waiting_.total(until));
  load.writing_us += us(writing_.total(until));
  load.unpacking_us += unpacking_ns_.load(std::memory_order_relaxed) / 1000;
  load.processor_us += processor_ns_.load(std::memory_order_relaxed) / 1000;
  load.raw_bytes += payload_bytes();
  load.packed_bytes += packed_bytes_.load(std::memory_order_relaxed);
  load.wire_bytes += wire_bytes_.load(std::memory_order_relaxed);
}

}  // namespace vhdxm::transfer
