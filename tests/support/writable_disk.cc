#include "tests/support/writable_disk.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/parent_link.h"

namespace vhdxm::test {
namespace {

using vhdx::Description;
using vhdx::DiskType;
using vhdx::DiskWriter;
using vhdx::Geometry;
using vhdx::kMiB;
using vhdx::Layer;

constexpr std::uint32_t kParentTag = 0x80000000;

std::shared_ptr<MemoryFile> make(const std::string& name, Description description) {
  auto file = std::make_shared<MemoryFile>(name);
  VHDXM_CHECK(!vhdx::create(file, std::move(description)).has_error());
  return file;
}

}  // namespace

std::string to_string(const DiskKind& kind) {
  return std::string(vhdx::to_string(kind.type)) + "_" + std::to_string(kind.sector_bytes);
}

std::vector<DiskKind> all_disk_kinds() {
  std::vector<DiskKind> kinds;
  for (const DiskType type : {DiskType::kFixed, DiskType::kDynamic, DiskType::kDifferencing}) {
    for (const std::uint32_t sector : {512U, 4096U}) kinds.push_back({type, sector});
  }
  return kinds;
}

WritableDisk::WritableDisk(const DiskKind& kind, std::uint64_t block_count)
    : geometry_{
          .virtual_size_bytes = (block_count - 1) * kMiB + 3 * std::uint64_t{kind.sector_bytes},
          .block_bytes = static_cast<std::uint32_t>(kMiB),
          .logical_sector_bytes = kind.sector_bytes,
          .physical_sector_bytes = kind.sector_bytes,
          .type = kind.type} {
  tags_.resize(static_cast<std::size_t>(geometry_.virtual_size_bytes / kTornUnitBytes));
  Description description;
  description.geometry = geometry_;
  if (kind.type == DiskType::kDifferencing) {
    // The parent has content at the start of every other block, and ends before the child.
    Description parent = description;
    parent.geometry.type = DiskType::kDynamic;
    parent.geometry.virtual_size_bytes -= kind.sector_bytes;
    parent_file_ = make("parent.vhdx", parent);
    auto writer = DiskWriter::over(parent_file_, {}, {});
    VHDXM_CHECK(!writer.has_error());
    std::vector<std::byte> bytes(64 * 1024);
    for (std::uint64_t block = 0; block + 1 < block_count; block += 2) {
      const std::uint64_t unit = block * kMiB / kTornUnitBytes;
      fill_tagged(bytes, unit, kParentTag);
      VHDXM_CHECK(!(*writer)->write(block * kMiB, bytes).has_error());
      std::fill_n(tags_.begin() + static_cast<std::ptrdiff_t>(unit), bytes.size() / kTornUnitBytes,
                  kParentTag);
    }
    VHDXM_CHECK(!(*writer)->close().has_error());
    const auto layers = parents();
    description = describe_child(
        layers.front()->description(),
        vhdx::ParentLocator{
            {{"parent_linkage",
              "{" + vhdxm::to_string(layers.front()->description().data_write_guid) + "}"},
             {"relative_path", ".\\parent.vhdx"}}});
    description.geometry = geometry_;
  }
  file_ = make("disk.vhdx", description);
}

std::vector<std::unique_ptr<Layer>> WritableDisk::parents() const {
  std::vector<std::unique_ptr<Layer>> layers;
  if (!parent_file_) return layers;
  auto layer = Layer::open(parent_file_, Layer::Replay::kInMemory);
  VHDXM_CHECK(!layer.has_error());
  layers.push_back(std::move(*layer));
  return layers;
}

Result<std::unique_ptr<DiskWriter>> WritableDisk::open(std::shared_ptr<File> file) const {
  return DiskWriter::over(std::move(file), parents(), {});
}

Result<std::unique_ptr<vhdx::Image>> WritableDisk::open_for_reading(
    std::shared_ptr<File> file) const {
  std::vector<std::unique_ptr<Layer>> layers;
  VHDXM_TRY(auto leaf, Layer::open(std::move(file), Layer::Replay::kInMemory));
  layers.push_back(std::move(leaf));
  for (auto& layer : parents()) layers.push_back(std::move(layer));
  return vhdx::Image::from_layers(std::move(layers));
}

DiskOperation random_operation(const Geometry& geometry, std::uint32_t tag,
                               std::mt19937_64& random) {
  using Kind = DiskOperation::Kind;
  const auto below = [&](std::uint64_t end) { return random() % end; };
  const std::uint64_t sector = geometry.logical_sector_bytes;
  const std::uint64_t size = geometry.virtual_size_bytes;
  constexpr Kind kKinds[] = {Kind::kWrite, Kind::kWrite, Kind::kWrite, Kind::kWrite,
                             Kind::kZero,  Kind::kTrim,  Kind::kFlush};
  DiskOperation operation{.kind = kKinds[below(7)], .tag = tag};
  if (operation.kind == Kind::kFlush) return operation;
  const std::uint64_t block = below(geometry.block_count()) * geometry.block_bytes;
  const bool whole = operation.kind == Kind::kWrite ? below(12) == 0 : below(2) == 0;
  if (whole) {
    operation.offset = block;
    operation.length = std::uint64_t{geometry.block_bytes} * (1 + below(2));
  } else {
    // Around the start of a block (so also the end of the one before), or its middle.
    const std::uint64_t places[] = {block, block + geometry.block_bytes / 2, block};
    const std::uint64_t back = std::min(block, below(3) * sector);
    operation.offset = places[below(3)] - back;
    operation.length = (1 + below(4)) * sector;
  }
  operation.offset = std::min(operation.offset, size - sector);
  operation.length = std::min(operation.length, size - operation.offset);
  return operation;
}

Result<void> apply(DiskWriter& disk, const DiskOperation& operation) {
  switch (operation.kind) {
    case DiskOperation::Kind::kWrite: {
      std::vector<std::byte> bytes(static_cast<std::size_t>(operation.length));
      fill_tagged(bytes, operation.offset / kTornUnitBytes, operation.tag);
      return disk.write(operation.offset, bytes);
    }
    case DiskOperation::Kind::kZero:
      return disk.write_zeroes(operation.offset, operation.length);
    case DiskOperation::Kind::kTrim:
      return disk.trim(operation.offset, operation.length);
    case DiskOperation::Kind::kFlush:
      break;
  }
  return disk.flush();
}

WriteHistory::Event event_of(const DiskOperation& operation, std::size_t begin, std::size_t end) {
  using Kind = DiskOperation::Kind;
  WriteHistory::Event event{.kind = WriteHistory::Kind::kWrite,
                            .begin = begin,
                            .end = end,
                            .first = operation.offset / kTornUnitBytes,
                            .count = operation.length / kTornUnitBytes,
                            .tag = operation.kind == Kind::kWrite ? operation.tag : 0};
  if (operation.kind == Kind::kTrim) event.kind = WriteHistory::Kind::kTrim;
  if (operation.kind == Kind::kFlush) event.kind = WriteHistory::Kind::kFlush;
  return event;
}

}  // namespace vhdxm::test
