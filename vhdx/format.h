// The structures of a VHDX file as they stand on disk.
//
// Spec: [MS-VHDX] v6.0. Every RawX overlays bytes and is never used as data; an X of the same name
// exists only after validation. All integers are little-endian; all checksums are CRC-32C over the
// whole structure with the checksum field zero (section 2).
#pragma once

#include <array>
#include <cstdint>

#include "base/guid.h"
#include "base/little_endian.h"

namespace vhdxm::vhdx {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;
inline constexpr std::uint64_t kTiB = 1024 * kGiB;

/// Every object outside the header section starts at, and is, a multiple of this (2.1). Bytes.
inline constexpr std::uint64_t kObjectAlignment = kMiB;

// Header section, the first MiB (2.2). Units: bytes from the start of the file.
inline constexpr std::uint64_t kFileIdentifierOffset = 0;
inline constexpr std::array<std::uint64_t, 2> kHeaderOffsets = {64 * kKiB, 128 * kKiB};
inline constexpr std::array<std::uint64_t, 2> kRegionTableOffsets = {192 * kKiB, 256 * kKiB};
inline constexpr std::uint64_t kHeaderSectionBytes = kMiB;

// 2.2.1 File type identifier.
inline constexpr std::uint64_t kFileSignature = 0x656c696678646876;  // "vhdxfile"
struct RawFileIdentifier {
  Le64 signature;
  std::array<Le16, 256> creator;  ///< UTF-16LE, for diagnosis only.
};
static_assert(sizeof(RawFileIdentifier) == 8 + 512);

// 2.2.2 Headers.
inline constexpr std::uint32_t kHeaderSignature = 0x64616568;  // "head"
inline constexpr std::uint64_t kHeaderBytes = 4 * kKiB;        ///< What the checksum covers.
struct RawHeader {
  Le32 signature;
  Le32 checksum;
  Le64 sequence_number;
  Guid file_write_guid;
  Guid data_write_guid;
  Guid log_guid;
  Le16 log_version;
  Le16 version;
  Le32 log_length;  ///< Bytes, a multiple of 1 MiB.
  Le64 log_offset;  ///< Bytes, a multiple of 1 MiB.
};
static_assert(sizeof(RawHeader) == 4 + 4 + 8 + 3 * 16 + 2 + 2 + 4 + 8 && alignof(RawHeader) == 1);
inline constexpr std::uint16_t kFormatVersion = 1;
inline constexpr std::uint16_t kLogVersion = 0;

// 2.2.3 Region tables.
inline constexpr std::uint32_t kRegionSignature = 0x69676572;  // "regi"
inline constexpr std::uint64_t kRegionTableBytes = 64 * kKiB;  ///< What the checksum covers.
inline constexpr std::uint32_t kRegionEntryCountMax = 2047;
struct RawRegionTableHeader {
  Le32 signature;
  Le32 checksum;
  Le32 entry_count;
  Le32 reserved;
};
struct RawRegionTableEntry {
  Guid region;
  Le64 file_offset;
  Le32 length;
  Le32 required;  ///< Bit 0.
};
static_assert(sizeof(RawRegionTableHeader) == 16 && sizeof(RawRegionTableEntry) == 32);
static_assert(sizeof(RawRegionTableHeader) + kRegionEntryCountMax * sizeof(RawRegionTableEntry) <=
              kRegionTableBytes);
inline constexpr Guid kBatRegion = guid_literal("2dc27766-f623-4200-9d64-115e9bfd4a08");
inline constexpr Guid kMetadataRegion = guid_literal("8b7ca206-4790-4b9a-b8fe-575f050f886e");

// 2.3 Log. Every structure of it is a multiple of 4 KiB.
inline constexpr std::uint64_t kLogSectorBytes = 4 * kKiB;
inline constexpr std::uint32_t kLogEntrySignature = 0x65676f6c;        // "loge"
inline constexpr std::uint32_t kZeroDescriptorSignature = 0x6f72657a;  // "zero"
inline constexpr std::uint32_t kDataDescriptorSignature = 0x63736564;  // "desc"
inline constexpr std::uint32_t kDataSectorSignature = 0x61746164;      // "data"
struct RawLogEntryHeader {
  Le32 signature;
  Le32 checksum;  ///< Over entry_length bytes.
  Le32 entry_length;
  Le32 tail;  ///< Bytes from the start of the log.
  Le64 sequence_number;
  Le32 descriptor_count;  ///< 4 bytes, then 4 reserved; the text's "8 bytes" is an erratum.
  Le32 reserved;
  Guid log_guid;
  Le64 flushed_file_offset;
  Le64 last_file_offset;
};
static_assert(sizeof(RawLogEntryHeader) == 64);
struct RawLogDescriptor {
  Le32 signature;
  Le32 trailing_bytes;           ///< Data descriptor only.
  Le64 leading_bytes_or_length;  ///< Data: the first 8 bytes of the sector. Zero: length in bytes.
  Le64 file_offset;
  Le64 sequence_number;
};
static_assert(sizeof(RawLogDescriptor) == 32);
struct RawLogDataSector {
  Le32 signature;
  Le32 sequence_high;
  std::array<std::uint8_t, 4084> data;
  Le32 sequence_low;
};
static_assert(sizeof(RawLogDataSector) == kLogSectorBytes);

// 2.5 BAT: bits 0-2 state, 3-19 reserved, 20-63 offset in the file in MiB.
inline constexpr std::uint64_t kBatEntryBytes = 8;
inline constexpr std::uint64_t kBatStateMask = 0x7;
inline constexpr unsigned kBatOffsetShift = 20;
enum class PayloadState : std::uint8_t {
  kNotPresent = 0,
  kUndefined = 1,
  kZero = 2,
  kUnmapped = 3,
  kUnmappedV095 = 5,  ///< What the 0.95 draft called UNMAPPED; QEMU accepts it, we do on reading.
  kFullyPresent = 6,
  kPartiallyPresent = 7,
};
enum class SectorBitmapState : std::uint8_t { kNotPresent = 0, kPresent = 6 };
/// A sector bitmap block, always 1 MiB (2.4): one bit a logical sector, of 2^23 of them (a chunk).
inline constexpr std::uint64_t kSectorBitmapBlockBytes = kMiB;
inline constexpr std::uint64_t kSectorsPerBitmapBlock = std::uint64_t{1} << 23;

// 2.6 Metadata.
inline constexpr std::uint64_t kMetadataSignature = 0x617461646174656d;  // "metadata"
inline constexpr std::uint64_t kMetadataTableBytes = 64 * kKiB;
inline constexpr std::uint32_t kMetadataEntryCountMax = 2047;
inline constexpr std::uint32_t kMetadataUserEntryCountMax = 1024;
inline constexpr std::uint64_t kMetadataItemBytesMax = kMiB;
struct RawMetadataTableHeader {
  Le64 signature;
  Le16 reserved;
  Le16 entry_count;
  std::array<Le32, 5> reserved2;
};
struct RawMetadataTableEntry {
  Guid item_id;
  Le32 offset;  ///< Bytes from the start of the region, at least 64 KiB.
  Le32 length;
  Le32 flags;
  Le32 reserved;
};
static_assert(sizeof(RawMetadataTableHeader) == 32 && sizeof(RawMetadataTableEntry) == 32);
inline constexpr std::uint32_t kMetadataIsUser = 1;
inline constexpr std::uint32_t kMetadataIsVirtualDisk = 2;
inline constexpr std::uint32_t kMetadataIsRequired = 4;

inline constexpr Guid kFileParametersItem = guid_literal("caa16737-fa36-4d43-b3b6-33f0aa44e76b");
inline constexpr Guid kVirtualDiskSizeItem = guid_literal("2fa54224-cd1b-4876-b211-5dbed83bf4b8");
inline constexpr Guid kVirtualDiskIdItem = guid_literal("beca12ab-b2e6-4523-93ef-c309e000c746");
inline constexpr Guid kLogicalSectorSizeItem = guid_literal("8141bf1d-a96f-4709-ba47-f233a8faab5f");
inline constexpr Guid kPhysicalSectorSizeItem =
    guid_literal("cda348c7-445d-4471-9cc9-e9885251c556");
inline constexpr Guid kParentLocatorItem = guid_literal("a8d35f2d-b30b-454d-abf7-d3d84834ab0c");

struct RawFileParameters {
  Le32 block_size;
  Le32 flags;  ///< Bit 0 LeaveBlockAllocated (fixed), bit 1 HasParent.
};
static_assert(sizeof(RawFileParameters) == 8);
inline constexpr std::uint32_t kLeaveBlockAllocated = 1;
inline constexpr std::uint32_t kHasParent = 2;
inline constexpr std::uint64_t kBlockBytesMin = kMiB;
inline constexpr std::uint64_t kBlockBytesMax = 256 * kMiB;
inline constexpr std::uint64_t kVirtualSizeMax = 64 * kTiB;
/// Where every block ends, and the largest file that a log may ask for: twice the largest disk.
/// Ours; the format would allow 2^64 bytes.
inline constexpr std::uint64_t kFileBytesMax = 2 * kVirtualSizeMax;

// 2.6.2.6 Parent locator.
inline constexpr Guid kVhdxParentLocatorType = guid_literal("b04aefb7-d19e-4a81-b789-25b8e9445913");
struct RawParentLocatorHeader {
  Guid locator_type;
  Le16 reserved;
  Le16 key_value_count;
};
struct RawParentLocatorEntry {
  Le32 key_offset;    ///< Bytes from the start of the item.
  Le32 value_offset;  ///< Bytes from the start of the item.
  Le16 key_length;    ///< Bytes of UTF-16LE, no terminator.
  Le16 value_length;
};
static_assert(sizeof(RawParentLocatorHeader) == 20 && sizeof(RawParentLocatorEntry) == 12);

}  // namespace vhdxm::vhdx
