#include "migration/handover_codec.h"

#include <algorithm>
#include <concepts>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/little_endian.h"
#include "migration/disk_registry.h"
#include "migration/errc.h"

namespace vhdxm::migration {
namespace {

constexpr std::uint8_t kCodecVersion = 1;
// Behind the numbers of HandoverMessage's alternatives.
constexpr std::uint8_t kIntroduction = 64;
constexpr std::uint8_t kIntroductionAnswer = 65;
constexpr std::size_t kReasonBytesMax = 2000;

class BodyWriter {
 public:
  template <class T>
  using Ref = const T&;

  explicit BodyWriter(std::uint8_t type) : out_{std::byte{kCodecVersion}, std::byte{type}} {}

  template <std::unsigned_integral T>
  void integer(T value) {
    const Le<T> raw = value;
    append(std::as_bytes(std::span(&raw, 1)));
  }
  template <std::size_t n>
  void raw(const std::array<std::uint8_t, n>& value) {
    append(std::as_bytes(std::span(value)));
  }
  template <class E>
  void enumeration(E value, E, E) {
    integer(static_cast<std::uint8_t>(value));
  }
  void text(const std::string& value) {
    const std::size_t length = std::min(value.size(), kReasonBytesMax);
    integer(static_cast<std::uint16_t>(length));
    append(std::as_bytes(std::span(value)).first(length));
  }
  template <class T, class ElementFields>
  void list(const std::vector<T>& values, const ElementFields& element_fields) {
    VHDXM_CHECK(values.size() <= kJobDisksMax);
    integer(static_cast<std::uint32_t>(values.size()));
    for (const T& value : values) element_fields(value);
  }
  void sidecar(const OwnershipRecord& record, RecordFound found) {
    if (found == RecordFound::kReadable) append(encode(record));
  }
  std::vector<std::byte> take() { return std::move(out_); }

 private:
  void append(std::span<const std::byte> bytes) {
    out_.insert(out_.end(), bytes.begin(), bytes.end());
  }
  std::vector<std::byte> out_;
};

/// After the first error every field is left as it was. Nothing is allocated by a count before the
/// bytes were seen to be there.
class BodyReader {
 public:
  template <class T>
  using Ref = T&;

  explicit BodyReader(std::span<const std::byte> body) : body_(body) {}

  template <std::unsigned_integral T>
  void integer(T& value) {
    const auto taken = take(sizeof(T));
    if (!taken.empty()) value = load_raw<Le<T>>(taken.data());
  }
  template <std::size_t n>
  void raw(std::array<std::uint8_t, n>& value) {
    const auto taken = take(n);
    if (!taken.empty()) std::memcpy(value.data(), taken.data(), n);
  }
  template <class E>
  void enumeration(E& value, E first, E last) {
    auto number = static_cast<std::uint8_t>(first);
    integer(number);
    if (number < static_cast<std::uint8_t>(first) || number > static_cast<std::uint8_t>(last)) {
      return fail();
    }
    value = static_cast<E>(number);
  }
  void text(std::string& value) {
    std::uint16_t length = 0;
    integer(length);
    if (length > kReasonBytesMax) return fail();
    const auto taken = take(length);
    value.assign(reinterpret_cast<const char*>(taken.data()), taken.size());
  }
  template <class T, class ElementFields>
  void list(std::vector<T>& values, const ElementFields& element_fields) {
    std::uint32_t count = 0;
    integer(count);
    if (count > kJobDisksMax) return fail();
    for (std::uint32_t i = 0; i < count && !error_; ++i) element_fields(values.emplace_back());
  }
  void sidecar(OwnershipRecord& record, RecordFound found) {
    if (found != RecordFound::kReadable || error_) return;
    const auto taken = take(kOwnershipRecordBytes);
    if (error_) return;
    auto decoded = decode_ownership(taken);
    if (decoded.has_error()) return fail();
    record = *decoded;
  }

  void fail() {
    if (!error_) error_ = Error{.code = Errc::kRecord, .where = "hand-over message", .offset = at_};
  }
  Result<void> end() {
    if (at_ != body_.size()) fail();
    if (error_) return *error_;
    return {};
  }

 private:
  std::span<const std::byte> take(std::size_t length) {
    if (error_) return {};
    if (length > body_.size() - at_) {
      fail();
      return {};
    }
    const auto taken = body_.subspan(at_, length);
    at_ += length;
    return taken;
  }

  std::span<const std::byte> body_;
  std::size_t at_ = 0;
  std::optional<Error> error_;
};

template <class A>
void owned_fields(A& a, typename A::template Ref<OwnedDisk> disk) {
  a.raw(disk.id.bytes);
  a.integer(disk.epoch);
}

template <class A>
void terms_fields(A& a, typename A::template Ref<HandoverTerms> terms) {
  a.raw(terms.job);
  a.raw(terms.attempt.bytes);
  a.raw(terms.source.bytes);
  a.raw(terms.target.bytes);
  a.list(terms.disks, [&a](typename A::template Ref<DiskTerms> disk) {
    a.raw(disk.id.bytes);
    a.integer(disk.epoch);
    a.integer(disk.ledger.low);
    a.integer(disk.ledger.high);
  });
}

template <class A>
void body_fields(A& a, typename A::template Ref<Prepare> m) {
  a.integer(m.number);
  terms_fields(a, m.terms);
}
template <class A>
void body_fields(A& a, typename A::template Ref<Prepared> m) {
  terms_fields(a, m.terms);
}
template <class A>
void body_fields(A& a, typename A::template Ref<PrepareRefused> m) {
  a.raw(m.job);
  a.raw(m.attempt.bytes);
  a.text(m.reason);
}
template <class A>
void body_fields(A& a, typename A::template Ref<Void> m) {
  a.raw(m.job);
  a.integer(m.number);
  a.raw(m.attempt.bytes);
}
template <class A>
void body_fields(A& a, typename A::template Ref<Voided> m) {
  a.raw(m.job);
  a.raw(m.attempt.bytes);
}
template <class A>
void body_fields(A& a, typename A::template Ref<Released> m) {
  terms_fields(a, m.terms);
}
template <class A>
void body_fields(A& a, typename A::template Ref<Owned> m) {
  a.raw(m.job);
  a.list(m.disks, [&a](typename A::template Ref<OwnedDisk> disk) { owned_fields(a, disk); });
}
template <class A>
void body_fields(A& a, typename A::template Ref<Query> m) {
  a.raw(m.job);
  a.list(m.disks, [&a](typename A::template Ref<OwnershipId> id) { a.raw(id.bytes); });
}
template <class A>
void body_fields(A& a, typename A::template Ref<Answer> m) {
  a.raw(m.job);
  a.enumeration(m.found, RecordFound::kNone, RecordFound::kUnreadable);
  a.enumeration(m.state, JobState::kActive, JobState::kOwned);
  terms_fields(a, m.terms);
  a.integer(m.number);
  a.list(m.disks, [&a](typename A::template Ref<DiskAnswer> disk) {
    a.raw(disk.id.bytes);
    a.enumeration(disk.found, RecordFound::kNone, RecordFound::kUnreadable);
    a.sidecar(disk.sidecar, disk.found);
  });
}
template <class A>
void body_fields(A& a, typename A::template Ref<Introduction> m) {
  a.raw(m.source.bytes);
  a.text(m.group);
  a.list(m.disks, [&a](typename A::template Ref<OwnedDisk> disk) { owned_fields(a, disk); });
}
template <class A>
void body_fields(A& a, typename A::template Ref<IntroductionAnswer> m) {
  a.raw(m.target.bytes);
}

template <class M>
std::vector<std::byte> encode_as(std::uint8_t type, const M& message) {
  BodyWriter writer(type);
  body_fields(writer, message);
  return writer.take();
}

template <class M>
Result<M> decode_as(std::span<const std::byte> body) {
  M message;
  BodyReader reader(body.subspan(2));
  body_fields(reader, message);
  VHDXM_TRY_VOID(reader.end());
  return message;
}

Result<std::uint8_t> type_of(std::span<const std::byte> body) {
  if (body.size() < 2) {
    return Error{.code = Errc::kRecord, .where = "hand-over message: length", .found = body.size()};
  }
  if (body[0] != std::byte{kCodecVersion}) {
    return Error{.code = Errc::kVersion,
                 .where = "hand-over message",
                 .found = std::to_integer<std::uint64_t>(body[0]),
                 .expected = kCodecVersion};
  }
  return std::to_integer<std::uint8_t>(body[1]);
}

template <class M>
Result<M> decode_expected(std::uint8_t expected, std::span<const std::byte> body) {
  VHDXM_TRY(const std::uint8_t type, type_of(body));
  if (type != expected) {
    return Error{.code = Errc::kRecord,
                 .where = "hand-over message: type",
                 .found = type,
                 .expected = expected};
  }
  return decode_as<M>(body);
}

template <std::size_t... indexes>
Result<HandoverMessage> decode_alternative(std::uint8_t type, std::span<const std::byte> body,
                                           std::index_sequence<indexes...>) {
  std::optional<Result<HandoverMessage>> decoded;
  const auto try_one = [&]<std::size_t index>() {
    if (type != index + 1) return;
    auto one = decode_as<std::variant_alternative_t<index, HandoverMessage>>(body);
    if (one.has_error()) {
      decoded.emplace(std::move(one).error());
    } else {
      decoded.emplace(HandoverMessage(std::move(*one)));
    }
  };
  (try_one.template operator()<indexes>(), ...);
  if (decoded) return std::move(*decoded);
  return Error{.code = Errc::kRecord, .where = "hand-over message: type", .found = type};
}

}  // namespace

std::vector<std::byte> encode(const HandoverMessage& message) {
  const auto type = static_cast<std::uint8_t>(message.index() + 1);
  return std::visit([type](const auto& one) { return encode_as(type, one); }, message);
}

std::vector<std::byte> encode(const Introduction& message) {
  return encode_as(kIntroduction, message);
}

std::vector<std::byte> encode(const IntroductionAnswer& message) {
  return encode_as(kIntroductionAnswer, message);
}

Result<HandoverMessage> decode_handover(std::span<const std::byte> body) {
  VHDXM_TRY(const std::uint8_t type, type_of(body));
  return decode_alternative(type, body,
                            std::make_index_sequence<std::variant_size_v<HandoverMessage>>{});
}

Result<Introduction> decode_introduction(std::span<const std::byte> body) {
  VHDXM_TRY(auto introduction, decode_expected<Introduction>(kIntroduction, body));
  bool zero = introduction.source.is_zero() || introduction.disks.empty();
  for (const OwnedDisk& disk : introduction.disks) {
    zero = zero || disk.id.is_zero() || disk.epoch == 0;
  }
  if (zero) return Error{.code = Errc::kRecord, .where = "introduction: an id or epoch of zero"};
  if (!introduction.group.empty() && !is_disk_name(introduction.group)) {
    return Error{.code = Errc::kRecord, .where = "introduction: a name that no group can have"};
  }
  return introduction;
}

Result<IntroductionAnswer> decode_introduction_answer(std::span<const std::byte> body) {
  VHDXM_TRY(const auto answer, decode_expected<IntroductionAnswer>(kIntroductionAnswer, body));
  if (answer.target.is_zero()) {
    return Error{.code = Errc::kRecord, .where = "introduction: a host id of zero"};
  }
  return answer;
}

}  // namespace vhdxm::migration
