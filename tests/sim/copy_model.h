// A job's data on its way: what the copier reads and sends, over which stream, what the other side
// has applied, and what both keep account of.
//
// It keeps the rules of the engine: a page is taken before it is read; a pass begins when all of
// the one before is acknowledged; a copy and a mirrored write of one page wait for each other; a
// broken stream's frames go again only when its other end has nothing left to write. With a planted
// fault it breaks one of them.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "base/hash128.h"
#include "tests/sim/model_host.h"
#include "transfer/dirty_map.h"

namespace vhdxm::sim {

/// A rule that is broken, by what the simulator does around the objects.
enum class Planted : std::uint8_t {
  kNone,
  kStalePrepared,        ///< Any Prepared is taken for the one of this attempt.
  kMarkBeforeWrite,      ///< A page is marked before the write lands.
  kWriteAfterLedger,     ///< A write is let through between the ledgers and the release.
  kReadOvertakesMirror,  ///< A copy does not wait for a mirrored write of its page.
  kDeadStreamWrites,     ///< A broken stream is called drained while it has a frame to write.
};
const char* to_string(Planted planted);

class CopyModel {
 public:
  struct Frame {
    std::uint32_t disk = 0;
    std::uint32_t page = 0;
    std::uint64_t value = 0;
    std::uint64_t mirrored = 0;  ///< The number of the guest's write; 0: a copy.
  };
  /// A guest's write that was mirrored is at the other side, or its stream broke: dirty again.
  struct MirrorAnswer {
    std::uint64_t write = 0;
    bool marked = false;
  };

  CopyModel(Planted planted, std::size_t disk_count) : planted_(planted) {
    for (std::size_t i = 0; i < disk_count; ++i) {
      maps_.push_back(std::make_unique<transfer::DirtyMap>(kPages * transfer::kDirtyPageBytes));
    }
  }

  /// A job begins, or both ends met again: everything is to be reconciled. Requires: quiet(), after
  /// cut().
  void restart();
  /// The connection is gone: nothing more arrives, and what came goes on to be written.
  void cut();
  /// The destination's process is gone.
  void target_died();

  void mark(std::uint32_t disk, std::uint32_t page);
  void reserve(std::uint32_t disk, std::uint32_t page);
  bool locked(std::uint32_t disk, std::uint32_t page) const { return locks_[index(disk, page)]; }
  /// What landed on the page, and is marked, goes before its turn: it is taken, read and sent.
  /// False: that stream is broken. Requires: not locked.
  bool hasten(std::uint32_t disk, std::uint32_t page, const std::vector<PageStore>& disks,
              std::uint64_t write, std::uint32_t stream);
  std::vector<MirrorAnswer> take_answers() { return std::exchange(answers_, {}); }

  // Events; false if there was nothing to do.
  bool take_page();  ///< Of the map, to be read.
  bool read_page(const std::vector<PageStore>& disks, std::mt19937_64& random);
  bool send_page(std::uint32_t stream, std::mt19937_64& random);
  bool arrive(std::uint32_t stream);
  bool apply(std::uint32_t stream, std::vector<PageStore>& disks);
  bool acknowledge(std::uint32_t stream);
  bool break_stream(std::uint32_t stream);
  bool drain(std::uint32_t stream);
  bool apply_late(std::vector<PageStore>& disks);  ///< Of streams that were called drained.

  /// All is at the other side, and this side knows.
  bool clean() const;
  /// The other side has nothing to write, as far as it knows.
  bool quiet() const;
  bool late() const { return !late_.empty(); }
  Hash128 sent(std::uint32_t disk) const { return sent_[disk]; }
  Hash128 applied(std::uint32_t disk) const { return applied_[disk]; }

  static constexpr std::uint32_t kStreams = 2;

 private:
  struct Stream {
    std::deque<Frame> unacked;
    std::deque<Frame> network;
    std::deque<Frame> queue;
    std::uint64_t applied = 0;  ///< Of unacked, those that are applied.
    bool broken = false;
  };
  struct Reading {
    Frame frame = {};
    bool read = false;
  };

  static std::size_t index(std::uint32_t disk, std::uint32_t page) { return disk * kPages + page; }
  static void add(std::vector<Hash128>& ledger, const Frame& frame);
  void unlock(const Frame& frame);
  void give_up(const Frame& frame);
  void confirm(Stream& stream);

  const Planted planted_;
  std::vector<std::unique_ptr<transfer::DirtyMap>> maps_;
  std::vector<bool> locks_ = std::vector<bool>(4 * kPages);
  std::vector<Reading> readings_;
  std::array<Stream, kStreams> streams_;
  std::deque<Frame> late_;
  std::vector<Hash128> sent_ = std::vector<Hash128>(4);
  std::vector<Hash128> applied_ = std::vector<Hash128>(4);
  std::vector<MirrorAnswer> answers_;
  std::uint32_t cursor_disk_ = 0;
  std::uint64_t cursor_ = 0;
};

}  // namespace vhdxm::sim
