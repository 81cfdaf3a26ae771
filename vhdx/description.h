// What makes a virtual disk the disk it is: geometry, identity, linkage and foreign metadata.
//
// This is what a reader learns from a file's metadata and header, what travels to another host
// before the content does, and what a writer needs to make a file of the same geometry and
// identity.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/guid.h"
#include "base/result.h"
#include "vhdx/format.h"

namespace vhdxm::vhdx {

enum class DiskType : std::uint8_t { kFixed = 0, kDynamic = 1, kDifferencing = 2 };
std::string_view to_string(DiskType type);

/// Invariant (validate()): sizes are within the limits of the spec, so that no arithmetic below can
/// wrap: block_count() <= 2^26, bat_entry_count() < 2^27.
struct Geometry {
  std::uint64_t virtual_size_bytes = 0;        ///< A multiple of logical_sector_bytes, <= 64 TiB.
  std::uint32_t block_bytes = 0;               ///< A power of two, 1-256 MiB.
  std::uint32_t logical_sector_bytes = 512;    ///< 512 or 4096.
  std::uint32_t physical_sector_bytes = 4096;  ///< 512 or 4096.
  DiskType type = DiskType::kDynamic;

  friend bool operator==(const Geometry&, const Geometry&) = default;

  /// Errors: vhdx::Errc naming the field. Spec: 2.6.2.1-2.6.2.5.
  Result<void> validate() const;

  /// Payload blocks; the last may be partly beyond the end of the disk.
  std::uint64_t block_count() const;
  /// Payload blocks that one sector bitmap block covers: 2^23 * logical sector / block (2.5.1).
  std::uint64_t chunk_ratio() const;
  /// Chunks, the last one perhaps incomplete.
  std::uint64_t chunk_count() const;
  /// Entries of the BAT, the interleaved sector bitmap entries included, in every type (2.5.1).
  std::uint64_t bat_entry_count() const;
  /// Where in the BAT the entry of payload block `block` stands.
  std::uint64_t payload_bat_index(std::uint64_t block) const;
  /// Where in the BAT the sector bitmap entry of `chunk` stands.
  std::uint64_t bitmap_bat_index(std::uint64_t chunk) const;
};

/// The key-value pairs that name a differencing disk's parent (2.6.2.6). UTF-8 here.
struct ParentLocator {
  std::vector<std::pair<std::string, std::string>> entries;  ///< In file order.

  friend bool operator==(const ParentLocator&, const ParentLocator&) = default;

  /// The value of `key`, exactly as spelt; nullptr if there is none.
  const std::string* find(std::string_view key) const;
  /// parent_linkage, or nullopt if it is missing or no GUID.
  std::optional<Guid> linkage() const;
  /// parent_linkage2; a zero GUID, which Windows always writes, counts as absent.
  std::optional<Guid> linkage2() const;
};

/// A metadata item that this program does not interpret; kept as it is.
struct OpaqueItem {
  Guid item_id;
  std::uint32_t flags = 0;  ///< kMetadataIsUser, kMetadataIsVirtualDisk; never kMetadataIsRequired.
  std::vector<std::byte> content;

  friend bool operator==(const OpaqueItem&, const OpaqueItem&) = default;
};

struct Description {
  Geometry geometry;
  Guid virtual_disk_id;                 ///< The same along a chain.
  Guid data_write_guid;                 ///< Changes with the content; children are linked to it.
  std::optional<ParentLocator> parent;  ///< Present iff the type is differencing.
  std::vector<OpaqueItem> opaque_items;

  friend bool operator==(const Description&, const Description&) = default;
};

}  // namespace vhdxm::vhdx
