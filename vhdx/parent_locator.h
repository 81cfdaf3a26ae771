// The parent locator: key-value pairs in UTF-16 that name a differencing disk's parent.
//
// Spec: [MS-VHDX] 2.6.2.6. A metadata item of a header, a table of entries, and the strings;
// offsets count from the start of the item.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "vhdx/description.h"

namespace vhdxm::vhdx {

inline constexpr std::string_view kParentLinkageKey = "parent_linkage";
inline constexpr std::string_view kParentLinkage2Key = "parent_linkage2";
inline constexpr std::string_view kRelativePathKey = "relative_path";
inline constexpr std::string_view kVolumePathKey = "volume_path";
inline constexpr std::string_view kAbsoluteWin32PathKey = "absolute_win32_path";

/// Parses the item's bytes; `item_offset` is where they stand in the file, for errors.
/// The strings together are no longer than the item, whatever its lengths say.
/// Errors: Errc::kBadParentLocator, kUnknownParentType.
Result<ParentLocator> parse_parent_locator(std::span<const std::byte> item,
                                           std::uint64_t item_offset);

/// The item's bytes. Errors: Errc::kBadParentLocator for text that is not UTF-8, an empty or a
/// repeated key, a string over 65534 bytes of UTF-16, or more than fits into an item (1 MiB).
Result<std::vector<std::byte>> encode_parent_locator(const ParentLocator& locator);

}  // namespace vhdxm::vhdx
