#include "vhdx/rehearsal_file.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace vhdxm::vhdx {
namespace {

constexpr std::uint64_t kSector = OverlayFile::kSectorBytes;

constexpr std::uint64_t sector_of(std::uint64_t offset) {
  return offset - offset % kSector;
}

}  // namespace

Result<std::unique_ptr<RehearsalFile>> RehearsalFile::over(std::shared_ptr<File> base) {
  VHDXM_TRY(const std::uint64_t size_bytes, base->size());
  VHDXM_TRY(auto view, OverlayFile::over(base));
  return std::unique_ptr<RehearsalFile>(
      new RehearsalFile(std::move(base), std::move(view), size_bytes));
}

Result<std::size_t> RehearsalFile::read_some_at(std::uint64_t offset, std::span<std::byte> out) {
  if (offset >= size_bytes_) return std::size_t{0};
  const auto length =
      static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), size_bytes_ - offset));
  return view_->read_some_at(offset, out.first(length));
}

Result<void> RehearsalFile::lay_over(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::uint64_t begin = sector_of(offset);
    const auto in_sector = static_cast<std::size_t>(offset - begin);
    const std::size_t count =
        std::min<std::size_t>(bytes.size(), static_cast<std::size_t>(kSector) - in_sector);
    OverlayFile::Sector sector{};
    if (count < sector.size()) VHDXM_TRY_VOID(view_->read_some_at(begin, sector));
    std::memcpy(sector.data() + in_sector, bytes.data(), count);
    view_->replace(begin, sector);
    offset += count;
    bytes = bytes.subspan(count);
  }
  return {};
}

Result<void> RehearsalFile::clear(std::uint64_t begin, std::uint64_t end) {
  static constexpr OverlayFile::Sector kZeros{};
  const std::uint64_t first = std::min(end, sector_of(begin + kSector - 1));
  VHDXM_TRY_VOID(lay_over(begin, std::span(kZeros).first(static_cast<std::size_t>(first - begin))));
  const std::uint64_t last = std::max(first, sector_of(end));
  view_->zero(first, last - first);
  return lay_over(last, std::span(kZeros).first(static_cast<std::size_t>(end - last)));
}

Result<void> RehearsalFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  VHDXM_TRY_VOID(lay_over(offset, bytes));
  size_bytes_ = std::max(size_bytes_, offset + bytes.size());
  operations_.push_back({.kind = Kind::kWrite,
                         .offset = offset,
                         .length = bytes.size(),
                         .bytes = {bytes.begin(), bytes.end()}});
  return {};
}

Result<void> RehearsalFile::sync() {
  operations_.push_back({.kind = Kind::kSync});
  return {};
}

Result<void> RehearsalFile::resize(std::uint64_t size_bytes) {
  if (size_bytes < size_bytes_) {
    VHDXM_TRY_VOID(clear(size_bytes, size_bytes_));
    cleared_.push_back({size_bytes, size_bytes_});
  }
  view_->grow(size_bytes);
  size_bytes_ = size_bytes;
  operations_.push_back({.kind = Kind::kResize, .length = size_bytes});
  return {};
}

Result<void> RehearsalFile::allocate(std::uint64_t offset, std::uint64_t length) {
  // Room is not rehearsed, only length: nothing that is tried here needs more than that.
  return offset + length > size_bytes_ ? resize(offset + length) : Result<void>{};
}

Result<void> RehearsalFile::punch_hole(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t end = std::min(offset + length, size_bytes_);
  if (offset >= end) return {};
  VHDXM_TRY_VOID(clear(offset, end));
  cleared_.push_back({offset, end});
  operations_.push_back({.kind = Kind::kPunchHole, .offset = offset, .length = end - offset});
  return {};
}

Result<File::DataRun> RehearsalFile::next_data(std::uint64_t offset) {
  if (offset >= size_bytes_) return DataRun{size_bytes_, size_bytes_};
  VHDXM_TRY(const DataRun run, view_->next_data(offset));
  if (run.begin >= size_bytes_) return DataRun{size_bytes_, size_bytes_};
  return DataRun{run.begin, std::min(run.end, size_bytes_)};
}

Result<void> RehearsalFile::perform_on(File& file) const {
  for (const Operation& operation : operations_) {
    switch (operation.kind) {
      case Kind::kWrite:
        VHDXM_TRY_VOID(file.write_at(operation.offset, operation.bytes));
        break;
      case Kind::kResize:
        VHDXM_TRY_VOID(file.resize(operation.length));
        break;
      case Kind::kPunchHole:
        VHDXM_TRY_VOID(file.punch_hole(operation.offset, operation.length));
        break;
      case Kind::kSync:
        VHDXM_TRY_VOID(file.sync());
        break;
    }
  }
  return {};
}

std::vector<FileRange> RehearsalFile::overwritten() const {
  std::vector<FileRange> ranges;
  for (const Operation& operation : operations_) {
    if (operation.kind == Kind::kWrite) {
      ranges.push_back({operation.offset, operation.offset + operation.length});
    }
  }
  return merged(std::move(ranges));
}

std::vector<FileRange> RehearsalFile::cleared() const {
  return merged(cleared_);
}

std::vector<FileRange> RehearsalFile::changed() const {
  std::vector<FileRange> all = overwritten();
  all.insert(all.end(), cleared_.begin(), cleared_.end());
  return merged(std::move(all));
}

std::vector<FileRange> RehearsalFile::merged(std::vector<FileRange> ranges) const {
  std::sort(ranges.begin(), ranges.end(),
            [](const FileRange& a, const FileRange& b) { return a.begin < b.begin; });
  std::vector<FileRange> apart;
  for (FileRange range : ranges) {
    range.end = std::min(range.end, base_bytes_);
    if (range.begin >= range.end) continue;
    if (!apart.empty() && range.begin <= apart.back().end) {
      apart.back().end = std::max(apart.back().end, range.end);
    } else {
      apart.push_back(range);
    }
  }
  return apart;
}

}  // namespace vhdxm::vhdx
