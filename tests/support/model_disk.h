// What a disk should hold, said without any file: segments of data, zeros and transparency.
//
// From it a test gets the block plan, the calls that bring the disk to a BulkWriter, and a proof
// that a layer holds just this. Data is a function of seed and offset, so large disks cost nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <span>
#include <vector>

#include "vhdx/block_plan.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/description.h"
#include "vhdx/extent.h"
#include "vhdx/layer.h"

namespace vhdxm::test {

/// Units: bytes of the disk, multiples of the logical sector size.
struct Segment {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  vhdx::ExtentKind kind = vhdx::ExtentKind::kUnmapped;
  bool zero_bytes = false;  ///< kData whose bytes are zero.

  std::uint64_t end() const { return offset + length; }
};

class ModelDisk {
 public:
  /// Segments in order, without gaps, covering the disk; kParent in differencing disks only.
  ModelDisk(vhdx::Geometry geometry, std::vector<Segment> segments, std::uint64_t seed);
  /// A disk whose segments begin and end around the boundaries of blocks, chunks and sectors.
  /// `data_bytes_max` bounds what has to be written.
  static ModelDisk random(const vhdx::Geometry& geometry, std::mt19937_64& random,
                          std::uint64_t data_bytes_max);

  const vhdx::Geometry& geometry() const { return geometry_; }
  const std::vector<Segment>& segments() const { return segments_; }
  /// Random but fixed identities, a parent locator if the disk has a parent, two foreign items.
  const vhdx::Description& description() const { return description_; }

  /// A plan that fits. Where there is a choice, `random` makes it.
  vhdx::BlockPlan plan(std::mt19937_64& random) const;
  /// The plan with no block more than the data needs, and partial ones only where they must be.
  vhdx::BlockPlan tight_plan() const;

  /// One call of BulkWriter::write() (kData) or mark().
  using Operation = Segment;
  /// What brings the whole disk, in pieces, in random order.
  std::vector<Operation> operations(const vhdx::BlockPlan& plan, std::mt19937_64& random) const;
  Result<void> apply(vhdx::BulkWriter& writer, const Operation& operation) const;
  /// All operations, in order. Adds a test failure for an error.
  void write_to(vhdx::BulkWriter& writer, std::mt19937_64& random) const;

  /// The disk's bytes; transparent ranges as zeros.
  void fill(std::uint64_t offset, std::span<std::byte> out) const;
  /// Bytes of data at `offset`, were there data.
  void fill_pattern(std::uint64_t offset, std::span<std::byte> out) const;

  /// Adds a test failure for every way in which `layer` is not this disk.
  void expect_in(vhdx::Layer& layer) const;
  /// The same of [begin, end) of the disk only.
  void expect_range_in(vhdx::Layer& layer, std::uint64_t begin, std::uint64_t end) const;

 private:
  const Segment& segment_at(std::uint64_t offset) const;
  /// `one_in(n)`: whether to choose what need not be, which happens once in n times.
  vhdx::BlockPlan plan_with(const std::function<bool(unsigned)>& one_in) const;
  void expect_extent(const vhdx::Extent& extent) const;

  vhdx::Geometry geometry_;
  std::vector<Segment> segments_;
  std::uint64_t seed_;
  vhdx::Description description_;
};

}  // namespace vhdxm::test
