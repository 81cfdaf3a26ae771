#include "transfer/control_channel.h"

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <utility>

namespace vhdxm::transfer {

ControlChannel::ControlChannel(std::unique_ptr<SecureSocket> socket, const Timeouts& timeouts)
    : socket_(std::move(socket)),
      timeouts_(timeouts),
      incoming_(64 * 1024),
      wake_(socket_->socket().get_executor()) {
  socket_->set_full_duplex();
}

void ControlChannel::start_writer() {
  // A failure to write is no news of its own: the reader of the same socket meets it too.
  asio::co_spawn(socket_->socket().get_executor(), write_loop(),
                 [self = shared_from_this()](const std::exception_ptr&) {
                   self->written_ = true;
                   self->wake_.cancel();
                 });
}

void ControlChannel::send(const Message& message) {
  if (closing_) return;
  outgoing_.push_back(encode(message));
  wake_.cancel();
}

asio::awaitable<void> ControlChannel::write_message(std::span<const std::byte> message) {
  const std::size_t bytes = message.size();
  while (!message.empty()) {
    const auto piece = message.first(pacer_ ? pacer_->piece_bytes(message.size()) : bytes);
    // The rest of the message under way, and the last word, do not wait.
    while (pacer_ && !closing_) {
      const auto wait =
          pacer_->ask(bytes, socket_->wire_bytes(piece.size()), std::chrono::steady_clock::now());
      if (wait <= StreamPacer::Duration::zero()) break;
      wake_.expires_after(wait);
      (void)co_await wake_.async_wait(kAsTuple);
    }
    const std::array<asio::const_buffer, 1> buffers = {asio::buffer(piece.data(), piece.size())};
    co_await socket_->write(buffers);
    sent_bytes_ += piece.size();
    message = message.subspan(piece.size());
  }
}

asio::awaitable<void> ControlChannel::write_loop() {
  for (;;) {
    while (!outgoing_.empty()) {
      const std::vector<std::byte> bytes = std::move(outgoing_.front());
      outgoing_.pop_front();
      writing_ = true;
      co_await write_message(bytes);
      writing_ = false;
    }
    if (closing_) break;
    wake_.expires_after(timeouts_.heartbeat);
    auto [ec] = co_await wake_.async_wait(kAsTuple);
    if (ec || !outgoing_.empty() || closing_) continue;
    co_await write_message(encode(Heartbeat{}));
    sent_bytes_ -= encode(Heartbeat{}).size();
  }
}

asio::awaitable<Message> ControlChannel::receive() {
  for (;;) {
    auto message = reader_.next();
    if (message.has_error()) {
      throw TransferError(std::move(message).error().about(socket_->peer()), FailureClass::kFailed);
    }
    if (message->has_value()) co_return std::move(**message);
    socket_->set_deadline(timeouts_.silence);
    const std::size_t got = co_await socket_->read_some(incoming_);
    socket_->clear_deadline();
    if (got == 0) {
      throw TransferError(Error{.code = Errc::kPeerClosed, .subject = socket_->peer()},
                          FailureClass::kNetwork);
    }
    reader_.feed(std::span(incoming_).first(got));
  }
}

asio::awaitable<void> ControlChannel::finish() {
  closing_ = true;
  // The job is over: of what is queued only the last word matters, and it need not wait for a plan.
  while (outgoing_.size() > 1) outgoing_.pop_front();
  socket_->set_deadline(timeouts_.goodbye);
  wake_.cancel();
  while (!written_) {
    wake_.expires_after(timeouts_.goodbye);
    (void)co_await wake_.async_wait(kAsTuple);
  }
  co_await socket_->finish();
  socket_->clear_deadline();
}

}  // namespace vhdxm::transfer
