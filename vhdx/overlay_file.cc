#include "vhdx/overlay_file.h"

#include <algorithm>
#include <cstring>

#include "vhdx/errc.h"

namespace vhdxm::vhdx {
namespace {

Error read_only(const std::string& name) {
  return Error{.code = make_error_code(Errc::kReadOnly), .where = "replayed log", .subject = name};
}

}  // namespace

Result<std::unique_ptr<OverlayFile>> OverlayFile::over(std::shared_ptr<File> base) {
  VHDXM_TRY(const std::uint64_t size_bytes, base->size());
  return std::unique_ptr<OverlayFile>(new OverlayFile(std::move(base), size_bytes));
}

void OverlayFile::replace(std::uint64_t offset, const Sector& content) {
  auto& sector = sectors_[offset];
  if (!sector) sector = std::make_unique<Sector>();
  *sector = content;
  grow(offset + kSectorBytes);
}

void OverlayFile::zero(std::uint64_t offset, std::uint64_t length) {
  if (length == 0) return;
  std::uint64_t begin = offset;
  std::uint64_t end = offset + length;
  sectors_.erase(sectors_.lower_bound(begin), sectors_.lower_bound(end));
  // Joins with what touches it, so that the ranges stay apart.
  auto next = zeros_.upper_bound(begin);
  if (next != zeros_.begin() && std::prev(next)->second >= begin) --next;
  while (next != zeros_.end() && next->first <= end) {
    begin = std::min(begin, next->first);
    end = std::max(end, next->second);
    next = zeros_.erase(next);
  }
  zeros_.emplace(begin, end);
  grow(offset + length);
}

void OverlayFile::grow(std::uint64_t size_bytes) {
  size_bytes_ = std::max(size_bytes_, size_bytes);
}

Result<void> OverlayFile::apply_to(File& target) const {
  VHDXM_TRY(const std::uint64_t now, target.size());
  for (const auto& [begin, end] : zeros_) {
    // What lies beyond the end becomes zero by growing.
    if (begin < now) VHDXM_TRY_VOID(target.punch_hole(begin, std::min(end, now) - begin));
  }
  if (now < size_bytes_) VHDXM_TRY_VOID(target.resize(size_bytes_));
  for (const auto& [offset, sector] : sectors_) VHDXM_TRY_VOID(target.write_at(offset, *sector));
  return {};
}

Result<std::size_t> OverlayFile::read_some_at(std::uint64_t offset, std::span<std::byte> out) {
  // An empty span may have no address, which memcpy() must not see.
  if (out.empty() || offset >= size_bytes_) return std::size_t{0};
  const auto length =
      static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), size_bytes_ - offset));
  const std::uint64_t stop = offset + length;
  std::size_t from_base = 0;
  if (offset < base_bytes_) {
    const auto wanted =
        static_cast<std::size_t>(std::min<std::uint64_t>(length, base_bytes_ - offset));
    VHDXM_TRY(from_base, base_->read_some_at(offset, out.first(wanted)));
  }
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(from_base),
            out.begin() + static_cast<std::ptrdiff_t>(length), std::byte{0});
  auto zero = zeros_.upper_bound(offset);
  if (zero != zeros_.begin()) --zero;
  for (; zero != zeros_.end() && zero->first < stop; ++zero) {
    const std::uint64_t begin = std::max(offset, zero->first);
    const std::uint64_t end = std::min(stop, zero->second);
    if (begin < end) std::memset(out.data() + (begin - offset), 0, end - begin);
  }
  for (auto sector = sectors_.lower_bound(offset - offset % kSectorBytes);
       sector != sectors_.end() && sector->first < stop; ++sector) {
    const std::uint64_t begin = std::max(offset, sector->first);
    const std::uint64_t end = std::min(stop, sector->first + kSectorBytes);
    std::memcpy(out.data() + (begin - offset), sector->second->data() + (begin - sector->first),
                end - begin);
  }
  return length;
}

Result<File::DataRun> OverlayFile::next_data(std::uint64_t offset) {
  if (offset >= size_bytes_) return DataRun{size_bytes_, size_bytes_};
  DataRun run{size_bytes_, size_bytes_};
  if (offset < base_bytes_) {
    VHDXM_TRY(const DataRun below, base_->next_data(offset));
    if (below.begin < below.end) run = below;
  }
  const auto sector = sectors_.lower_bound(offset - offset % kSectorBytes);
  if (sector != sectors_.end() && std::max(offset, sector->first) < run.begin) {
    run = {std::max(offset, sector->first), sector->first + kSectorBytes};
  }
  return run;
}

Result<void> OverlayFile::write_at(std::uint64_t, std::span<const std::byte>) {
  return read_only(name());
}
Result<void> OverlayFile::sync() {
  return read_only(name());
}
Result<void> OverlayFile::resize(std::uint64_t) {
  return read_only(name());
}
Result<void> OverlayFile::allocate(std::uint64_t, std::uint64_t) {
  return read_only(name());
}
Result<void> OverlayFile::punch_hole(std::uint64_t, std::uint64_t) {
  return read_only(name());
}

}  // namespace vhdxm::vhdx
