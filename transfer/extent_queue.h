// What is left to send of a disk, pulled by the streams; and what is under way on each of them.
//
// Streams pull from one queue, so a slow one slows nobody. An extent is owed until the receiver
// says that it is written: what a broken stream did not get across goes back into the queue, to be
// read again and sent by any other. Credit, in bytes of payload, bounds what is under way.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <span>
#include <vector>

#include "base/result.h"
#include "transfer/errc.h"
#include "transfer/frame.h"
#include "transfer/ledger.h"
#include "vhdx/disk_view.h"
#include "vhdx/extent.h"

namespace vhdxm::transfer {

/// A piece of a disk for one stream to send.
struct WorkItem {
  FrameKind kind = FrameKind::kData;
  std::uint64_t virtual_offset = 0;
  std::uint64_t length = 0;       ///< Bytes; at most the extent size if kData.
  File* file = nullptr;           ///< kData: where to read it.
  std::uint64_t file_offset = 0;  ///< kData.
};

/// Thread safety: all members may be called from any thread.
class ExtentQueue {
 public:
  /// Work for one stream to do next; the payload of all items together fits one extent.
  struct Batch {
    std::vector<WorkItem> items;
    std::uint64_t payload_bytes = 0;
    std::uint32_t disk = 0;
    std::uint64_t credit_used = 0;
  };
  enum class Pull : std::uint8_t {
    kBatch,
    kIdle,     ///< Nothing within the time given: no work or no credit. Ask again.
    kStopped,  ///< The job is over.
  };

  /// `on_disk_sent`: called, from the thread that acknowledges, when all of a disk is written.
  ExtentQueue(std::uint32_t extent_bytes, std::uint64_t credit_bytes, std::uint64_t hash_seed,
              std::function<void(std::uint32_t disk, const Ledger&)> on_disk_sent);

  /// Makes `view` the disk that streams pull from. Requires: the disk before it is sent.
  void begin_disk(std::uint32_t disk, vhdx::DiskView& view);

  /// The next work, waiting at most `wait`. Errors: of reading the map.
  Result<Pull> pull(Batch& out, std::chrono::milliseconds wait);

  /// Notes what a stream is about to put on the wire of `batch`: together the frames cover it, and
  /// credit for what turned out to be zero comes back.
  /// To be called before the bytes go out, so that no acknowledgement comes earlier.
  struct Sent {
    FrameHeader header;
    WorkItem again;  ///< How to send it again.
  };
  void note_sent(std::uint32_t stream, const Batch& batch, std::span<const Sent> frames);

  /// The receiver has applied `frames` frames of `stream`, from its first.
  /// Errors: Errc::kProtocol if it was never sent that many, or counts back.
  Result<void> acknowledge(std::uint32_t stream, std::uint64_t frames);
  /// The stream is gone; all after its first `frames` frames is sent again. Returns the bytes.
  Result<std::uint64_t> requeue(std::uint32_t stream, std::uint64_t frames);
  /// A batch that could not be sent at all.
  void give_back(Batch batch);

  void add_credit(std::uint64_t bytes);
  /// What the receiver still owes an acknowledgement for, and how many frames it acknowledged.
  struct StreamState {
    std::uint64_t acknowledged = 0;  ///< Frames.
    std::uint64_t in_flight = 0;     ///< Frames.
  };
  StreamState stream_state(std::uint32_t stream) const;
  /// Ends every pull() with kStopped.
  void stop();
  bool stopped() const;

 private:
  struct Stream {
    std::uint64_t acknowledged = 0;
    std::deque<Sent> in_flight;
  };

  Result<void> refill_locked();
  bool take_locked(Batch& out);
  Result<void> acknowledge_locked(std::uint32_t stream, std::uint64_t frames);
  void finish_if_sent(std::unique_lock<std::mutex>& lock);

  const std::uint32_t extent_bytes_;
  const std::uint64_t hash_seed_;
  const std::function<void(std::uint32_t, const Ledger&)> on_disk_sent_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // State below is protected by mutex_.
  std::uint64_t credit_;
  bool stopped_ = false;
  bool active_ = false;  ///< A disk is being sent.
  std::uint32_t disk_ = 0;
  vhdx::DiskView* view_ = nullptr;
  std::uint64_t mapped_to_ = 0;  ///< The virtual offset up to which the map was read.
  std::deque<WorkItem> ready_;
  std::map<std::uint32_t, Stream> streams_;
  std::uint64_t in_flight_ = 0;   ///< Frames on all streams.
  std::uint64_t handed_out_ = 0;  ///< Items pulled whose frames are not noted yet.
  Ledger ledger_;
};

}  // namespace vhdxm::transfer
