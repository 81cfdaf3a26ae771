// Messages with random content within their limits, made along the same list of fields as encoding.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "transfer/message_fields.h"

namespace vhdxm::transfer {

/// An archive (transfer/message_fields.h) that fills fields.
class RandomFields {
 public:
  template <class T>
  using Ref = T&;

  explicit RandomFields(std::mt19937_64* random) : random_(random) {}

  template <std::unsigned_integral T>
  void integer(const FieldName&, T& value) {
    value = static_cast<T>((*random_)());
  }
  template <class T, std::size_t n>
  void raw(const FieldName&, std::array<T, n>& value) {
    for (T& byte : value) byte = static_cast<T>((*random_)());
  }
  void hash(const FieldName&, Hash128& value) {
    value = Hash128{.low = (*random_)(), .high = (*random_)()};
  }
  template <class E>
  void enumeration(const FieldName&, E& value, E last) {
    using Number = std::underlying_type_t<E>;
    value = static_cast<E>(static_cast<Number>(up_to(static_cast<Number>(last))));
  }
  void text(const FieldName&, std::string& value, std::size_t bytes_max, TextRule rule) {
    constexpr std::array<const char*, 5> kPieces = {"a", "Z 9", "\xc3\xa9", "\xe2\x82\xac",
                                                    "\xf0\x9f\x92\xbe"};
    constexpr std::array<const char*, 5> kFolderPieces = {"a", "Z9", "-", "_", "0"};
    const auto& pieces = rule == TextRule::kFolder ? kFolderPieces : kPieces;
    const std::size_t wanted = size_up_to(bytes_max);
    while (true) {
      const std::string piece = pieces[up_to(pieces.size() - 1)];
      if (value.size() + piece.size() > wanted) return;
      value += piece;
    }
  }
  void bytes(const FieldName&, std::vector<std::byte>& value, std::size_t bytes_max) {
    value.resize(size_up_to(bytes_max));
    for (std::byte& byte : value) byte = static_cast<std::byte>((*random_)());
  }
  template <class T>
  bool presence(const FieldName&, std::optional<T>& value) {
    if (up_to(1) == 1) value.emplace();
    return value.has_value();
  }
  template <class T, class ElementFields>
  void list(const FieldName&, std::vector<T>& values, std::size_t count_max,
            const ElementFields& element_fields) {
    values.resize(size_up_to(count_max));
    for (T& value : values) element_fields(value);
  }

 private:
  std::uint64_t up_to(std::uint64_t last) { return (*random_)() % (last + 1); }
  /// Small mostly, now and then the very limit, as far as tests stay quick.
  std::size_t size_up_to(std::size_t limit) {
    constexpr std::size_t kSmall = 40;
    constexpr std::size_t kQuick = 1024;
    const std::uint64_t choice = up_to(9);
    if (choice == 0 && limit <= kQuick) return limit;
    if (choice == 1) return 0;
    return up_to(limit < kSmall ? limit : kSmall);
  }

  std::mt19937_64* random_;
};

template <std::size_t index = 0>
Message random_message(std::size_t type_index, std::mt19937_64& random) {
  if constexpr (index < std::variant_size_v<Message>) {
    if (type_index != index) return random_message<index + 1>(type_index, random);
    Message message(std::in_place_index<index>);
    RandomFields archive(&random);
    fields(archive, std::get<index>(message));
    return message;
  } else {
    return Heartbeat{};
  }
}

}  // namespace vhdxm::transfer
