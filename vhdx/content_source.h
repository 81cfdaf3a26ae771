// The content of a disk, whatever holds it: a VHDX with its parents, or a raw file.
//
// What compare, export and import read from: a size, runs of data and of zeros, and bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "vhdx/image.h"

namespace vhdxm::vhdx {

/// Units: bytes. Invariant: length > 0.
struct ContentRun {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool is_zero = false;  ///< Known to read as zero without looking; data may be zeros too.

  std::uint64_t end() const { return offset + length; }
  friend bool operator==(const ContentRun&, const ContentRun&) = default;
};

/// Thread safety: all members may be called from several threads.
class ContentSource {
 public:
  virtual ~ContentSource() = default;

  /// Units: bytes.
  virtual std::uint64_t size_bytes() const = 0;

  /// Appends the runs from `offset` on to `out`, in order, without gaps, as many as come cheaply.
  /// Returns where they end: after `offset`, at most the size.
  /// Requires: offset < size_bytes().
  virtual Result<std::uint64_t> runs(std::uint64_t offset, std::vector<ContentRun>& out) = 0;

  /// Fills `out` with the content at `offset`. Requires: the range lies inside the content.
  virtual Result<void> read(std::uint64_t offset, std::span<std::byte> out) = 0;

  /// What a person calls it: the path.
  virtual const std::string& name() const = 0;
};

enum class ContentFormat : std::uint8_t {
  kAuto,  ///< VHDX if the file begins with its signature, else raw.
  kVhdx,
  kRaw,
};

/// Opens the content at `path` for reading; a VHDX with its parents, its log replayed in memory.
/// A raw disk whose guest may write what it likes should be opened as kRaw: a guest could make its
/// first sector look like a VHDX. Errors: the file's, those of Image::open().
Result<std::unique_ptr<ContentSource>> open_content(const std::string& path, ContentFormat format);

/// The same over what is open already.
std::unique_ptr<ContentSource> content_of(std::unique_ptr<Image> image);
/// Errors: of asking for the size.
Result<std::unique_ptr<ContentSource>> content_of_raw(std::shared_ptr<File> file);

/// Walks over a source's runs, which may be cut where the caller needs them cut.
class RunCursor {
 public:
  /// Requires: `source` outlives this.
  explicit RunCursor(ContentSource& source) : source_(source) {}

  /// The run at `offset`, from `offset` on. Offsets must not go back.
  /// Requires: offset < source.size_bytes().
  Result<ContentRun> at(std::uint64_t offset);

 private:
  ContentSource& source_;
  std::vector<ContentRun> runs_;
  std::size_t next_ = 0;
};

}  // namespace vhdxm::vhdx
