// A file with other bytes laid over it: what a file would be after its log was replayed.
//
// Spec: [MS-VHDX] 2.3.3 and <5>: a file that may not be written is replayed in memory. Zero ranges
// are kept as ranges and growth as a number, so nothing is allocated by a length in the file.
#pragma once

#include <array>
#include <map>
#include <memory>

#include "base/file.h"

namespace vhdxm::vhdx {

/// Memory: 4 KiB for each sector replaced.
/// Thread safety: as File, once replace(), zero() and grow() are done.
class OverlayFile final : public File {
 public:
  static constexpr std::uint64_t kSectorBytes = 4096;
  using Sector = std::array<std::byte, kSectorBytes>;

  /// Errors: of asking the base for its size.
  static Result<std::unique_ptr<OverlayFile>> over(std::shared_ptr<File> base);

  /// Requires of the three: multiples of kSectorBytes; offset + length does not wrap.
  /// The file grows to hold the range.
  void replace(std::uint64_t offset, const Sector& content);
  void zero(std::uint64_t offset, std::uint64_t length);
  /// Makes the file at least `size_bytes` long.
  void grow(std::uint64_t size_bytes);

  /// Writes what is laid over into `target`, which has the base's content. Not durable before
  /// target.sync(). Doing it again after a crash on the way leads to the same file.
  Result<void> apply_to(File& target) const;

  Result<std::size_t> read_some_at(std::uint64_t offset, std::span<std::byte> out) override;
  Result<std::uint64_t> size() override { return size_bytes_; }
  Result<DataRun> next_data(std::uint64_t offset) override;
  const std::string& name() const override { return base_->name(); }

  // All that would change the file fail with Errc::kReadOnly.
  Result<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) override;
  Result<void> sync() override;
  Result<void> resize(std::uint64_t size_bytes) override;
  Result<void> allocate(std::uint64_t offset, std::uint64_t length) override;
  Result<void> punch_hole(std::uint64_t offset, std::uint64_t length) override;

 private:
  OverlayFile(std::shared_ptr<File> base, std::uint64_t size_bytes)
      : base_(std::move(base)), base_bytes_(size_bytes), size_bytes_(size_bytes) {}

  const std::shared_ptr<File> base_;
  const std::uint64_t base_bytes_;
  std::uint64_t size_bytes_;
  std::map<std::uint64_t, std::unique_ptr<Sector>> sectors_;  ///< By offset; above the zeros.
  std::map<std::uint64_t, std::uint64_t> zeros_;  ///< Begin to end; apart from each other.
};

}  // namespace vhdxm::vhdx
