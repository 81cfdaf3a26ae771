// The BAT and the sector bitmaps of a file that is written: as they are now, in memory, and which
// of them still have to go through the log.
//
// A File over a file: reads see every change at once; write_at() changes memory alone. A commit
// takes the changed pages, carries them through the log, writes them in place, and says so with
// applied(); until then they are never dropped, so no reader sees the file's older bytes.
#pragma once

#include <atomic>
#include <memory>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "vhdx/log_writer.h"

namespace vhdxm::vhdx {

/// Memory: 4 KiB a page, about pages_max of them, more only while that many are changed.
/// Thread safety: all members may be called from any thread; one commit at a time.
class MetadataPages final : public File {
 public:
  /// Requires: `file` outlives this.
  MetadataPages(File& file, std::size_t pages_max) : file_(file), pages_max_(pages_max) {}

  Result<std::size_t> read_some_at(std::uint64_t offset, std::span<std::byte> out) override;
  /// In memory. Bytes that are the same already change nothing.
  Result<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) override;

  /// Pages that a commit would take now.
  std::size_t changed_count() const { return changed_count_.load(std::memory_order_relaxed); }
  /// The changed pages as they are now. They count as unchanged from here on, but stay.
  std::vector<LogPageUpdate> take_changed();
  /// The pages of the last take_changed() stand in the file now.
  void applied(std::span<const LogPageUpdate> updates);

  Result<std::uint64_t> size() override { return file_.size(); }
  const std::string& name() const override { return file_.name(); }
  // Not for metadata: these fail with Errc::kReadOnly.
  Result<void> sync() override;
  Result<void> resize(std::uint64_t size_bytes) override;
  Result<void> allocate(std::uint64_t offset, std::uint64_t length) override;
  Result<void> punch_hole(std::uint64_t offset, std::uint64_t length) override;
  Result<DataRun> next_data(std::uint64_t offset) override;

 private:
  struct Page {
    LogPage bytes;
    bool changed = false;
    bool being_applied = false;
  };

  Result<Page*> page_locked(std::uint64_t number);
  void drop_some_locked();
  Error not_here() const;

  File& file_;
  const std::size_t pages_max_;
  std::atomic<std::size_t> changed_count_{0};
  mutable std::shared_mutex mutex_;
  // Protected by mutex_.
  std::unordered_map<std::uint64_t, std::unique_ptr<Page>> pages_;  ///< By file offset / 4 KiB.
};

}  // namespace vhdxm::vhdx
