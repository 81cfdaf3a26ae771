#include "base/memory_file.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <mutex>

namespace vhdxm {
namespace {

// As on a real file system: offsets end at 2^63 - 1.
constexpr std::uint64_t kSizeMax = std::numeric_limits<std::int64_t>::max();

Error too_large(std::uint64_t offset) {
  return Error{.code = error_code(EFBIG, boost::system::system_category()),
               .where = "memory file",
               .offset = offset};
}

bool fits(std::uint64_t offset, std::uint64_t length) {
  return offset <= kSizeMax && length <= kSizeMax - offset;
}

}  // namespace

MemoryFile::MemoryFile(std::string name, std::span<const std::byte> content)
    : name_(std::move(name)) {
  (void)write_at(0, content);
}

std::shared_ptr<MemoryFile> MemoryFile::clone() const {
  auto copy = std::make_shared<MemoryFile>(name_);
  const std::shared_lock lock(mutex_);
  copy->pages_ = pages_;
  copy->size_bytes_ = size_bytes_;
  return copy;
}

MemoryFile::Page& MemoryFile::own(std::shared_ptr<Page>& page) {
  if (!page) {
    page = std::make_shared<Page>();
  } else if (page.use_count() > 1) {
    page = std::make_shared<Page>(*page);
  }
  return *page;
}

Result<std::size_t> MemoryFile::read_some_at(std::uint64_t offset, std::span<std::byte> out) {
  const std::shared_lock lock(mutex_);
  // An empty span may have no address, which memcpy() must not see.
  if (out.empty() || offset >= size_bytes_) return std::size_t{0};
  const auto length =
      static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), size_bytes_ - offset));
  std::fill_n(out.begin(), length, std::byte{0});
  for (auto page = pages_.lower_bound(offset / kPageBytes);
       page != pages_.end() && page->first * kPageBytes < offset + length; ++page) {
    const std::uint64_t begin = std::max(offset, page->first * kPageBytes);
    const std::uint64_t end = std::min(offset + length, (page->first + 1) * kPageBytes);
    std::memcpy(out.data() + (begin - offset), page->second->data() + begin % kPageBytes,
                end - begin);
  }
  return length;
}

Result<void> MemoryFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (!fits(offset, bytes.size())) return too_large(offset);
  if (bytes.empty()) return {};
  const std::lock_guard lock(mutex_);
  for (std::size_t done = 0; done < bytes.size();) {
    const std::uint64_t at = offset + done;
    Page& page = own(pages_[at / kPageBytes]);
    const std::size_t length = std::min(bytes.size() - done, kPageBytes - at % kPageBytes);
    std::memcpy(page.data() + at % kPageBytes, bytes.data() + done, length);
    done += length;
  }
  size_bytes_ = std::max<std::uint64_t>(size_bytes_, offset + bytes.size());
  return {};
}

Result<std::uint64_t> MemoryFile::size() {
  const std::shared_lock lock(mutex_);
  return size_bytes_;
}

void MemoryFile::zero_locked(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t end = offset + length;
  for (auto page = pages_.lower_bound(offset / kPageBytes);
       page != pages_.end() && page->first * kPageBytes < end;) {
    const std::uint64_t page_begin = page->first * kPageBytes;
    const std::uint64_t begin = std::max(offset, page_begin);
    const std::uint64_t stop = std::min(end, page_begin + kPageBytes);
    if (stop - begin == kPageBytes) {
      page = pages_.erase(page);
      continue;
    }
    std::fill_n(own(page->second).begin() + static_cast<std::ptrdiff_t>(begin - page_begin),
                stop - begin, std::byte{0});
    ++page;
  }
}

Result<void> MemoryFile::resize(std::uint64_t size_bytes) {
  if (!fits(size_bytes, 0)) return too_large(size_bytes);
  const std::lock_guard lock(mutex_);
  if (size_bytes < size_bytes_) zero_locked(size_bytes, size_bytes_ - size_bytes);
  size_bytes_ = size_bytes;
  return {};
}

Result<void> MemoryFile::allocate(std::uint64_t offset, std::uint64_t length) {
  if (!fits(offset, length)) return too_large(offset);
  if (length == 0) return {};
  const std::lock_guard lock(mutex_);
  size_bytes_ = std::max(size_bytes_, offset + length);
  return {};
}

Result<void> MemoryFile::punch_hole(std::uint64_t offset, std::uint64_t length) {
  const std::lock_guard lock(mutex_);
  if (offset < size_bytes_) zero_locked(offset, std::min(length, size_bytes_ - offset));
  return {};
}

Result<File::DataRun> MemoryFile::next_data(std::uint64_t offset) {
  const std::shared_lock lock(mutex_);
  auto page = pages_.lower_bound(offset / kPageBytes);
  if (page == pages_.end() || offset >= size_bytes_) return DataRun{size_bytes_, size_bytes_};
  const std::uint64_t begin = std::max(offset, page->first * kPageBytes);
  std::uint64_t next = page->first;
  while (page != pages_.end() && page->first == next) {
    ++page;
    ++next;
  }
  return DataRun{std::min(begin, size_bytes_), std::min(next * kPageBytes, size_bytes_)};
}

}  // namespace vhdxm
