#include "transfer/receive_stream.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <utility>

#include "transfer/incoming_disk.h"

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
  const auto disk = job_.disk(frame->disk);
  if (!disk) {
    throw FrameError(Error{.code = Errc::kProtocol,
                           .where = "a frame for a disk that is not being sent",
                           .found = frame->disk,
                           .subject = socket_->peer()});
  }
  if (auto applied = disk->apply(*frame, payload, buffer); applied.has_error()) {
    throw FrameError(std::move(applied).error());
  }
  job_.pool.note(BufferPool::Stage::kHashed, payload);
  job_.pool.note(BufferPool::Stage::kDrained, payload);
  payload_bytes_.fetch_add(payload.size(), std::memory_order_release);
  frames_.fetch_add(1, std::memory_order_release);
  job_.counters.frames.fetch_add(1, std::memory_order_relaxed);
  job_.counters.wire_bytes.fetch_add(bytes.size() + payload.size(), std::memory_order_relaxed);
  job_.on_applied();
  co_return true;
}

}  // namespace vhdxm::transfer
