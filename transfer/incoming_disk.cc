#include "transfer/incoming_disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/check.h"
#include "transfer/errc.h"

namespace vhdxm::transfer {
namespace {

vhdx::ExtentKind extent_kind(FrameKind kind) {
  switch (kind) {
    case FrameKind::kZero:
      return vhdx::ExtentKind::kZero;
    case FrameKind::kTransparent:
      return vhdx::ExtentKind::kParent;
    default:
      return vhdx::ExtentKind::kUnmapped;
  }
}

// A frame that the block plan has no place for: it is the peer that is wrong, not this host.
Result<void> blame_peer(Result<void> applied) {
  if (!applied.has_error()) return applied;
  Error error = std::move(applied).error();
  if (error.code == BaseErrc::kInvalidArgument || error.code == BaseErrc::kOutOfRange) {
    error.code = Errc::kProtocol;
  }
  return error;
}

// Takes the place of a partial that a dead job left; one that a living job holds is its own.
Result<std::shared_ptr<PosixFile>> make_partial(const Directory& folder, const std::string& name) {
  VHDXM_TRY(const bool exists, folder.exists(name));
  if (exists) {
    VHDXM_TRY(const auto stale, folder.open_file(name, {.access = PosixFile::Access::kReadWrite}));
    if (stale->lock_exclusive().has_error()) {
      return Error{.code = Errc::kBusy,
                   .where = "another job is receiving this disk now",
                   .subject = folder.path_of(name)};
    }
    VHDXM_TRY_VOID(folder.remove(name));
  }
  VHDXM_TRY(std::shared_ptr<PosixFile> file, folder.create_file(name, true));
  VHDXM_TRY_VOID(file->lock_exclusive());
  return file;
}

}  // namespace

IncomingDisk::IncomingDisk(const Directory& folder, OfferDisk offer, std::uint64_t hash_seed)
    : folder_(folder),
      offer_(std::move(offer)),
      hash_seed_(hash_seed),
      partial_name_(offer_.name + ".partial"),
      coverage_(offer_.description.geometry.virtual_size_bytes),
      ledger_(hash_seed) {}

Result<std::unique_ptr<IncomingDisk>> IncomingDisk::start(const Directory& folder,
                                                          const OfferDisk& offer,
                                                          vhdx::BlockPlan plan,
                                                          std::uint64_t hash_seed) {
  auto disk = std::unique_ptr<IncomingDisk>(new IncomingDisk(folder, offer, hash_seed));
  VHDXM_TRY(disk->file_, make_partial(folder, disk->partial_name_));
  VHDXM_TRY(disk->writer_, vhdx::BulkWriter::start(disk->file_, offer.description, std::move(plan),
                                                   {.preallocate = true}));
  return disk;
}

IncomingDisk::~IncomingDisk() {
  if (committed_ || !file_) return;
  // What is not complete is removed; if that fails, its name still says what it is.
  if (folder_.remove(partial_name_).has_error()) return;
  (void)folder_.sync().has_error();
}

std::string IncomingDisk::path() const {
  return folder_.path_of(committed_ ? offer_.name : partial_name_);
}

Result<void> IncomingDisk::apply(const FrameHeader& frame, std::span<const std::byte> payload) {
  {
    const std::lock_guard lock(mutex_);
    if (failure_) return *failure_;
    // Accounted for before it is written: an overlap must not reach the file.
    auto fresh = coverage_.add(frame.virtual_offset, frame.raw_length);
    if (fresh.has_error()) failure_ = std::move(fresh).error().about(path());
    if (failure_) return *failure_;
  }
  auto applied = apply_unchecked(frame, payload);
  const std::lock_guard lock(mutex_);
  if (applied.has_error()) {
    if (!failure_) failure_ = std::move(applied).error().about(path());
    return *failure_;
  }
  ledger_.add(frame);
  applied_.fetch_add(frame.raw_length, std::memory_order_relaxed);
  payload_.fetch_add(payload.size(), std::memory_order_relaxed);
  return {};
}

Result<void> IncomingDisk::apply_unchecked(const FrameHeader& frame,
                                           std::span<const std::byte> payload) {
  if (frame.kind != FrameKind::kData) {
    return blame_peer(
        writer_->mark(extent_kind(frame.kind), frame.virtual_offset, frame.raw_length));
  }
  if (hash128(payload, hash_seed_) != frame.hash) {
    return Error{.code = Errc::kChecksum,
                 .where = "payload of the extent at this byte of the disk",
                 .offset = frame.virtual_offset};
  }
  return blame_peer(writer_->write(frame.virtual_offset, payload));
}

Result<void> IncomingDisk::sync() {
  auto synced = writer_->sync();
  if (synced.has_error()) {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = synced.error();
  }
  return synced;
}

Result<Hash128> IncomingDisk::seal(const EndDisk& end) {
  {
    const std::lock_guard lock(mutex_);
    if (failure_) return *failure_;
    if (!coverage_.complete()) {
      return Error{.code = Errc::kLedgerMismatch,
                   .where = "a range of the disk never came",
                   .offset = coverage_.first_gap(),
                   .subject = path()};
    }
    if (ledger_.sum() != end.ledger || ledger_.entries() != end.entries ||
        end.raw_bytes != virtual_bytes()) {
      return Error{.code = Errc::kLedgerMismatch,
                   .where = "ledger of the disk: entries",
                   .found = ledger_.entries(),
                   .expected = end.entries,
                   .subject = path()};
    }
  }
  VHDXM_TRY_VOID(writer_->seal());
  return ledger_.sum();
}

Result<void> IncomingDisk::commit(const Ownership& ownership) {
  if (ownership.uid || ownership.gid) {
    const uid_t uid = ownership.uid ? *ownership.uid : static_cast<uid_t>(-1);
    const gid_t gid = ownership.gid ? *ownership.gid : static_cast<gid_t>(-1);
    if (::fchown(file_->fd(), uid, gid) != 0) return errno_error("set the owner").about(path());
  }
  if (::fchmod(file_->fd(), ownership.mode) != 0) {
    return errno_error("set the file mode").about(path());
  }
  VHDXM_TRY_VOID(file_->sync());
  VHDXM_TRY_VOID(folder_.rename_no_replace(partial_name_, offer_.name));
  committed_ = true;
  return folder_.sync();
}

}  // namespace vhdxm::transfer
