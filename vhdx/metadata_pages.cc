#include "vhdx/metadata_pages.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "base/check.h"
#include "vhdx/errc.h"

namespace vhdxm::vhdx {

Result<std::size_t> MetadataPages::read_some_at(std::uint64_t offset, std::span<std::byte> out) {
  for (std::size_t done = 0; done < out.size();) {
    const std::uint64_t at = offset + done;
    const std::uint64_t in_page = at % kLogSectorBytes;
    const auto length = static_cast<std::size_t>(
        std::min<std::uint64_t>(out.size() - done, kLogSectorBytes - in_page));
    const auto copy = [&](const Page& page) {
      std::memcpy(out.data() + done, page.bytes.data() + in_page, length);
      done += length;
    };
    {
      const std::shared_lock lock(mutex_);
      if (const auto found = pages_.find(at / kLogSectorBytes); found != pages_.end()) {
        copy(*found->second);
        continue;
      }
    }
    const std::lock_guard lock(mutex_);
    VHDXM_TRY(const Page* page, page_locked(at / kLogSectorBytes));
    copy(*page);
  }
  return out.size();
}

Result<void> MetadataPages::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const std::uint64_t at = offset + done;
    const std::uint64_t in_page = at % kLogSectorBytes;
    const auto length = static_cast<std::size_t>(
        std::min<std::uint64_t>(bytes.size() - done, kLogSectorBytes - in_page));
    const std::lock_guard lock(mutex_);
    VHDXM_TRY(Page * page, page_locked(at / kLogSectorBytes));
    std::byte* const target = page->bytes.data() + in_page;
    if (std::memcmp(target, bytes.data() + done, length) != 0) {
      std::memcpy(target, bytes.data() + done, length);
      if (!page->changed) changed_count_.fetch_add(1, std::memory_order_relaxed);
      page->changed = true;
    }
    done += length;
  }
  return {};
}

// The file is read under the lock: a page that was read before, changed, applied and dropped by
// others meanwhile would come back as it was.
Result<MetadataPages::Page*> MetadataPages::page_locked(std::uint64_t number) {
  if (const auto found = pages_.find(number); found != pages_.end()) return found->second.get();
  if (pages_.size() >= pages_max_) drop_some_locked();
  auto page = std::make_unique<Page>();
  VHDXM_TRY_VOID(read_exact_at(file_, number * kLogSectorBytes, page->bytes,
                               "BAT or sector bitmap, [MS-VHDX] 2.4, 2.5"));
  return pages_.emplace(number, std::move(page)).first->second.get();
}

void MetadataPages::drop_some_locked() {
  // Any quarter: hash order is as good as random, and random is good enough for a cache that a
  // disk of 4 TiB with blocks of 1 MiB fits into.
  std::size_t left = std::max<std::size_t>(pages_max_ / 4, 1);
  for (auto page = pages_.begin(); page != pages_.end() && left != 0;) {
    if (page->second->changed || page->second->being_applied) {
      ++page;
      continue;
    }
    page = pages_.erase(page);
    --left;
  }
}

std::vector<LogPageUpdate> MetadataPages::take_changed() {
  std::vector<LogPageUpdate> updates;
  const std::lock_guard lock(mutex_);
  updates.reserve(changed_count());
  for (auto& [number, page] : pages_) {
    if (!page->changed) continue;
    page->changed = false;
    page->being_applied = true;
    updates.push_back({number * kLogSectorBytes, page->bytes});
  }
  changed_count_.store(0, std::memory_order_relaxed);
  // In file order: the writes in place are then, too.
  std::sort(updates.begin(), updates.end(),
            [](const auto& a, const auto& b) { return a.file_offset < b.file_offset; });
  return updates;
}

void MetadataPages::applied(std::span<const LogPageUpdate> updates) {
  const std::lock_guard lock(mutex_);
  for (const LogPageUpdate& update : updates) {
    const auto page = pages_.find(update.file_offset / kLogSectorBytes);
    VHDXM_CHECK(page != pages_.end());
    page->second->being_applied = false;
  }
}

Error MetadataPages::not_here() const {
  return Error{.code = Errc::kReadOnly, .where = "metadata pages", .subject = name()};
}

Result<void> MetadataPages::sync() {
  return not_here();
}
Result<void> MetadataPages::resize(std::uint64_t) {
  return not_here();
}
Result<void> MetadataPages::allocate(std::uint64_t, std::uint64_t) {
  return not_here();
}
Result<void> MetadataPages::punch_hole(std::uint64_t, std::uint64_t) {
  return not_here();
}
Result<File::DataRun> MetadataPages::next_data(std::uint64_t) {
  return not_here();
}

}  // namespace vhdxm::vhdx
