// Everything that can come inside TLS: one body of a chosen type, or a stream of messages under the
// limit before or after Welcome, fed in pieces.
// Oracle: what is accepted encodes to the very bytes it was made of.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/check.h"
#include "transfer/messages.h"

namespace {

using namespace vhdxm;
using namespace vhdxm::transfer;

constexpr std::size_t kTypes = std::variant_size_v<Message>;

void check_same(const Message& message, std::span<const std::byte> wire) {
  const std::vector<std::byte> again = encode(message);
  VHDXM_CHECK(again.size() == wire.size());
  VHDXM_CHECK(std::equal(again.begin(), again.end(), wire.begin()));
}

void one_body(std::uint16_t type, std::span<const std::byte> body) {
  const MessageHeader header{.body_bytes = static_cast<std::uint32_t>(body.size()), .type = type};
  const Result<Message> message = decode_message(header, body);
  if (message.has_error()) {
    VHDXM_CHECK(*message.error().where != '\0');
    return;
  }
  VHDXM_CHECK(message->index() + 1 == type);
  const std::vector<std::byte> again = encode(*message);
  VHDXM_CHECK(again.size() == kMessageHeaderBytes + body.size());
  VHDXM_CHECK(std::equal(body.begin(), body.end(), again.begin() + kMessageHeaderBytes));
}

void stream(bool early, std::size_t piece, std::span<const std::byte> wire) {
  MessageReader reader(early ? kEarlyBodyBytesMax : kBodyBytesMax);
  std::size_t decoded = 0;
  for (std::size_t at = 0; at < wire.size(); at += piece) {
    reader.feed(wire.subspan(at, std::min(piece, wire.size() - at)));
    while (true) {
      const Result<std::optional<Message>> next = reader.next();
      if (next.has_error()) return;
      if (!next->has_value()) break;
      const std::size_t length = encode(**next).size();
      check_same(**next, wire.subspan(decoded, length));
      decoded += length;
    }
  }
  VHDXM_CHECK(reader.take_rest().size() == wire.size() - decoded);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::span<const std::byte> rest = std::as_bytes(std::span(data, size)).subspan(2);
  if (data[0] >= 1 && data[0] <= kTypes) {
    one_body(data[0], rest);
  } else {
    stream(data[0] == 0, std::size_t{1} + data[1], rest);
  }
  return 0;
}
