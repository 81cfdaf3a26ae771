#include "transfer/incoming_disk.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "transfer/errc.h"
#include "transfer/page_compare.h"
#include "transfer/storage_folders.h"

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

// The name is nobody's: another living job has the lock of the file that has it, if there is one.
Result<std::shared_ptr<PosixFile>> lock_partial(const Directory& folder, const std::string& name) {
  VHDXM_TRY(std::shared_ptr<PosixFile> file,
            folder.open_file(name, {.access = PosixFile::Access::kReadWrite, .direct = true}));
  if (file->lock_exclusive().has_error()) {
    return Error{.code = Errc::kBusy,
                 .where = "another job is receiving this disk now",
                 .subject = folder.path_of(name)};
  }
  file->write_behind();
  return file;
}

// Room that was kept for what never came. Where it cannot be given back it stays.
void give_back_room(PosixFile& file) {
  const auto size = file.size();
  for (std::uint64_t at = 0; size.has_value() && at < *size;) {
    const auto run = file.next_data(at);
    if (run.has_error()) return;
    if (run->begin > at && file.punch_hole(at, run->begin - at).has_error()) return;
    at = run->end;
  }
}

std::uint64_t sum_of(const std::vector<HeldRange>& ranges) {
  std::uint64_t bytes = 0;
  for (const HeldRange& range : ranges) bytes += range.length;
  return bytes;
}

bool begins_before(const HeldRange& one, const HeldRange& other) {
  return one.offset < other.offset;
}

// What either list covers. Both are in order.
std::vector<HeldRange> joined(std::vector<HeldRange> one, const std::vector<HeldRange>& other) {
  const auto middle = static_cast<std::ptrdiff_t>(one.size());
  one.insert(one.end(), other.begin(), other.end());
  std::inplace_merge(one.begin(), one.begin() + middle, one.end(), begins_before);
  std::vector<HeldRange> out;
  for (const HeldRange& range : one) {
    if (out.empty() || out.back().end() < range.offset) {
      out.push_back(range);
    } else {
      out.back().length = std::max(out.back().end(), range.end()) - out.back().offset;
    }
  }
  return out;
}

// As many as a sender listens to; what is left out is sent to it as if it were not here.
std::vector<HeldRange> largest(std::vector<HeldRange> ranges, std::size_t ranges_max) {
  if (ranges.size() <= ranges_max) return ranges;
  const auto end = ranges.begin() + static_cast<std::ptrdiff_t>(ranges_max);
  std::nth_element(
      ranges.begin(), end, ranges.end(),
      [](const HeldRange& one, const HeldRange& two) { return one.length > two.length; });
  ranges.erase(end, ranges.end());
  std::sort(ranges.begin(), ranges.end(), begins_before);
  return ranges;
}

}  // namespace

IncomingDisk::IncomingDisk(const Directory& folder, OfferDisk offer, std::uint64_t hash_seed,
                           JobKind kind)
    : folder_(folder),
      offer_(std::move(offer)),
      hash_seed_(hash_seed),
      partial_name_(offer_.name + ".partial"),
      kind_(kind),
      pass_(kind == JobKind::kLive ? 1 : 0),
      held_(offer_.description.geometry.virtual_size_bytes),
      coverage_(offer_.description.geometry.virtual_size_bytes),
      ledger_(hash_seed) {}

Result<std::unique_ptr<IncomingDisk>> IncomingDisk::start(
    const Directory& folder, const OfferDisk& offer, vhdx::BlockPlan plan, std::uint64_t hash_seed,
    const JobId& job_id, std::size_t held_ranges_max, JobKind kind) {
  auto disk = std::unique_ptr<IncomingDisk>(new IncomingDisk(folder, offer, hash_seed, kind));
  VHDXM_TRY(disk->state_, folder.open_or_make_folder(kStateFolderName));
  VHDXM_TRY(disk->journal_, JournalFile::claim(*disk->state_, offer.name));
  if (kind == JobKind::kLive) disk->live_plan_ = plan;
  if (!offer.seed_name.empty() && kind == JobKind::kCopy) {
    VHDXM_TRY(disk->seed_, SeedDisk::open(folder, offer.seed_name, offer.description.geometry));
  }
  VHDXM_TRY_VOID(disk->open_partial(plan, job_id));
  VHDXM_TRY_VOID(disk->find_held(std::min(held_ranges_max, kHeldRangesMax)));
  return disk;
}

// On an error what is there stays, for whoever looks into it, unless this job made it.
Result<void> IncomingDisk::open_partial(const vhdx::BlockPlan& plan, const JobId& job_id) {
  if (kind_ == JobKind::kLive) return open_live(plan, job_id);
  std::optional<JobJournal> journal;
  if (auto read = journal_->read(); read.has_value()) journal = std::move(*read);
  VHDXM_TRY(const bool exists, folder_.exists(partial_name_));
  if (exists) {
    VHDXM_TRY(file_, lock_partial(folder_, partial_name_));
    if (journal && journal->fits(offer_, plan.encoded())) {
      VHDXM_TRY(gone_on_with_, resume_partial(plan));
    }
    partial_ = gone_on_with_ ? PartialState::kResumed : PartialState::kReplaced;
    if (gone_on_with_) {
      if (journal->former) former_ = open_former(*journal->former);
      return {};
    }
  }
  VHDXM_TRY(auto former, put_aside(journal));
  file_.reset();
  if (former) former_ = open_former(*former);
  if (former_) partial_ = PartialState::kResumed;
  const auto encoded = plan.encoded();
  JobJournal now{.job_id = job_id,
                 .partial = {.offer = offer_, .plan = {encoded.begin(), encoded.end()}},
                 .former = former_ ? std::move(former) : std::nullopt};
  auto started = start_anew(plan, now);
  if (!started.has_error() || !former_) return started;
  if (started.error().code != boost::system::errc::no_space_on_device) return started;
  // There is no room for both: then without what was there before.
  former_.reset();
  now.former.reset();
  partial_ = PartialState::kReplaced;
  VHDXM_TRY_VOID(state_->remove(JournalFile::former_name(offer_.name)));
  return start_anew(plan, now);
}

Result<void> IncomingDisk::open_live(const vhdx::BlockPlan& plan, const JobId& job_id) {
  const auto encoded = plan.encoded();
  const JobJournal journal{.job_id = job_id,
                           .partial = {.offer = offer_, .plan = {encoded.begin(), encoded.end()}},
                           .former = {},
                           .kind = kind_};
  VHDXM_TRY(const bool exists, folder_.exists(partial_name_));
  if (exists) {
    VHDXM_TRY(file_, lock_partial(folder_, partial_name_));
    VHDXM_TRY(gone_on_with_, resume_live(journal));
    partial_ = gone_on_with_ ? PartialState::kResumed : PartialState::kReplaced;
    if (gone_on_with_) return {};
    file_.reset();
  }
  // What a job of the other kind put aside is of no use to this one.
  VHDXM_TRY_VOID(state_->remove(JournalFile::former_name(offer_.name)));
  return start_anew(plan, journal);
}

// False if the partial is not one to go on with. One without a journal is a copy that this host
// released earlier, and that moves back: a whole VHDX says itself what disk it is of.
Result<bool> IncomingDisk::resume_live(const JobJournal& mine) {
  const auto journal = journal_->read();
  if (journal.has_error() || (*journal && !(**journal).fits_live(offer_))) return false;
  auto disk = vhdx::DiskWriter::over(file_, {}, {.direct = true});
  if (disk.has_error()) return false;
  // What another program made of it is nobody's.
  const vhdx::Description& found = (*disk)->description();
  if (found.geometry != offer_.description.geometry ||
      found.virtual_disk_id != offer_.description.virtual_disk_id ||
      (*disk)->validate_bats().has_error()) {
    return false;
  }
  if (!*journal) VHDXM_TRY_VOID(journal_->write(mine));
  live_ = std::move(*disk);
  return true;
}

// False if the partial is not one to go on with.
Result<bool> IncomingDisk::resume_partial(const vhdx::BlockPlan& plan) {
  auto writer = vhdx::BulkWriter::resume(file_, offer_.description, plan, {.preallocate = true});
  if (writer.has_error() && writer.error().code == BaseErrc::kInvalidArgument) return false;
  if (writer.has_error()) return std::move(writer).error();
  writer_ = std::move(*writer);
  return true;
}

// Null if it cannot be used: then all of it is sent.
std::unique_ptr<SeedDisk> IncomingDisk::open_former(const BegunFile& begun) const {
  auto file = state_->open_file(JournalFile::former_name(offer_.name), {.direct = true});
  if (file.has_error()) return nullptr;
  auto former = SeedDisk::open_begun(std::move(*file), begun, offer_.description.geometry);
  return former.has_error() ? nullptr : std::move(*former);
}

// What a file that an earlier job began takes up; 0 if its cells are of no use.
std::uint64_t IncomingDisk::bytes_held_by(const Directory& folder, const std::string& name,
                                          const BegunFile& begun) const {
  if (!may_be_former(begun, offer_)) return 0;
  auto file = folder.open_file(name, {});
  if (file.has_error()) return 0;
  const std::shared_ptr<PosixFile> shared = std::move(*file);
  if (SeedDisk::open_begun(shared, begun, offer_.description.geometry).has_error()) return 0;
  std::uint64_t bytes = 0;
  for (std::uint64_t at = 0;;) {
    const auto run = shared->next_data(at);
    if (run.has_error() || run->begin >= run->end) return bytes;
    bytes += run->end - run->begin;
    at = run->end;
  }
}

// After a crash at any step here the journal speaks of another file than it should at worst, and
// what it says of that is believed only where hashes agree.
Result<std::optional<BegunFile>> IncomingDisk::put_aside(const std::optional<JobJournal>& journal) {
  const std::string former_name = JournalFile::former_name(offer_.name);
  VHDXM_TRY(const bool has_former, state_->exists(former_name));
  // What a live job left is laid out otherwise.
  const bool copied = journal && journal->kind == JobKind::kCopy;
  std::optional<BegunFile> before;  // of the former file
  if (has_former && copied) before = file_ || journal->former ? journal->former : journal->partial;
  const std::uint64_t of_partial =
      file_ && copied ? bytes_held_by(folder_, partial_name_, journal->partial) : 0;
  const std::uint64_t of_former = before ? bytes_held_by(*state_, former_name, *before) : 0;
  if (of_former >= of_partial) {
    if (of_former > 0) return before;
    if (has_former) VHDXM_TRY_VOID(state_->remove(former_name));
    return std::optional<BegunFile>();
  }
  VHDXM_TRY_VOID(state_->remove(former_name));
  give_back_room(*file_);
  if (folder_.rename_no_replace(partial_name_, *state_, former_name).has_error()) {
    return std::optional<BegunFile>();  // it may be on another file system
  }
  VHDXM_TRY_VOID(state_->sync());
  VHDXM_TRY_VOID(folder_.sync());
  return std::optional<BegunFile>(journal->partial);
}

Result<void> IncomingDisk::start_anew(const vhdx::BlockPlan& plan, const JobJournal& journal) {
  discard_ = true;  // until it is whole: half a beginning is of no use to anybody
  VHDXM_TRY_VOID(folder_.remove(partial_name_));
  VHDXM_TRY_VOID(journal_->write(journal));
  VHDXM_TRY(std::shared_ptr<PosixFile> file, folder_.create_file(partial_name_, true));
  file->write_behind();
  file_ = std::move(file);
  VHDXM_TRY_VOID(file_->lock_exclusive());
  VHDXM_TRY(writer_,
            vhdx::BulkWriter::start(file_, offer_.description, plan, {.preallocate = true}));
  if (kind_ == JobKind::kLive) {
    VHDXM_TRY_VOID(writer_->seal());
    writer_.reset();
    VHDXM_TRY(live_, vhdx::DiskWriter::over(file_, {}, {.direct = true}));
  }
  // After a power loss it has to be found again.
  VHDXM_TRY_VOID(folder_.sync());
  discard_ = false;
  return {};
}

// Blocks that both sides have something in. What of them was never written reads as zeros, and is
// not offered.
Result<std::vector<HeldRange>> IncomingDisk::held_live() const {
  const std::uint64_t block_bytes = offer_.description.geometry.block_bytes;
  std::vector<vhdx::Extent> extents;
  std::vector<HeldRange> all;
  for (std::uint64_t at = 0; gone_on_with_ && at < virtual_bytes();) {
    extents.clear();
    VHDXM_TRY(at, live()->map(at, virtual_bytes() - at, extents));
    for (const vhdx::Extent& extent : extents) {
      if (extent.kind != vhdx::ExtentKind::kData) continue;
      const std::uint64_t end = extent.virtual_offset + extent.length;
      for (std::uint64_t begin = extent.virtual_offset; begin < end; begin += block_bytes) {
        if (live_plan_->use(begin / block_bytes) == vhdx::BlockUse::kAbsent) continue;
        const std::uint64_t length = std::min(block_bytes, end - begin);
        if (!all.empty() && all.back().end() == begin) {
          all.back().length += length;
        } else {
          all.push_back({.offset = begin, .length = length});
        }
      }
    }
  }
  return all;
}

Result<void> IncomingDisk::find_held(std::size_t ranges_max) {
  VHDXM_TRY(auto all, kind_ == JobKind::kLive ? held_live() : held_by_plan(ranges_max));
  if (kind_ == JobKind::kLive) resumed_bytes_ = sum_of(all);
  for (const HeldRange& range : largest(std::move(all), ranges_max)) {
    VHDXM_CHECK(held_.add(range));
  }
  coverage_.set_apart(held_.share());
  return {};
}

Result<std::vector<HeldRange>> IncomingDisk::held_by_plan(std::size_t ranges_max) {
  std::vector<HeldRange> all;
  // Of more than this no list is made, however ragged the files are.
  const std::size_t looked_at_max = 4 * ranges_max;
  if (gone_on_with_) {
    VHDXM_TRY(auto ranges, writer_->held_ranges(kCellBytes, ranges_max + 1));
    // So ragged that it cannot be told by the cell: by the block then.
    if (ranges.size() > ranges_max) {
      VHDXM_TRY(ranges,
                writer_->held_ranges(offer_.description.geometry.block_bytes, looked_at_max));
    }
    for (const auto& range : ranges) {
      all.push_back({.offset = range.offset, .length = range.length});
    }
  }
  if (former_) {
    VHDXM_TRY(const auto ranges, former_->held_ranges(writer_->plan(), looked_at_max));
    all = joined(std::move(all), ranges);
  }
  resumed_bytes_ = sum_of(all);
  if (seed_) {
    VHDXM_TRY(const auto ranges, seed_->held_ranges(writer_->plan(), looked_at_max));
    all = joined(std::move(all), ranges);
  }
  return all;
}

IncomingDisk::~IncomingDisk() {
  if (!journal_ || committed_ || keep_) return;
  bool bad = discard_ || failure_;
  if (!bad && !writer_ && !live_) {
    // It never came so far; a journal that speaks of nothing is not left behind.
    const auto exists = folder_.exists(partial_name_);
    bad = exists.has_value() && !*exists;
  }
  if (!bad && sealing_) bad = writer_->unseal().has_error();
  if (bad) remove_all();
}

void IncomingDisk::discard() {
  const std::lock_guard lock(mutex_);
  discard_ = true;
}

bool IncomingDisk::will_stay() {
  const std::lock_guard lock(mutex_);
  return !committed_ && (keep_ || (!discard_ && !failure_));
}

// If something cannot be removed, its name still says what it is.
void IncomingDisk::remove_all() {
  if (state_->remove(JournalFile::former_name(offer_.name)).has_error()) return;
  if (folder_.remove(partial_name_).has_error()) return;
  if (folder_.sync().has_error()) return;
  (void)journal_->remove().has_error();
}

std::uint64_t IncomingDisk::cell_length(std::uint64_t offset) const {
  return std::min(kCellBytes, virtual_bytes() - offset);
}

// What is in the partial already has not to be copied; what an earlier job brought was of this
// disk.
Result<IncomingDisk::Place> IncomingDisk::place_of(std::uint64_t offset, std::uint64_t length) {
  if (kind_ == JobKind::kLive) return Place::kPartial;
  if (gone_on_with_) {
    VHDXM_TRY(const bool here, writer_->holds(offset, length));
    if (here) return Place::kPartial;
  }
  if (former_) {
    VHDXM_TRY(const bool there, former_->holds(offset, length));
    if (there || !seed_) return Place::kFormer;
  }
  return seed_ ? Place::kSeed : Place::kPartial;
}

Result<Hash128> IncomingDisk::hash_cell(Place place, std::uint64_t offset,
                                        std::span<std::byte> bytes) {
  if (place == Place::kPartial) return hash_of_partial(offset, bytes);
  const auto& other = place == Place::kFormer ? former_ : seed_;
  return other->hash_cell(offset, bytes.size(), hash_seed_, bytes);
}

Result<Hash128> IncomingDisk::hash_of_partial(std::uint64_t offset, std::span<std::byte> bytes) {
  if (kind_ == JobKind::kLive) {
    VHDXM_TRY_VOID(live()->read(offset, bytes));
    SectorPresence all(bytes.size(), offer_.description.geometry.logical_sector_bytes);
    all.set(0, bytes.size());
    return all_zero(bytes) ? Hash128{} : cell_hash(bytes, all, hash_seed_);
  }
  VHDXM_TRY_VOID(writer_->read_back(offset, bytes));
  const vhdx::Geometry& geometry = offer_.description.geometry;
  SectorPresence presence(bytes.size(), geometry.logical_sector_bytes);
  if (writer_->plan().use(offset / geometry.block_bytes) == vhdx::BlockUse::kFull) {
    presence.set(0, bytes.size());
    return cell_hash(bytes, presence, hash_seed_);
  }
  std::vector<bool> present;
  VHDXM_TRY_VOID(writer_->read_presence(offset, bytes.size(), present));
  const std::size_t sector = geometry.logical_sector_bytes;
  for (std::size_t i = 0; i < present.size(); ++i) {
    if (present[i]) {
      presence.set(i * sector, sector);
    } else {
      std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(i * sector), sector, std::byte{0});
    }
  }
  return cell_hash(bytes, presence, hash_seed_);
}

IncomingDisk::HashedCells IncomingDisk::hash_cells(std::uint32_t cells_max) {
  const HeldRange next = held_.next();
  HashedCells out{.first_cell = next.offset / kCellBytes, .hashes = {}};
  const Buffer buffer = hash_pool_.acquire();
  std::uint64_t at = next.offset;
  std::vector<Place> places;
  for (; at < next.end() && out.hashes.size() < cells_max; at += kCellBytes) {
    const std::uint64_t length = cell_length(at);
    const auto place = place_of(at, length);
    places.push_back(place.has_value() ? *place : Place::kPartial);
    const auto hash = hash_cell(places.back(), at, buffer.bytes().first(length));
    // What cannot be read is not here: it is sent, and written over.
    out.hashes.push_back(place.has_value() && hash.has_value() ? *hash : Hash128{});
  }
  VHDXM_CHECK(held_.take_cells(out.first_cell, out.hashes.size()));
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < out.hashes.size(); ++i) {
    if (out.hashes[i] == Hash128{}) continue;
    offered_.emplace(next.offset + i * kCellBytes, Offered{out.hashes[i], places[i]});
  }
  return out;
}

std::string IncomingDisk::shown_name() const {
  return text_of_place(offer_.folder, offer_.name);
}

std::string IncomingDisk::path() const {
  return folder_.path_of(committed_ ? offer_.name : partial_name_);
}

Result<void> IncomingDisk::apply(const FrameHeader& frame, std::span<const std::byte> payload,
                                 std::span<std::byte> scratch) {
  Place place = Place::kPartial;
  {
    const std::lock_guard lock(mutex_);
    if (failure_) return *failure_;
    // Accounted for before it is written: an overlap must not reach the file.
    auto fresh = check_pass(frame);
    if (!fresh.has_error() && pass_ <= 1) {
      fresh = coverage_.add(frame.virtual_offset, frame.raw_length);
      if (!fresh.has_error()) fresh = take_offered_locked(frame, place);
    }
    if (fresh.has_error()) failure_ = std::move(fresh).error().about(path());
    if (failure_) return *failure_;
  }
  auto applied = apply_unchecked(frame, payload, scratch, place);
  const std::lock_guard lock(mutex_);
  if (applied.has_error()) {
    if (!failure_) failure_ = std::move(applied).error().about(path());
    return *failure_;
  }
  ledger_.add(frame);
  applied_.fetch_add(frame.raw_length, std::memory_order_relaxed);
  payload_.fetch_add(payload.size(), std::memory_order_relaxed);
  if (frame.kind == FrameKind::kSame) {
    same_.fetch_add(frame.raw_length, std::memory_order_relaxed);
  }
  return {};
}

// The passes of a disk in use are apart from each other: what is later is never overtaken.
Result<void> IncomingDisk::check_pass(const FrameHeader& frame) const {
  const std::uint32_t pass = pass_;
  if (frame.pass != pass) {
    return Error{.code = Errc::kProtocol,
                 .where = "a frame of another pass",
                 .offset = frame.virtual_offset,
                 .found = frame.pass,
                 .expected = pass};
  }
  if (pass > 1 && frame.kind == FrameKind::kSame) {
    return Error{.code = Errc::kProtocol,
                 .where = "a cell that is said to be here, after the first pass",
                 .offset = frame.virtual_offset};
  }
  return {};
}

// A hash that was handed out is good for one frame of its cell.
Result<void> IncomingDisk::take_offered_locked(const FrameHeader& frame, Place& place) {
  const auto begin = offered_.lower_bound(frame.virtual_offset);
  if (frame.kind != FrameKind::kSame) {
    offered_.erase(begin, offered_.lower_bound(frame.virtual_offset + frame.raw_length));
    return {};
  }
  const bool offered = begin != offered_.end() && begin->first == frame.virtual_offset &&
                       begin->second.hash == frame.hash &&
                       frame.raw_length == cell_length(frame.virtual_offset);
  if (!offered) {
    return Error{.code = Errc::kProtocol,
                 .where = "a cell that is said to be here, but was not offered with that hash",
                 .offset = frame.virtual_offset};
  }
  place = begin->second.place;
  offered_.erase(begin);
  return {};
}

Result<void> IncomingDisk::apply_same(const FrameHeader& frame, std::span<std::byte> scratch,
                                      Place place) {
  if (place == Place::kPartial) return {};  // it stands where it belongs
  VHDXM_CHECK(scratch.size() >= kCellBytes);
  const auto& other = place == Place::kFormer ? former_ : seed_;
  VHDXM_TRY_VOID(other->copy_cell(frame.virtual_offset, frame.raw_length, frame.hash, hash_seed_,
                                  scratch, *writer_));
  copied_.fetch_add(frame.raw_length, std::memory_order_relaxed);
  return {};
}

Result<void> IncomingDisk::apply_unchecked(const FrameHeader& frame,
                                           std::span<const std::byte> payload,
                                           std::span<std::byte> scratch, Place place) {
  if (frame.kind == FrameKind::kSame) return apply_same(frame, scratch, place);
  const bool in_use = kind_ == JobKind::kLive;
  if (frame.kind != FrameKind::kData && in_use) return blame_peer(clear_live(frame));
  if (frame.kind != FrameKind::kData) {
    return blame_peer(
        writer_->mark(extent_kind(frame.kind), frame.virtual_offset, frame.raw_length));
  }
  if (hash128(payload, hash_seed_) != frame.hash) {
    return Error{.code = Errc::kChecksum,
                 .where = "payload of the extent at this byte of the disk",
                 .offset = frame.virtual_offset};
  }
  return blame_peer(in_use ? live()->write(frame.virtual_offset, payload)
                           : writer_->write(frame.virtual_offset, payload));
}

// Reads as zero from here on: blocks that it covers as a whole become what the source's are, parts
// of others are cleared. Nothing is to be cleared in the first pass over a new file.
Result<void> IncomingDisk::clear_live(const FrameHeader& frame) {
  if (frame.kind == FrameKind::kTransparent) {
    return Error{.code = Errc::kProtocol,
                 .where = "a transparent range of a disk without a parent",
                 .offset = frame.virtual_offset};
  }
  const std::uint64_t begin = frame.virtual_offset;
  if (begin > virtual_bytes() || frame.raw_length > virtual_bytes() - begin) {
    return Error{.code = BaseErrc::kOutOfRange, .where = "a range of the disk", .offset = begin};
  }
  if (pass_ == 1 && partial_ != PartialState::kResumed) return {};
  if (frame.kind == FrameKind::kZero) return live()->write_zeroes(begin, frame.raw_length);
  const std::uint64_t end = begin + frame.raw_length;
  const std::uint64_t block_bytes = offer_.description.geometry.block_bytes;
  const std::uint64_t whole_begin =
      std::min(end, (begin + block_bytes - 1) / block_bytes * block_bytes);
  const std::uint64_t whole_end =
      end == virtual_bytes() ? end : std::max(whole_begin, end / block_bytes * block_bytes);
  const bool fixed = offer_.description.geometry.type == vhdx::DiskType::kFixed;
  if (fixed || whole_begin >= whole_end) return live()->write_zeroes(begin, frame.raw_length);
  VHDXM_TRY_VOID(live()->write_zeroes(begin, whole_begin - begin));
  VHDXM_TRY_VOID(live()->trim(whole_begin, whole_end - whole_begin));
  return live()->write_zeroes(whole_end, end - whole_end);
}

Result<void> IncomingDisk::sync() {
  auto synced = kind_ == JobKind::kLive ? live()->flush() : writer_->sync();
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
      failure_ = Error{.code = Errc::kLedgerMismatch,
                       .where = "a range of the disk never came",
                       .offset = coverage_.first_gap(),
                       .subject = path()};
      return *failure_;
    }
    if (ledger_.sum() != end.ledger || ledger_.entries() != end.entries ||
        end.raw_bytes != virtual_bytes()) {
      failure_ = Error{.code = Errc::kLedgerMismatch,
                       .where = "ledger of the disk: entries",
                       .found = ledger_.entries(),
                       .expected = end.entries,
                       .subject = path()};
      return *failure_;
    }
  }
  if (kind_ == JobKind::kLive) {
    VHDXM_TRY_VOID(sync());
    pass_ = 2;
    return ledger_.sum();
  }
  sealing_ = true;
  if (auto sealed = writer_->seal(); sealed.has_error()) {
    const std::lock_guard lock(mutex_);
    failure_ = sealed.error();
    return std::move(sealed).error();
  }
  // All of it stands in the partial now, durably.
  (void)state_->remove(JournalFile::former_name(offer_.name)).has_error();
  return ledger_.sum();
}

PassLedger IncomingDisk::pass_ledger() {
  const std::lock_guard lock(mutex_);
  return {.ledger = ledger_.sum(), .entries = ledger_.entries(), .raw_bytes = ledger_.raw_bytes()};
}

Result<std::vector<std::uint32_t>> IncomingDisk::differing_pages(const VerifyRange& range) {
  // Aligned, so that reads go past the page cache: what arrived may still be in there.
  const Buffer buffer = hash_pool_.acquire();
  return transfer::differing_pages(*live(), range, hash_seed_, buffer.bytes());
}

Result<void> IncomingDisk::end_pass(const PassLedger& theirs) {
  const PassLedger ours = pass_ledger();
  {
    const std::lock_guard lock(mutex_);
    if (failure_) return *failure_;
    if (ours != theirs) {
      failure_ = Error{.code = Errc::kLedgerMismatch,
                       .where = "ledger of the disk's passes: entries",
                       .found = ours.entries,
                       .expected = theirs.entries,
                       .subject = path()};
      return *failure_;
    }
  }
  VHDXM_TRY_VOID(sync());
  ++pass_;
  return {};
}

std::shared_ptr<vhdx::DiskWriter> IncomingDisk::live() const {
  const std::lock_guard lock(live_mutex_);
  return live_;
}

Result<void> IncomingDisk::close_ahead() {
  if (closed_ahead_) return {};
  VHDXM_TRY_VOID(live_->close());
  closed_ahead_ = true;
  return {};
}

Result<void> IncomingDisk::reopen() {
  if (!closed_ahead_) return {};
  VHDXM_TRY(std::shared_ptr<vhdx::DiskWriter> again,
            vhdx::DiskWriter::over(file_, {}, {.direct = true}));
  const std::lock_guard lock(live_mutex_);
  live_ = std::move(again);
  closed_ahead_ = false;
  return {};
}

Result<void> IncomingDisk::close_for_owner(const Ownership& ownership) {
  VHDXM_TRY_VOID(set_ownership(ownership));
  VHDXM_TRY_VOID(close_ahead());
  committed_ = true;
  return {};
}

void IncomingDisk::let_go() {
  (void)::flock(file_->fd(), LOCK_UN);  // of an open file that is ours this cannot fail
}

void IncomingDisk::forget() {
  (void)journal_->remove().has_error();  // it speaks of nothing any more
}

Result<void> IncomingDisk::commit(const Ownership& ownership) {
  VHDXM_TRY_VOID(set_ownership(ownership));
  VHDXM_TRY_VOID(file_->sync());
  VHDXM_TRY_VOID(folder_.rename_no_replace(partial_name_, offer_.name));
  committed_ = true;
  VHDXM_TRY_VOID(folder_.sync());
  // The disk has its name, whatever becomes of a journal that speaks of nothing any more.
  (void)journal_->remove().has_error();
  return {};
}

Result<void> IncomingDisk::set_ownership(const Ownership& ownership) {
  if (ownership.uid || ownership.gid) {
    const uid_t uid = ownership.uid ? *ownership.uid : static_cast<uid_t>(-1);
    const gid_t gid = ownership.gid ? *ownership.gid : static_cast<gid_t>(-1);
    if (::fchown(file_->fd(), uid, gid) != 0) return errno_error("set the owner").about(path());
  }
  if (::fchmod(file_->fd(), ownership.mode) != 0) {
    return errno_error("set the file mode").about(path());
  }
  return {};
}

}  // namespace vhdxm::transfer
