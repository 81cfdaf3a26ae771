// A run of a virtual disk and where its bytes are.
#pragma once

#include <cstdint>

#include "base/file.h"

namespace vhdxm::vhdx {

/// The numbers stand on the wire and are never changed.
enum class ExtentKind : std::uint8_t {
  kData = 1,      ///< The bytes are in `file` at `file_offset`.
  kZero = 2,      ///< Reads as zero because somebody made it so.
  kUnmapped = 3,  ///< Nobody wrote it, or it was trimmed: reads as zero, never as the parent.
  kParent = 4,    ///< Transparent: the parent's content shows. Only in maps of a single layer.
};

/// Invariant: length > 0; [virtual_offset, virtual_offset + length) lies inside the disk.
struct Extent {
  std::uint64_t virtual_offset = 0;  ///< Bytes, a multiple of the logical sector size.
  std::uint64_t length = 0;          ///< Bytes, a multiple of the logical sector size.
  ExtentKind kind = ExtentKind::kUnmapped;
  File* file = nullptr;           ///< kData: where the bytes are. Lives as long as its layer.
  std::uint64_t file_offset = 0;  ///< kData: bytes.
};

}  // namespace vhdxm::vhdx
