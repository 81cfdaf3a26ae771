// Makes VHDX files byte by byte, for tests of the reader: good ones, and bad ones with good
// checksums.
//
// Knows the format on its own: offsets are written as numbers from [MS-VHDX], not taken from the
// code under test, so that the two check each other. Everything stands in a MemoryFile at once and
// may be patched; seal_*() makes the checksums right again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/guid.h"
#include "base/memory_file.h"

namespace vhdxm::test {

/// One descriptor of a log entry.
struct LogDescriptor {
  std::uint64_t file_offset = 0;
  /// Of a zero descriptor: bytes. Of a data descriptor: nullopt.
  std::optional<std::uint64_t> zero_length = std::nullopt;
  /// Of a data descriptor: what each byte of the 4 KiB is, unless `sector` is given.
  std::uint8_t fill = 0;
  std::vector<std::byte> sector = {};
};

struct LogEntrySpec {
  std::uint64_t sequence_number = 1;
  std::uint32_t tail = 0;
  Guid log_guid = {};
  std::uint64_t flushed_file_offset = 0;
  std::uint64_t last_file_offset = 0;
  std::vector<LogDescriptor> descriptors = {};
  std::uint32_t padding_sectors = 0;  ///< Behind the data sectors.
};

/// The entry's bytes, sealed.
std::vector<std::byte> encode_log_entry(const LogEntrySpec& spec);
/// Makes the checksum of an entry's bytes right; the bytes are the whole entry.
void seal_log_entry(std::span<std::byte> entry);

class VhdxBuilder {
 public:
  static constexpr std::uint64_t kMiB = 1 << 20;
  static constexpr std::uint64_t kLogAt = 1 * kMiB;
  static constexpr std::uint64_t kMetadataAt = 2 * kMiB;
  static constexpr std::uint64_t kBatAt = 3 * kMiB;
  static constexpr std::uint64_t kHeaderAt[2] = {64 << 10, 128 << 10};
  static constexpr std::uint64_t kRegionTableAt[2] = {192 << 10, 256 << 10};
  /// Where the fields stand in their structures.
  static constexpr std::uint64_t kHeaderSequence = 8, kHeaderFileWriteGuid = 16,
                                 kHeaderDataWriteGuid = 32, kHeaderLogGuid = 48,
                                 kHeaderLogVersion = 64, kHeaderVersion = 66, kHeaderLogLength = 68,
                                 kHeaderLogOffset = 72;

  struct Options {
    std::string name = "test.vhdx";
    std::uint64_t virtual_size = 8 * kMiB;
    std::uint32_t block_bytes = 1 << 20;
    std::uint32_t logical_sector = 512;
    std::uint32_t physical_sector = 4096;
    bool leave_allocated = false;
    std::uint64_t log_length = kMiB;
    Guid log_guid = {};
    Guid disk_id = guid_literal("11111111-2222-3333-4444-555555555555");
    Guid data_write_guid = guid_literal("dddddddd-0000-0000-0000-000000000001");
    /// Makes a differencing disk.
    std::optional<std::vector<std::pair<std::string, std::string>>> locator = std::nullopt;
  };

  VhdxBuilder();
  explicit VhdxBuilder(Options options);

  const std::shared_ptr<MemoryFile>& file() const { return file_; }

  // Patching. Units: bytes of the file.
  void put(std::uint64_t offset, std::span<const std::byte> bytes);
  void put8(std::uint64_t offset, std::uint8_t value);
  void put16(std::uint64_t offset, std::uint16_t value);
  void put32(std::uint64_t offset, std::uint32_t value);
  void put64(std::uint64_t offset, std::uint64_t value);
  void put_guid(std::uint64_t offset, const Guid& guid);
  void fill(std::uint64_t offset, std::uint64_t length, std::uint8_t value);
  std::vector<std::byte> get(std::uint64_t offset, std::size_t length) const;
  std::uint64_t size() const;
  void resize(std::uint64_t size_bytes);

  // Headers. Both are written: sequence numbers 7 and 8.
  void seal_header(int slot);
  /// Patches one field of both headers and seals them.
  void put_header64(std::uint64_t field, std::uint64_t value);
  void put_header32(std::uint64_t field, std::uint32_t value);
  void put_header16(std::uint64_t field, std::uint16_t value);
  void put_header_guid(std::uint64_t field, const Guid& guid);

  // Region tables. Entry 0 is the BAT's, entry 1 the metadata's; both copies are alike.
  struct RegionSpec {
    Guid guid = {};
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
    std::uint32_t required = 1;
  };
  std::vector<RegionSpec> regions;
  /// Writes `regions` into both copies. `entry_count`: what the header says, if not the truth.
  void write_regions(std::optional<std::uint32_t> entry_count = std::nullopt);
  void seal_region_table(int copy);

  // Metadata. Items 0-4 are those every disk has, in the order of the specification; 5 the locator.
  struct ItemSpec {
    Guid id = {};
    std::uint32_t offset = 0;  ///< In the region. 0: behind the previous one.
    std::uint32_t flags = 0;
    std::vector<std::byte> content = {};
    std::optional<std::uint32_t> length = std::nullopt;  ///< What the table says, if not the truth.
  };
  enum Item { kFileParameters, kDiskSize, kDiskId, kLogicalSector, kPhysicalSector, kLocator };
  std::vector<ItemSpec> items;
  void write_metadata(std::optional<std::uint16_t> entry_count = std::nullopt);
  /// Bytes of the file where the item's table entry stands.
  static std::uint64_t item_entry_at(std::size_t index) { return kMetadataAt + 32 + index * 32; }

  // Blocks.
  std::uint64_t chunk_ratio() const;
  std::uint64_t bat_entries() const;
  std::uint64_t payload_index(std::uint64_t block) const;
  std::uint64_t bitmap_index(std::uint64_t chunk) const;
  std::uint64_t bat_entry_at(std::uint64_t index) const { return kBatAt + index * 8; }
  void set_entry(std::uint64_t index, std::uint64_t raw) { put64(bat_entry_at(index), raw); }
  void set_block(std::uint64_t block, std::uint64_t raw) { set_entry(payload_index(block), raw); }
  /// Room at the end of the file, in whole MiB.
  std::uint64_t allocate(std::uint64_t length);
  /// A block whose every byte is `value`; returns its place. `state` 6: fully, 7: partially
  /// present.
  std::uint64_t add_block(std::uint64_t block, std::uint8_t value, std::uint64_t state = 6);
  /// An empty bitmap block; returns its place.
  std::uint64_t add_bitmap(std::uint64_t chunk);
  /// Sets the bits of [first_sector, end_sector) of the disk. Requires: add_bitmap() of the chunk.
  void set_bits(std::uint64_t first_sector, std::uint64_t end_sector);

  // Log.
  /// Writes an entry's bytes at `log_offset` of the ring, around its end if need be.
  void put_log(std::uint64_t log_offset, std::span<const std::byte> entry);
  /// Writes an entry; its LogGuid is the header's unless it has one. Returns where the next would
  /// go.
  std::uint64_t add_log_entry(std::uint64_t log_offset, LogEntrySpec spec);

 private:
  void write_header(int slot, std::uint64_t sequence_number);

  Options options_;
  std::shared_ptr<MemoryFile> file_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> bitmaps_;  ///< Chunk, place.
};

/// UTF-16LE of ASCII.
std::vector<std::byte> utf16(std::string_view ascii);
/// A parent locator item.
std::vector<std::byte> encode_locator(
    const std::vector<std::pair<std::string, std::string>>& entries);
/// "{guid}" as it stands in a locator.
std::string braced(const Guid& guid);

}  // namespace vhdxm::test
