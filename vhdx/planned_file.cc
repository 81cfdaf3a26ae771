#include "vhdx/planned_file.h"

#include <algorithm>
#include <utility>

#include "vhdx/bitmap_bits.h"
#include "vhdx/file_layout.h"

namespace vhdxm::vhdx {
namespace {

// Bits of a bitmap that are looked at in one go.
constexpr std::uint64_t kBitsAtATime = 32 * 1024;

void append(std::vector<Extent>& out, const Extent& extent) {
  if (extent.length == 0) return;
  if (!out.empty()) {
    Extent& last = out.back();
    const bool follows = last.virtual_offset + last.length == extent.virtual_offset &&
                         last.kind == extent.kind && last.file == extent.file;
    if (follows && (extent.kind != ExtentKind::kData ||
                    last.file_offset + last.length == extent.file_offset)) {
      last.length += extent.length;
      return;
    }
  }
  out.push_back(extent);
}

}  // namespace

PlannedFile::PlannedFile(std::shared_ptr<File> file, BlockPlan plan)
    : file_(std::move(file)), plan_(std::move(plan)) {}

Result<std::unique_ptr<PlannedFile>> PlannedFile::open(std::shared_ptr<File> file,
                                                       const Description& description,
                                                       BlockPlan plan) {
  auto layout = plan_layout(description);
  if (layout.has_error()) return std::move(layout).error().about(file->name());
  if (plan.geometry() != description.geometry) {
    return Error{.code = BaseErrc::kInvalidArgument,
                 .where = "the block plan is for a disk of another geometry",
                 .subject = file->name()};
  }
  if (!plan.sealed()) plan.seal(layout->payload_begin);
  VHDXM_TRY(const std::uint64_t bytes, file->size());
  if (bytes != plan.file_bytes()) {
    return Error{.code = BaseErrc::kInvalidArgument,
                 .where = "length of a file that its plan was to tell about",
                 .found = bytes,
                 .expected = plan.file_bytes(),
                 .subject = file->name()};
  }
  return std::unique_ptr<PlannedFile>(new PlannedFile(std::move(file), std::move(plan)));
}

// Sectors of one block that are present: written, or zero because nobody did.
Result<void> PlannedFile::map_present(std::uint64_t offset, std::uint64_t length,
                                      std::vector<Extent>& out) const {
  const std::uint64_t block_bytes = geometry().block_bytes;
  const std::uint64_t sector = geometry().logical_sector_bytes;
  const std::uint64_t begin =
      plan_.payload_offset(offset / block_bytes) + offset % block_bytes;  // in the file
  for (std::uint64_t at = begin; at < begin + length;) {
    VHDXM_TRY(const File::DataRun run, file_->next_data(at));
    const std::uint64_t end = begin + length;
    // The file system's runs may begin and end inside a sector.
    const std::uint64_t first = std::min(std::max(run.begin / sector * sector, at), end);
    const std::uint64_t last = std::min((run.end + sector - 1) / sector * sector, end);
    const bool hole_to_end = run.begin >= run.end || first >= last;
    const std::uint64_t hole_end = hole_to_end ? end : first;
    append(out, {.virtual_offset = offset + (at - begin), .length = hole_end - at});
    if (hole_to_end) return {};
    append(out, {.virtual_offset = offset + (first - begin),
                 .length = last - first,
                 .kind = ExtentKind::kData,
                 .file = file_.get(),
                 .file_offset = first});
    at = last;
  }
  return {};
}

Result<void> PlannedFile::map_partial(std::uint64_t offset, std::uint64_t length,
                                      std::vector<Extent>& out) const {
  const std::uint64_t sector = geometry().logical_sector_bytes;
  const std::uint64_t ratio = geometry().chunk_ratio();
  const std::uint64_t block = offset / geometry().block_bytes;
  const std::uint64_t first_bit =
      (block % ratio * geometry().block_bytes + offset % geometry().block_bytes) / sector;
  std::vector<bool> bits;
  VHDXM_TRY_VOID(
      read_bits(*file_, *plan_.bitmap_offset(block / ratio), first_bit, length / sector, bits));
  for (std::size_t at = 0; at < bits.size();) {
    const bool present = bits[at];
    std::size_t end = at;
    while (end < bits.size() && bits[end] == present) ++end;
    const std::uint64_t begin = offset + at * sector;
    if (present) {
      VHDXM_TRY_VOID(map_present(begin, (end - at) * sector, out));
    } else {
      append(out,
             {.virtual_offset = begin, .length = (end - at) * sector, .kind = ExtentKind::kParent});
    }
    at = end;
  }
  return {};
}

Result<std::uint64_t> PlannedFile::map(std::uint64_t offset, std::uint64_t length,
                                       std::vector<Extent>& out, std::size_t extents_max) const {
  const std::uint64_t block_bytes = geometry().block_bytes;
  const std::uint64_t end = offset + length;
  const std::size_t before = out.size();
  while (offset < end && out.size() - before < extents_max) {
    const std::uint64_t block = offset / block_bytes;
    std::uint64_t piece = std::min(block_bytes - offset % block_bytes, end - offset);
    switch (plan_.use(block)) {
      case BlockUse::kAbsent: {
        const std::uint64_t end_block = (end + block_bytes - 1) / block_bytes;
        piece = std::min(plan_.next_present(block, end_block) * block_bytes, end) - offset;
        append(out, {.virtual_offset = offset, .length = piece});
        break;
      }
      case BlockUse::kFull:
        VHDXM_TRY_VOID(map_present(offset, piece, out));
        break;
      case BlockUse::kPartial:
        piece = std::min(piece, kBitsAtATime * geometry().logical_sector_bytes);
        VHDXM_TRY_VOID(map_partial(offset, piece, out));
        break;
    }
    offset += piece;
  }
  return offset;
}

}  // namespace vhdxm::vhdx
