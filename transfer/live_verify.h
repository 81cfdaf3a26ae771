// Reads disks in use again, at both sides, and holds one against the other (--verify).
//
// Between two passes, when nothing is on its way: page after page, each side from its own disk. A
// page that the destination reads otherwise was either written meanwhile, and is marked dirty by
// the time that every write which could have been seen has finished, or it is not what was sent.
// Then the job ends, before anything is handed over. Why not after the hand-over:
// docs/decisions/008.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/buffer_pool.h"
#include "transfer/live_source.h"
#include "transfer/messages.h"

namespace vhdxm::transfer {

/// Which thread calls what is said there.
class LiveVerify {
 public:
  /// `source`: lives longer.
  LiveVerify(LiveSource& source, std::uint64_t hash_seed);

  // On the job's worker. Block.
  /// What the source reads next; nothing: all of it was. Errors: the disk's.
  Result<std::optional<VerifyRange>> read_next();
  /// Of pages that the destination reads otherwise, how many bytes were written meanwhile.
  /// Requires: nobody has taken dirty pages since the range was read. Errors:
  /// Errc::kVerifyMismatch, naming the disk and the page that nobody wrote.
  Result<std::uint64_t> left_out(std::uint32_t disk, std::uint64_t offset,
                                 const std::vector<std::uint32_t>& differing);

  // On the control thread.
  /// Whether read_next() is to be called: not while it runs, nor when `unanswered` are enough.
  bool begin_read(std::size_t unanswered);
  /// What it returned.
  void on_read(const std::optional<VerifyRange>& range);
  /// What left_out() returned.
  void on_compared(std::uint64_t left_out_bytes) { left_out_bytes_ += left_out_bytes; }
  /// Nothing is left to ask about.
  bool all_read() const { return all_read_; }
  /// Bytes of data that were read, holes not counted.
  std::uint64_t read_bytes() const { return read_bytes_; }
  std::uint64_t left_out_bytes() const { return left_out_bytes_; }

 private:
  LiveSource& source_;
  const std::uint64_t hash_seed_;
  // On the worker.
  BufferPool pool_{kVerifyHashesMax * kVerifyPageBytes, 1};
  std::uint32_t disk_ = 0;
  std::uint64_t at_ = 0;
  // On the control thread.
  bool reading_ = false;
  bool all_read_ = false;
  std::uint64_t read_bytes_ = 0;
  std::uint64_t left_out_bytes_ = 0;
};

}  // namespace vhdxm::transfer
