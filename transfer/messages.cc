#include "transfer/messages.h"

#include <algorithm>
#include <concepts>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "base/little_endian.h"
#include "transfer/errc.h"
#include "transfer/message_fields.h"
#include "transfer/wire_text.h"

namespace vhdxm::transfer {
namespace {

struct RawMessageHeader {
  Le32 body_bytes;
  Le16 type;
  Le16 reserved;
};
static_assert(sizeof(RawMessageHeader) == kMessageHeaderBytes && alignof(RawMessageHeader) == 1);

constexpr std::size_t kTypeCount = std::variant_size_v<Message>;

constexpr std::array<const char*, kTypeCount> kNames = {
    "Hello",         "Welcome",     "OfferDisk",  "OfferItem",   "OfferEnd",      "OfferReply",
    "CompareDigest", "CompareSame", "PlanPart",   "BeginDisk",   "DiskReady",     "StreamRequest",
    "StreamTokens",  "Written",     "Durable",    "StreamLost",  "StreamDrained", "EndDisk",
    "DiskSealed",    "VerifyDisk",  "VerifySame", "CommitDisk",  "DiskCommitted", "EndJob",
    "JobDone",       "Fail",        "Cancel",     "Heartbeat",   "Join",          "JoinReply",
    "HeldRanges",    "CellHashes",  "HashCredit", "Load",        "Measure",       "MeasureReady",
    "EndPass",       "PassSynced",  "Handover",   "VerifyRange", "RangeDiffers",  "ForwardOpen",
    "ForwardReady"};

bool may_stand(std::string_view text, TextRule rule) {
  switch (rule) {
    case TextRule::kAny:
      return is_utf8(text);
    case TextRule::kPrintable:
      return is_printable_text(text);
    case TextRule::kFolder:
      return text.empty() || is_folder_name(text);
  }
  return false;
}

/// An archive that appends to bytes. Remembers the first field that breaks its own limit.
class Writer {
 public:
  template <class T>
  using Ref = const T&;

  explicit Writer(std::vector<std::byte>* out) : out_(out) {}

  template <std::unsigned_integral T>
  void integer(const FieldName&, T value) {
    const Le<T> raw = value;
    append(std::as_bytes(std::span(&raw, 1)));
  }
  template <class T, std::size_t n>
  void raw(const FieldName&, const std::array<T, n>& value) {
    static_assert(sizeof(T) == 1);
    append(std::as_bytes(std::span(value)));
  }
  void hash(const FieldName& field, const Hash128& value) {
    integer(field, value.low);
    integer(field, value.high);
  }
  template <class E>
  void enumeration(const FieldName& field, E value, E last) {
    const auto number = static_cast<std::underlying_type_t<E>>(value);
    if (number > static_cast<std::underlying_type_t<E>>(last)) fail(field.bad_value);
    integer(field, number);
  }
  void text(const FieldName& field, const std::string& value, std::size_t bytes_max,
            TextRule rule) {
    if (!may_stand(value, rule)) fail(field.bad_text);
    run(field, std::as_bytes(std::span(value)), bytes_max);
  }
  void bytes(const FieldName& field, const std::vector<std::byte>& value, std::size_t bytes_max) {
    run(field, value, bytes_max);
  }
  template <class T>
  bool presence(const FieldName& field, const std::optional<T>& value) {
    integer(field, static_cast<std::uint8_t>(value ? 1 : 0));
    return value.has_value();
  }
  template <class T, class ElementFields>
  void list(const FieldName& field, const std::vector<T>& values, std::size_t count_max,
            const ElementFields& element_fields) {
    if (values.size() > count_max) return fail(field.too_long);
    integer(field, static_cast<std::uint32_t>(values.size()));
    for (const T& value : values) element_fields(value);
  }

  const char* broken() const { return broken_; }

 private:
  void run(const FieldName& field, std::span<const std::byte> value, std::size_t bytes_max) {
    if (value.size() > bytes_max) return fail(field.too_long);
    integer(field, static_cast<std::uint32_t>(value.size()));
    append(value);
  }
  void append(std::span<const std::byte> value) {
    out_->insert(out_->end(), value.begin(), value.end());
  }
  void fail(const char* where) {
    if (broken_ == nullptr) broken_ = where;
  }

  std::vector<std::byte>* out_;
  const char* broken_ = nullptr;
};

/// An archive that takes from bytes. After the first error every field is left as it was.
/// Nothing is allocated by a number before the bytes it counts were seen to be there.
class Reader {
 public:
  template <class T>
  using Ref = T&;

  explicit Reader(std::span<const std::byte> body) : body_(body) {}

  template <std::unsigned_integral T>
  void integer(const FieldName& field, T& value) {
    const std::span<const std::byte> taken = take(field, sizeof(T));
    if (!taken.empty()) value = load_raw<Le<T>>(taken.data());
  }
  template <class T, std::size_t n>
  void raw(const FieldName& field, std::array<T, n>& value) {
    static_assert(sizeof(T) == 1);
    const std::span<const std::byte> taken = take(field, n);
    if (!taken.empty()) std::memcpy(value.data(), taken.data(), n);
  }
  void hash(const FieldName& field, Hash128& value) {
    integer(field, value.low);
    integer(field, value.high);
  }
  template <class E>
  void enumeration(const FieldName& field, E& value, E last) {
    using Number = std::underlying_type_t<E>;
    Number number{};
    const std::size_t at = at_;
    integer(field, number);
    if (number > static_cast<Number>(last)) {
      return fail(field.bad_value, at, number, static_cast<Number>(last));
    }
    value = static_cast<E>(number);
  }
  void text(const FieldName& field, std::string& value, std::size_t bytes_max, TextRule rule) {
    const std::size_t at = at_;
    const std::span<const std::byte> taken = run(field, bytes_max);
    const std::string_view text(reinterpret_cast<const char*>(taken.data()), taken.size());
    if (!may_stand(text, rule)) return fail(field.bad_text, at);
    value.assign(text);
  }
  void bytes(const FieldName& field, std::vector<std::byte>& value, std::size_t bytes_max) {
    const std::span<const std::byte> taken = run(field, bytes_max);
    value.assign(taken.begin(), taken.end());
  }
  template <class T>
  bool presence(const FieldName& field, std::optional<T>& value) {
    const std::size_t at = at_;
    std::uint8_t number = 0;
    integer(field, number);
    if (number > 1) fail(field.bad_value, at, number, 1);
    if (error_ || number == 0) return false;
    value.emplace();
    return true;
  }
  template <class T, class ElementFields>
  void list(const FieldName& field, std::vector<T>& values, std::size_t count_max,
            const ElementFields& element_fields) {
    const std::size_t at = at_;
    std::uint32_t count = 0;
    integer(field, count);
    if (count > count_max) return fail(field.too_long, at, count, count_max);
    // Every element takes at least a byte, so the vector is bounded by what is there.
    for (std::uint32_t i = 0; i < count && !error_; ++i) element_fields(values.emplace_back());
  }

  /// Requires that the whole body was taken.
  void end(const char* name) {
    if (at_ != body_.size()) fail(name, at_, body_.size(), at_);
  }
  const std::optional<Error>& error() const { return error_; }

 private:
  std::span<const std::byte> run(const FieldName& field, std::size_t bytes_max) {
    const std::size_t at = at_;
    std::uint32_t length = 0;
    integer(field, length);
    if (length > bytes_max) {
      fail(field.too_long, at, length, bytes_max);
      return {};
    }
    return take(field, length);
  }
  /// Empty after an error (and when nothing was asked for).
  std::span<const std::byte> take(const FieldName& field, std::size_t length) {
    if (error_) return {};
    if (length > body_.size() - at_) {
      fail(field.cut_off, at_, body_.size() - at_, length);
      return {};
    }
    const std::span<const std::byte> taken = body_.subspan(at_, length);
    at_ += length;
    return taken;
  }
  void fail(const char* where, std::size_t at, std::optional<std::uint64_t> found = {},
            std::optional<std::uint64_t> expected = {}) {
    if (error_) return;
    error_ = Error{.code = Errc::kProtocol,
                   .where = where,
                   .offset = at,
                   .found = found,
                   .expected = expected};
  }

  std::span<const std::byte> body_;
  std::size_t at_ = 0;
  std::optional<Error> error_;
};

template <std::size_t index>
Result<Message> decode_as(std::span<const std::byte> body) {
  Message message(std::in_place_index<index>);
  Reader reader(body);
  fields(reader, std::get<index>(message));
  reader.end(kNames[index]);
  if (reader.error()) return *reader.error();
  return message;
}

using DecodeFunction = Result<Message> (*)(std::span<const std::byte>);

template <std::size_t... indexes>
constexpr std::array<DecodeFunction, sizeof...(indexes)> decode_functions(
    std::index_sequence<indexes...>) {
  return {&decode_as<indexes>...};
}

constexpr auto kDecode = decode_functions(std::make_index_sequence<kTypeCount>{});

/// What a body needs at most, beside its byte runs; saves growing step by step.
std::size_t body_bytes_hint(const Message& message) {
  constexpr std::size_t kFixed = 128;
  if (const auto* part = std::get_if<PlanPart>(&message)) return kFixed + part->bytes.size();
  if (const auto* handover = std::get_if<Handover>(&message)) {
    return kFixed + handover->body.size();
  }
  if (const auto* offer = std::get_if<OfferItem>(&message)) {
    return kFixed + offer->item.content.size();
  }
  return kFixed;
}

}  // namespace

const char* name_of(const Message& message) {
  return kNames[message.index()];
}

Result<std::vector<std::byte>> encode_checked(const Message& message) {
  std::vector<std::byte> bytes;
  bytes.reserve(kMessageHeaderBytes + body_bytes_hint(message));
  bytes.resize(kMessageHeaderBytes);
  Writer writer(&bytes);
  if (const auto* fail = std::get_if<Fail>(&message)) {
    // The text quotes paths and errors: whatever stands in them must not keep it from going out.
    const Fail fit{.code = fail->code, .text = to_printable_text(fail->text, kFailTextBytesMax)};
    fields(writer, fit);
  } else {
    std::visit([&writer](const auto& alternative) { fields(writer, alternative); }, message);
  }
  if (writer.broken() != nullptr) {
    return Error{.code = Errc::kIncompatible, .where = writer.broken()};
  }
  RawMessageHeader header{};
  header.body_bytes = static_cast<std::uint32_t>(bytes.size() - kMessageHeaderBytes);
  header.type = static_cast<std::uint16_t>(message.index() + 1);
  store_raw(bytes.data(), header);
  return bytes;
}

std::vector<std::byte> encode(const Message& message) {
  Result<std::vector<std::byte>> bytes = encode_checked(message);
  VHDXM_CHECK(bytes.has_value());
  return std::move(*bytes);
}

Result<MessageHeader> decode_message_header(std::span<const std::byte, kMessageHeaderBytes> bytes,
                                            std::uint32_t body_bytes_max) {
  const auto raw = load_raw<RawMessageHeader>(bytes.data());
  if (raw.type < 1 || raw.type > kTypeCount) {
    return Error{.code = Errc::kProtocol,
                 .where = "message type",
                 .offset = offsetof(RawMessageHeader, type),
                 .found = raw.type};
  }
  if (raw.reserved != 0) {
    return Error{.code = Errc::kProtocol,
                 .where = "message header reserved bytes",
                 .offset = offsetof(RawMessageHeader, reserved),
                 .found = raw.reserved,
                 .expected = 0};
  }
  if (raw.body_bytes > body_bytes_max) {
    return Error{.code = Errc::kTooLarge,
                 .where = "message body length",
                 .offset = offsetof(RawMessageHeader, body_bytes),
                 .found = raw.body_bytes,
                 .expected = body_bytes_max};
  }
  return MessageHeader{.body_bytes = raw.body_bytes, .type = raw.type};
}

Result<Message> decode_message(const MessageHeader& header, std::span<const std::byte> body) {
  VHDXM_CHECK(header.type >= 1 && header.type <= kTypeCount);
  VHDXM_CHECK(header.body_bytes == body.size());
  return kDecode[header.type - 1u](body);
}

void MessageReader::feed(std::span<const std::byte> bytes) {
  // The rest of a message moves to the front only when there is as much room as rest: each byte
  // is then moved at most once for each byte that was taken.
  if (begin_ >= buffer_.size() - begin_) {
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(begin_));
    begin_ = 0;
  }
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

Result<std::optional<Message>> MessageReader::next() {
  const std::span<const std::byte> rest = std::span<const std::byte>(buffer_).subspan(begin_);
  if (rest.size() < kMessageHeaderBytes) return std::optional<Message>();
  VHDXM_TRY(const MessageHeader header,
            decode_message_header(rest.first<kMessageHeaderBytes>(), body_bytes_max_));
  if (rest.size() - kMessageHeaderBytes < header.body_bytes) return std::optional<Message>();
  VHDXM_TRY(Message message,
            decode_message(header, rest.subspan(kMessageHeaderBytes, header.body_bytes)));
  begin_ += kMessageHeaderBytes + header.body_bytes;
  return std::optional<Message>(std::move(message));
}

std::vector<std::byte> MessageReader::take_rest() {
  std::vector<std::byte> rest(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_), buffer_.end());
  buffer_.clear();
  begin_ = 0;
  return rest;
}

}  // namespace vhdxm::transfer
