// Small disks for tests of DiskWriter: made in memory, with a parent that has content, and a player
// of random operations on them.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/memory_file.h"
#include "tests/support/sector_model.h"
#include "vhdx/disk_writer.h"

namespace vhdxm::test {

/// A parameter of tests: which kind of disk.
struct DiskKind {
  vhdx::DiskType type = vhdx::DiskType::kDynamic;
  std::uint32_t sector_bytes = 512;
};
std::string to_string(const DiskKind& kind);
std::vector<DiskKind> all_disk_kinds();

/// A disk of some blocks of 1 MiB and an odd end, empty, in memory.
class WritableDisk {
 public:
  explicit WritableDisk(const DiskKind& kind, std::uint64_t block_count = 6);

  /// The file as it was made. Clone it.
  const MemoryFile& file() const { return *file_; }
  const vhdx::Geometry& geometry() const { return geometry_; }
  /// The layers behind the disk, newly opened; none if it has no parent.
  std::vector<std::unique_ptr<vhdx::Layer>> parents() const;
  /// A disk over `file`, a changed copy of file().
  Result<std::unique_ptr<vhdx::DiskWriter>> open(std::shared_ptr<File> file) const;
  /// The same for reading; its log, if any, replayed in memory.
  Result<std::unique_ptr<vhdx::Image>> open_for_reading(std::shared_ptr<File> file) const;

  /// The tag of every unit of the new disk: the parent's, where it shows.
  const std::vector<std::uint32_t>& tags() const { return tags_; }

 private:
  vhdx::Geometry geometry_;
  std::shared_ptr<MemoryFile> file_;
  std::shared_ptr<MemoryFile> parent_file_;
  std::vector<std::uint32_t> tags_;
};

/// One operation on a disk.
struct DiskOperation {
  enum class Kind : std::uint8_t { kWrite, kZero, kTrim, kFlush };
  Kind kind = Kind::kFlush;
  std::uint64_t offset = 0;  ///< Bytes.
  std::uint64_t length = 0;  ///< Bytes.
  std::uint32_t tag = 0;     ///< Of a write.
};
/// A random one: mostly a few sectors near the edges of blocks, now and then whole blocks.
DiskOperation random_operation(const vhdx::Geometry& geometry, std::uint32_t tag,
                               std::mt19937_64& random);
Result<void> apply(vhdx::DiskWriter& disk, const DiskOperation& operation);
/// What it does to the sectors. Units of the result: kTornUnitBytes.
WriteHistory::Event event_of(const DiskOperation& operation, std::size_t begin, std::size_t end);

}  // namespace vhdxm::test
