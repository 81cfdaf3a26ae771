// A file on trial: changes are made in memory and remembered, then carried out on the real file.
//
// What a repair would do is tried on this, and the result is judged, before a byte of the disk is
// touched. Since what is carried out later is what was remembered, the trial is the real thing.
#pragma once

#include <memory>
#include <vector>

#include "base/file.h"
#include "vhdx/overlay_file.h"

namespace vhdxm::vhdx {

/// Units: bytes of a file. Half-open.
struct FileRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  friend bool operator==(const FileRange&, const FileRange&) = default;
};

/// Memory: 4 KiB for each sector changed, and once more the bytes of every write.
/// Thread safety: reads from several threads, once nothing is changed any more.
class RehearsalFile final : public File {
 public:
  /// Errors: of asking the base for its size.
  static Result<std::unique_ptr<RehearsalFile>> over(std::shared_ptr<File> base);

  Result<std::size_t> read_some_at(std::uint64_t offset, std::span<std::byte> out) override;
  Result<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) override;
  Result<void> sync() override;
  Result<std::uint64_t> size() override { return size_bytes_; }
  Result<void> resize(std::uint64_t size_bytes) override;
  Result<void> allocate(std::uint64_t offset, std::uint64_t length) override;
  Result<void> punch_hole(std::uint64_t offset, std::uint64_t length) override;
  Result<DataRun> next_data(std::uint64_t offset) override;
  const std::string& name() const override { return base_->name(); }

  /// Carries out every change and flush on `file`, in their order.
  Result<void> perform_on(File& file) const;

  /// What of the base is overwritten: sorted, apart from each other.
  std::vector<FileRange> overwritten() const;
  /// What of the base is made zero or cut off: likewise; may meet what is overwritten.
  std::vector<FileRange> cleared() const;
  /// Both.
  std::vector<FileRange> changed() const;

  File& base() const { return *base_; }
  std::uint64_t base_bytes() const { return base_bytes_; }

 private:
  enum class Kind : std::uint8_t { kWrite, kResize, kPunchHole, kSync };
  struct Operation {
    Kind kind = Kind::kSync;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;  ///< kResize: the new size.
    std::vector<std::byte> bytes = {};
  };

  RehearsalFile(std::shared_ptr<File> base, std::unique_ptr<OverlayFile> view,
                std::uint64_t size_bytes)
      : base_(std::move(base)),
        view_(std::move(view)),
        base_bytes_(size_bytes),
        size_bytes_(size_bytes) {}

  Result<void> lay_over(std::uint64_t offset, std::span<const std::byte> bytes);
  Result<void> clear(std::uint64_t begin, std::uint64_t end);
  std::vector<FileRange> merged(std::vector<FileRange> ranges) const;

  const std::shared_ptr<File> base_;
  const std::unique_ptr<OverlayFile> view_;
  const std::uint64_t base_bytes_;
  std::uint64_t size_bytes_;
  std::vector<Operation> operations_;
  std::vector<FileRange> cleared_;
};

}  // namespace vhdxm::vhdx
