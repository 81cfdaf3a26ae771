#include "vhdx/metadata_journal.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace vhdxm::vhdx {

MetadataJournal::MetadataJournal(File& file, const Header& header, std::uint64_t file_bytes,
                                 const Options& options)
    : file_(file),
      options_(options),
      header_(header),
      pages_(file, options.pages_max),
      space_(file, file_bytes) {
  VHDXM_CHECK(header.log_guid.is_zero());
}

Result<void> MetadataJournal::keep(Result<void> result) {
  if (!result.has_error()) [[likely]]
    return result;
  Error error = std::move(result).error().about(file_.name());
  const std::lock_guard lock(error_mutex_);
  if (!error_) error_ = error;
  failed_.store(true, std::memory_order_release);
  return error;
}

Result<void> MetadataJournal::kept_error() const {
  if (!failed_.load(std::memory_order_acquire)) [[likely]]
    return {};
  const std::lock_guard lock(error_mutex_);
  return *error_;
}

MetadataJournal::Counters MetadataJournal::counters() const {
  return {
      .commits = commits_.load(), .flushes = flushes_.load(), .pages_logged = pages_logged_.load()};
}

Result<void> MetadataJournal::flush() {
  flushes_.fetch_add(1, std::memory_order_relaxed);
  return file_.sync();
}

Result<void> MetadataJournal::begin_session() {
  VHDXM_CHECK(!in_session_);
  Header changed = header_;
  changed.file_write_guid = Guid::random();
  changed.data_write_guid = Guid::random();
  auto updated = update_headers(file_, changed);
  if (updated.has_error()) return keep(std::move(updated).error());
  header_ = *updated;
  in_session_ = true;
  VHDXM_TRY(const std::uint64_t bytes, file_.size());
  if (bytes < space_.file_bytes()) return keep(file_.resize(space_.file_bytes()));
  return {};
}

Result<std::unique_lock<std::mutex>> MetadataJournal::begin_change(std::size_t pages_max) {
  VHDXM_CHECK(pages_max <= LogWriter::kPagesMax);
  for (;;) {
    std::unique_lock lock(change_mutex_);
    VHDXM_TRY_VOID(kept_error());
    if (pages_.changed_count() + pages_max <= LogWriter::kPagesMax) return lock;
    lock.unlock();
    VHDXM_TRY_VOID(commit());
  }
}

Result<void> MetadataJournal::commit() {
  const std::uint64_t wanted = started_.load(std::memory_order_acquire) + 1;
  const std::lock_guard lock(commit_mutex_);
  VHDXM_TRY_VOID(kept_error());
  if (completed_ >= wanted) return {};  // one that began after this call has ended
  const std::uint64_t number = started_.fetch_add(1, std::memory_order_acq_rel) + 1;
  VHDXM_TRY_VOID(keep(commit_now()));
  completed_ = number;
  return {};
}

Result<void> MetadataJournal::commit_now() {
  // What was given up before it is taken: then the change that gave it up is in the pages below, or
  // in those of an earlier commit.
  const std::vector<SpaceAllocator::Freed> freed = space_.take_freed();
  std::vector<LogPageUpdate> updates;
  {
    const std::lock_guard lock(change_mutex_);
    updates = pages_.take_changed();
  }
  // Asked before the flush: what it is then, the flush makes durable.
  VHDXM_TRY(const std::uint64_t durable_bytes, file_.size());
  VHDXM_TRY_VOID(flush());
  if (!updates.empty()) VHDXM_TRY_VOID(carry_through_log(updates, durable_bytes));
  // Before anybody can be given that space again.
  if (options_.give_room_back) {
    for (const SpaceAllocator::Freed& range : freed) {
      VHDXM_TRY_VOID(file_.punch_hole(range.offset, range.length));
    }
  }
  space_.release(freed);
  return {};
}

Result<void> MetadataJournal::carry_through_log(std::span<const LogPageUpdate> updates,
                                                std::uint64_t durable_bytes) {
  VHDXM_CHECK(in_session_);
  if (!log_) VHDXM_TRY_VOID(begin_log(durable_bytes));
  VHDXM_TRY_VOID(log_->append(updates, {.durable = durable_bytes, .needed = space_.file_bytes()}));
  VHDXM_TRY_VOID(flush());
  commits_.fetch_add(1, std::memory_order_relaxed);
  pages_logged_.fetch_add(updates.size(), std::memory_order_relaxed);
  for (const LogPageUpdate& update : updates) {
    VHDXM_TRY_VOID(file_.write_at(update.file_offset, update.bytes));
  }
  pages_.applied(updates);
  return {};
}

// A header may name a log only when a valid entry stands in it: a log without one makes the file
// unreadable (2.3.3). So the first entry, without content, comes before the header.
Result<void> MetadataJournal::begin_log(std::uint64_t durable_bytes) {
  Header changed = header_;
  changed.log_version = kLogVersion;
  changed.log_guid = Guid::random();
  if (changed.log_length == 0) {
    VHDXM_TRY(const Placement place, space_.allocate(kMiB));
    changed.log_offset = place.offset;
    changed.log_length = kMiB;
  }
  VHDXM_TRY_VOID(file_.allocate(changed.log_offset, changed.log_length));
  LogWriter log(file_, changed.log_offset, changed.log_length, changed.log_guid);
  VHDXM_TRY_VOID(log.append({}, {.durable = durable_bytes, .needed = space_.file_bytes()}));
  VHDXM_TRY_VOID(flush());
  VHDXM_TRY(header_, update_headers(file_, changed));
  log_.emplace(std::move(log));
  return {};
}

Result<void> MetadataJournal::close() {
  if (!in_session_) return kept_error();
  VHDXM_TRY_VOID(commit());
  return keep(finish());
}

Result<void> MetadataJournal::finish() {
  if (log_) {
    VHDXM_TRY_VOID(flush());
    Header changed = header_;
    changed.log_guid = Guid{};
    VHDXM_TRY(header_, update_headers(file_, changed));
    log_.reset();
  }
  in_session_ = false;
  if (!options_.give_room_back) return {};
  // No log names a size any more, so the file may shrink.
  const std::uint64_t used = space_.used_end();
  VHDXM_TRY(const std::uint64_t bytes, file_.size());
  if (used < bytes) {
    VHDXM_TRY_VOID(file_.resize(used));
    VHDXM_TRY_VOID(flush());
  }
  return {};
}

}  // namespace vhdxm::vhdx
