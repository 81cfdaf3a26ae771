#include "vhdx/parent_locator.h"

#include <boost/locale/utf.hpp>
#include <iterator>
#include <optional>
#include <unordered_set>

#include "vhdx/errc.h"
#include "vhdx/format.h"

namespace vhdxm::vhdx {
namespace {

using Utf8 = boost::locale::utf::utf_traits<char>;
using Utf16 = boost::locale::utf::utf_traits<char16_t>;

constexpr std::uint32_t kStringBytesMax = 0xfffe;  // an even number in 16 bits

/// UTF-8 of UTF-16LE without NULs, or nullopt.
std::optional<std::string> to_utf8(std::span<const std::byte> bytes) {
  if (bytes.size() % 2 != 0) return std::nullopt;
  std::u16string units(bytes.size() / 2, u'\0');
  for (std::size_t i = 0; i < units.size(); ++i) {
    units[i] = static_cast<char16_t>(std::uint16_t{load_raw<Le16>(bytes.data() + 2 * i)});
  }
  std::string text;
  text.reserve(units.size());
  for (auto at = units.begin(); at != units.end();) {
    const boost::locale::utf::code_point point = Utf16::decode(at, units.end());
    if (point == 0 || !boost::locale::utf::is_valid_codepoint(point)) return std::nullopt;
    Utf8::encode(point, std::back_inserter(text));
  }
  return text;
}

std::optional<std::u16string> to_utf16(const std::string& text) {
  std::u16string units;
  units.reserve(text.size());
  for (auto at = text.begin(); at != text.end();) {
    const boost::locale::utf::code_point point = Utf8::decode(at, text.end());
    if (point == 0 || !boost::locale::utf::is_valid_codepoint(point)) return std::nullopt;
    Utf16::encode(point, std::back_inserter(units));
  }
  return units;
}

Error bad(const char* where, std::uint64_t offset = Error::kNoOffset,
          std::optional<std::uint64_t> found = std::nullopt,
          std::optional<std::uint64_t> expected = std::nullopt) {
  return format_error(Errc::kBadParentLocator, where, offset, found, expected);
}

/// A string of the item. `offset_at` is where the field that places it stands in the file.
Result<std::string> parse_string(std::span<const std::byte> item, std::uint64_t item_offset,
                                 std::uint32_t offset, std::uint32_t length,
                                 std::uint64_t offset_at) {
  if (offset > item.size() || length > item.size() - offset) {
    return bad("a string lies outside the item, [MS-VHDX] 2.6.2.6.2", offset_at, offset,
               item.size());
  }
  auto text = to_utf8(item.subspan(offset, length));
  if (!text) {
    return bad("a string must be UTF-16 without NUL, [MS-VHDX] 2.6.2.6.2", item_offset + offset,
               length);
  }
  return std::move(*text);
}

}  // namespace

Result<ParentLocator> parse_parent_locator(std::span<const std::byte> item,
                                           std::uint64_t item_offset) {
  if (item.size() < sizeof(RawParentLocatorHeader)) {
    return bad("the item is shorter than its header, [MS-VHDX] 2.6.2.6.1", item_offset, item.size(),
               sizeof(RawParentLocatorHeader));
  }
  const auto header = load_raw<RawParentLocatorHeader>(item.data());
  if (header.locator_type != kVhdxParentLocatorType) {
    return format_error(Errc::kUnknownParentType, "parent locator LocatorType, [MS-VHDX] 2.6.2.6.1",
                        item_offset)
        .about("locator type " + to_string(header.locator_type));
  }
  const std::size_t count = header.key_value_count;
  const std::size_t table_end =
      sizeof(RawParentLocatorHeader) + count * sizeof(RawParentLocatorEntry);
  if (table_end > item.size()) {
    return bad("KeyValueCount entries do not fit into the item, [MS-VHDX] 2.6.2.6.1",
               item_offset + offsetof(RawParentLocatorHeader, key_value_count), count,
               (item.size() - sizeof(RawParentLocatorHeader)) / sizeof(RawParentLocatorEntry));
  }
  ParentLocator locator;
  std::unordered_set<std::string> keys;
  // Strings may overlap as far as the spec goes; together they must not outgrow the item, or 65535
  // entries that share 64 KiB would be 4 GiB.
  std::size_t string_bytes_left = item.size() - table_end;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = sizeof(RawParentLocatorHeader) + i * sizeof(RawParentLocatorEntry);
    const auto entry = load_raw<RawParentLocatorEntry>(item.data() + at);
    const std::size_t bytes = std::size_t{entry.key_length} + entry.value_length;
    if (entry.key_length == 0) {
      return bad("KeyLength must not be zero, [MS-VHDX] 2.6.2.6.2",
                 item_offset + at + offsetof(RawParentLocatorEntry, key_length), 0);
    }
    if (bytes > string_bytes_left) {
      return bad("the strings are longer than the item, [MS-VHDX] 2.6.2.6.2", item_offset + at,
                 bytes, string_bytes_left);
    }
    string_bytes_left -= bytes;
    VHDXM_TRY(std::string key,
              parse_string(item, item_offset, entry.key_offset, entry.key_length,
                           item_offset + at + offsetof(RawParentLocatorEntry, key_offset)));
    // An empty value has no place, so its offset means nothing.
    std::string value;
    if (entry.value_length != 0) {
      VHDXM_TRY(value,
                parse_string(item, item_offset, entry.value_offset, entry.value_length,
                             item_offset + at + offsetof(RawParentLocatorEntry, value_offset)));
    }
    if (!keys.insert(key).second) {
      return bad("a key stands in the locator twice, [MS-VHDX] 2.6.2.6.2", item_offset + at)
          .about("key " + key);
    }
    locator.entries.emplace_back(std::move(key), std::move(value));
  }
  if (!locator.linkage()) {
    return bad("parent_linkage is missing or no GUID, [MS-VHDX] 2.6.2.6.3", item_offset);
  }
  return locator;
}

Result<std::vector<std::byte>> encode_parent_locator(const ParentLocator& locator) {
  const std::size_t count = locator.entries.size();
  if (count > 0xffff) return bad("too many entries, [MS-VHDX] 2.6.2.6.1", 0, count, 0xffff);
  std::vector<std::byte> item(sizeof(RawParentLocatorHeader) +
                              count * sizeof(RawParentLocatorEntry));
  store_raw(item.data(),
            RawParentLocatorHeader{.locator_type = kVhdxParentLocatorType,
                                   .reserved = 0,
                                   .key_value_count = static_cast<std::uint16_t>(count)});
  std::unordered_set<std::string> keys;
  for (std::size_t i = 0; i < count; ++i) {
    const auto& [key, value] = locator.entries[i];
    if (key.empty()) return bad("an empty key, [MS-VHDX] 2.6.2.6.2");
    if (!keys.insert(key).second) return bad("a key twice, [MS-VHDX] 2.6.2.6.2").about(key);
    const auto append = [&item](const std::u16string& text) {
      const auto offset = static_cast<std::uint32_t>(item.size());
      for (const char16_t unit : text) {
        item.resize(item.size() + 2);
        store_raw(item.data() + item.size() - 2, Le16(static_cast<std::uint16_t>(unit)));
      }
      return offset;
    };
    const std::optional<std::u16string> key16 = to_utf16(key);
    const std::optional<std::u16string> value16 = to_utf16(value);
    if (!key16 || !value16) return bad("a string is not UTF-8 without NUL").about(key);
    if (key16->size() * 2 > kStringBytesMax || value16->size() * 2 > kStringBytesMax) {
      return bad("a string is longer than 65534 bytes, [MS-VHDX] 2.6.2.6.2").about(key);
    }
    // Checked in every round, so the offsets fit into 32 bits.
    if (item.size() + 2 * (key16->size() + value16->size()) > kMetadataItemBytesMax) {
      return bad("the locator is larger than a metadata item, [MS-VHDX] 2.6.1.2");
    }
    RawParentLocatorEntry entry;
    entry.key_length = static_cast<std::uint16_t>(key16->size() * 2);
    entry.value_length = static_cast<std::uint16_t>(value16->size() * 2);
    entry.key_offset = append(*key16);
    entry.value_offset = append(*value16);
    store_raw(item.data() + sizeof(RawParentLocatorHeader) + i * sizeof(RawParentLocatorEntry),
              entry);
  }
  return item;
}

}  // namespace vhdxm::vhdx
