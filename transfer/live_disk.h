// A disk in use that can move: the image, a map of what was written, and a gate for its writes.
//
// A write enters the gate, changes the image, is marked if the gate says so, and leaves the gate;
// then it is acknowledged. So whoever takes a page from the map before reading it never misses a
// write that anybody was told of.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "transfer/dirty_map.h"
#include "transfer/mirrored_writes.h"
#include "transfer/shared_gate.h"
#include "vhdx/disk_writer.h"
#include "vhdx/image.h"

namespace vhdxm::transfer {

/// Thread safety: all members may be called from any thread, but close() when no other call is
/// under way. Memory of the dirty map: see there.
/// Errors of all that change the disk: EPERM from the gate, EROFS of a disk that was opened
/// read-only, BaseErrc::kInvalidArgument for ranges outside the disk or not of whole sectors; those
/// of DiskWriter. Lack of memory is thrown (std::bad_alloc), before anything was changed.
class LiveDisk {
 public:
  struct Options {
    bool read_only = false;  ///< The file is not touched, not even to replay its log.
    bool direct = false;     ///< PosixFile::Options::direct.
  };
  enum class Durability : std::uint8_t {
    kAtFlush,  ///< With the next flush().
    kNow,      ///< Before the call returns ("force unit access").
  };
  enum class Zeroing : std::uint8_t {
    kMayTrim,  ///< Room may be given back.
    kKeepRoom  ///< Room is there afterwards, so that a later write needs none.
  };

  /// Opens the disk at `path` and its parents, takes the file's lock, proves the allocation tables,
  /// and replays the log on the file. `gate` may be that of other disks too.
  /// Errors: vhdx::Errc::kInUse; BaseErrc::kInvalidArgument of a copy that was released to another
  /// host; those of vhdx::DiskWriter::open() and Image::open().
  static Result<std::unique_ptr<LiveDisk>> open(const std::string& path,
                                                std::shared_ptr<SharedGate> gate,
                                                const Options& options);
  /// The same over a disk that is open.
  LiveDisk(std::unique_ptr<vhdx::DiskWriter> disk, std::shared_ptr<SharedGate> gate);
  /// One that is only read.
  explicit LiveDisk(std::unique_ptr<vhdx::Image> disk);
  ~LiveDisk();
  LiveDisk(const LiveDisk&) = delete;
  LiveDisk& operator=(const LiveDisk&) = delete;

  const vhdx::Description& description() const;
  const vhdx::Geometry& geometry() const { return description().geometry; }
  std::uint64_t size_bytes() const { return geometry().virtual_size_bytes; }
  const std::string& name() const;
  bool read_only() const { return writer_ == nullptr; }

  /// Any range of bytes inside the disk.
  Result<void> read(std::uint64_t offset, std::span<std::byte> out);
  /// Whole sectors, for a copy of the disk: as File::read_passing_at(). Requires: not read-only.
  Result<void> read_passing(std::uint64_t offset, std::span<std::byte> out);
  Result<void> write(std::uint64_t offset, std::span<const std::byte> bytes, Durability durability);
  Result<void> write_zeroes(std::uint64_t offset, std::uint64_t length, Zeroing zeroing,
                            Durability durability);
  /// Whether write_zeroes() costs less than writing that many zeros.
  bool zeroes_fast(Zeroing zeroing) const;
  /// Any range of bytes: sectors that it holds in part keep their content.
  Result<void> trim(std::uint64_t offset, std::uint64_t length, Durability durability);
  /// Makes durable what was done before the call, by whatever thread or connection.
  Result<void> flush();

  /// As vhdx::DiskWriter::begin_writing(), so that the first write waits less. Requires: not
  /// read-only.
  Result<void> begin_writing();

  /// As vhdx::DiskWriter::map(): data, zero or unmapped, in whole sectors.
  Result<std::uint64_t> map(std::uint64_t offset, std::uint64_t length,
                            std::vector<vhdx::Extent>& out, std::size_t extents_max);

  /// What was written since writes are tracked.
  DirtyMap& dirty() { return dirty_; }
  SharedGate& gate() { return *gate_; }
  /// From now on what changes the disk, and is marked, goes there too before it is acknowledged;
  /// null: not any more, but calls that are under way may still be there.
  void set_mirror(std::shared_ptr<WriteMirror> mirror);

  /// Flushes, and leaves a file with an empty log. Afterwards every call that changes something
  /// fails with vhdx::Errc::kClosed.
  Result<void> close();

 private:
  Result<void> check_inside(std::uint64_t offset, std::uint64_t length) const;
  Result<void> check_change(std::uint64_t offset, std::uint64_t length) const;
  template <class Change>
  Result<void> change(std::uint64_t offset, std::uint64_t length, Durability durability,
                      Change apply);
  void mirror(std::uint64_t offset, std::uint64_t length);
  Result<void> read_sectors(std::uint64_t offset, std::span<std::byte> out);
  Result<void> write_zero_bytes(std::uint64_t offset, std::uint64_t length);

  const std::unique_ptr<vhdx::DiskWriter> writer_;  ///< Null if it is only read.
  const std::unique_ptr<vhdx::Image> image_;        ///< Null if it is written.
  const std::shared_ptr<SharedGate> gate_;
  DirtyMap dirty_;
  std::mutex mirror_mutex_;
  std::shared_ptr<WriteMirror> mirror_;  ///< Protected by mirror_mutex_.
  std::atomic<bool> mirrored_{false};    ///< Whether it is worth a look.
};

}  // namespace vhdxm::transfer
