// A disk that is arriving: applies frames from any stream, and accounts for every byte.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/directory.h"
#include "transfer/coverage.h"
#include "transfer/ledger.h"
#include "transfer/messages.h"
#include "vhdx/bulk_writer.h"

namespace vhdxm::transfer {

/// Lives as `NAME.partial` until commit(). If destroyed before, the file is removed.
///
/// Thread safety: apply() from several threads at once; the others from one thread, seal() and
/// later only when no apply() is under way.
class IncomingDisk {
 public:
  /// What the file is given when it gets its name.
  struct Ownership {
    std::optional<std::uint32_t> uid;
    std::optional<std::uint32_t> gid;
    std::uint32_t mode = 0600;
  };

  /// Makes the partial file, locked; a partial that no living job holds is replaced.
  /// `offer`: as the sender described it, its locator already fit for this folder.
  /// Errors: Errc::kBusy if another job is receiving that name; ENOSPC; the file's.
  static Result<std::unique_ptr<IncomingDisk>> start(const Directory& folder,
                                                     const OfferDisk& offer, vhdx::BlockPlan plan,
                                                     std::uint64_t hash_seed);
  ~IncomingDisk();
  IncomingDisk(const IncomingDisk&) = delete;
  IncomingDisk& operator=(const IncomingDisk&) = delete;

  /// Checks the frame (range, account, hash of the payload) and writes it. Errors are sticky: after
  /// one, every call fails. Errc::kProtocol, kChecksum, kDestinationIo and the file's.
  Result<void> apply(const FrameHeader& frame, std::span<const std::byte> payload);

  /// Makes all that was applied before the call durable.
  Result<void> sync();
  /// Holds the sender's account against this one, then completes the file, durably.
  /// Errors: Errc::kLedgerMismatch.
  Result<Hash128> seal(const EndDisk& end);
  /// Gives the sealed file its name. Errors: EEXIST.
  Result<void> commit(const Ownership& ownership);

  const std::string& name() const { return offer_.name; }
  /// Where the file is now.
  std::string path() const;
  std::uint64_t virtual_bytes() const { return offer_.description.geometry.virtual_size_bytes; }
  std::uint64_t applied_bytes() const { return applied_.load(std::memory_order_relaxed); }
  std::uint64_t payload_bytes() const { return payload_.load(std::memory_order_relaxed); }

 private:
  IncomingDisk(const Directory& folder, OfferDisk offer, std::uint64_t hash_seed);
  Result<void> apply_unchecked(const FrameHeader& frame, std::span<const std::byte> payload);

  const Directory& folder_;
  const OfferDisk offer_;
  const std::uint64_t hash_seed_;
  const std::string partial_name_;
  std::shared_ptr<PosixFile> file_;
  std::unique_ptr<vhdx::BulkWriter> writer_;
  bool committed_ = false;
  std::atomic<std::uint64_t> applied_{0};  ///< Bytes of the disk's range.
  std::atomic<std::uint64_t> payload_{0};  ///< Bytes of payload.
  std::mutex mutex_;
  // State below is protected by mutex_.
  Coverage coverage_;
  Ledger ledger_;
  std::optional<Error> failure_;
};

}  // namespace vhdxm::transfer
