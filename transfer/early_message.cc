#include "transfer/early_message.h"

#include <array>
#include <utility>
#include <vector>

namespace vhdxm::transfer {
namespace {

[[noreturn]] void throw_cut_off(const SecureSocket& socket) {
  throw TransferError(
      Error{.code = Errc::kPeerClosed, .where = "before a message", .subject = socket.peer()},
      FailureClass::kNetwork);
}

[[noreturn]] void throw_broken(Error error, const SecureSocket& socket) {
  throw TransferError(std::move(error).about(socket.peer()), FailureClass::kFailed);
}

}  // namespace

asio::awaitable<Message> read_early_message(SecureSocket& socket) {
  std::array<std::byte, kMessageHeaderBytes> header_bytes{};
  if (!co_await socket.read_exact(header_bytes)) throw_cut_off(socket);
  auto header = decode_message_header(header_bytes, kEarlyBodyBytesMax);
  if (header.has_error()) throw_broken(std::move(header).error(), socket);
  std::vector<std::byte> body(header->body_bytes);
  if (!body.empty() && !co_await socket.read_exact(body)) throw_cut_off(socket);
  auto message = decode_message(*header, body);
  if (message.has_error()) throw_broken(std::move(message).error(), socket);
  co_return std::move(*message);
}

asio::awaitable<void> write_early_message(SecureSocket& socket, Message message) {
  const auto bytes = encode(message);
  const std::array<asio::const_buffer, 1> buffers = {asio::buffer(bytes)};
  co_await socket.write(buffers);
}

}  // namespace vhdxm::transfer
