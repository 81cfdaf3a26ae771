// A file in memory, sparse, for tests and fuzzing.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <shared_mutex>
#include <vector>

#include "base/file.h"

namespace vhdxm {

/// Holds only the 4 KiB pages that were written, so a 64 TiB file costs what is in it.
class MemoryFile final : public File {
 public:
  explicit MemoryFile(std::string name = "memory") : name_(std::move(name)) {}
  MemoryFile(std::string name, std::span<const std::byte> content);

  /// A file with this one's content, changed apart from it. Costs the number of its pages, not
  /// their bytes: pages are shared until one of the two is written.
  std::shared_ptr<MemoryFile> clone() const;

  Result<std::size_t> read_some_at(std::uint64_t offset, std::span<std::byte> out) override;
  Result<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) override;
  Result<void> sync() override { return {}; }
  Result<std::uint64_t> size() override;
  Result<void> resize(std::uint64_t size_bytes) override;
  Result<void> allocate(std::uint64_t offset, std::uint64_t length) override;
  Result<void> punch_hole(std::uint64_t offset, std::uint64_t length) override;
  Result<DataRun> next_data(std::uint64_t offset) override;
  const std::string& name() const override { return name_; }

 private:
  static constexpr std::size_t kPageBytes = 4096;
  using Page = std::array<std::byte, kPageBytes>;

  /// The page, for this file alone to change.
  static Page& own(std::shared_ptr<Page>& page);
  void zero_locked(std::uint64_t offset, std::uint64_t length);

  const std::string name_;
  mutable std::shared_mutex mutex_;
  // State below is protected by mutex_.
  std::map<std::uint64_t, std::shared_ptr<Page>> pages_;  ///< By page index.
  std::uint64_t size_bytes_ = 0;
};

}  // namespace vhdxm
