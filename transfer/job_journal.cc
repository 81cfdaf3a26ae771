#include "transfer/job_journal.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/crc32c.h"
#include "base/little_endian.h"
#include "transfer/errc.h"

namespace vhdxm::transfer {
namespace {

constexpr std::array<std::uint8_t, 8> kMagic = {'V', 'H', 'D', 'X', 'M', 'J', 'N', 'L'};
constexpr std::uint16_t kJournalVersion = 1;
// An offer with a parent locator at its limits, and room.
constexpr std::uint64_t kJournalBytesMax = 1024 * 1024;

struct RawJournal {
  std::array<std::uint8_t, 8> magic;
  Le16 version;
  Le16 protocol;  ///< Of the message behind it.
  Le32 body_bytes;
  JobId job_id;
  Le64 plan_low;
  Le64 plan_high;
  Le32 kind;
  Le32 checksum;  ///< CRC-32C of all of this, with zero here, and of the body.
};
static_assert(sizeof(RawJournal) == 56 && alignof(RawJournal) == 1);

Error broken(Errc errc, const char* where, std::optional<std::uint64_t> found = {},
             std::optional<std::uint64_t> expected = {}) {
  return Error{.code = errc, .where = where, .found = found, .expected = expected};
}

std::vector<std::byte> joined(const RawJournal& raw, std::span<const std::byte> body) {
  std::vector<std::byte> bytes(sizeof raw + body.size());
  store_raw(bytes.data(), raw);
  std::copy(body.begin(), body.end(), bytes.begin() + sizeof raw);
  return bytes;
}

// Of everything, the checksum itself taken as zero.
std::uint32_t checksum_of(RawJournal raw, std::span<const std::byte> body) {
  raw.checksum = 0;
  return crc32c(joined(raw, body));
}

Result<std::unique_ptr<PosixFile>> open_or_create(const Directory& state, const std::string& name) {
  auto file = state.open_file(name, {.access = PosixFile::Access::kReadWrite});
  if (file.has_value() || file.error().code != boost::system::errc::no_such_file_or_directory) {
    return file;
  }
  return state.create_file(name, false);
}

// Not the DataWriteGuid: a disk that was written to since differs in it, and in some cells.
bool is_same_disk(const OfferDisk& one, const OfferDisk& other) {
  return one.name == other.name && one.description.geometry == other.description.geometry &&
         one.description.virtual_disk_id == other.description.virtual_disk_id;
}

}  // namespace

bool JobJournal::fits(const OfferDisk& now, const Hash128& plan_digest_now) const {
  return kind == JobKind::kCopy && is_same_disk(offer, now) && plan_digest == plan_digest_now;
}

bool JobJournal::fits_live(const OfferDisk& now) const {
  return kind == JobKind::kLive && is_same_disk(offer, now);
}

std::vector<std::byte> encode_journal(const JobJournal& journal) {
  OfferDisk offer = journal.offer;
  offer.description.opaque_items.clear();
  offer.seed_name.clear();
  const std::vector<std::byte> body = encode(offer);
  RawJournal raw{};
  raw.magic = kMagic;
  raw.version = kJournalVersion;
  raw.protocol = kProtocolVersion;
  raw.body_bytes = static_cast<std::uint32_t>(body.size());
  raw.job_id = journal.job_id;
  raw.plan_low = journal.plan_digest.low;
  raw.plan_high = journal.plan_digest.high;
  raw.kind = static_cast<std::uint32_t>(journal.kind);
  raw.checksum = checksum_of(raw, body);
  return joined(raw, body);
}

Result<JobJournal> decode_journal(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(RawJournal)) {
    return broken(Errc::kProtocol, "journal: length", bytes.size(), sizeof(RawJournal));
  }
  const auto raw = load_raw<RawJournal>(bytes.data());
  if (raw.magic != kMagic) return broken(Errc::kProtocol, "journal: magic");
  if (raw.version != kJournalVersion || raw.protocol != kProtocolVersion) {
    return broken(Errc::kVersion, "journal: of another version of vhdx-migrate", raw.protocol,
                  kProtocolVersion);
  }
  const auto body = bytes.subspan(sizeof(RawJournal));
  if (raw.body_bytes != body.size()) {
    return broken(Errc::kProtocol, "journal: length of the body", body.size(), raw.body_bytes);
  }
  if (const std::uint32_t checksum = checksum_of(raw, body); raw.checksum != checksum) {
    return broken(Errc::kChecksum, "journal: CRC", raw.checksum, checksum);
  }
  if (raw.kind > static_cast<std::uint32_t>(JobKind::kLive)) {
    return broken(Errc::kProtocol, "journal: kind of job", raw.kind);
  }
  MessageReader reader(kBodyBytesMax);
  reader.feed(body);
  VHDXM_TRY(std::optional<Message> message, reader.next());
  auto* offer = message ? std::get_if<OfferDisk>(&*message) : nullptr;
  if (offer == nullptr || !reader.take_rest().empty() || !offer->seed_name.empty() ||
      !Directory::is_plain_name(offer->name)) {
    return broken(Errc::kProtocol, "journal: not one disk");
  }
  VHDXM_TRY_VOID(offer->description.geometry.validate());
  return JobJournal{.job_id = raw.job_id,
                    .offer = std::move(*offer),
                    .plan_digest = {.low = raw.plan_low, .high = raw.plan_high},
                    .kind = static_cast<JobKind>(static_cast<std::uint32_t>(raw.kind))};
}

JournalFile::JournalFile(const Directory& state, std::string name, std::unique_ptr<PosixFile> file)
    : state_(state), name_(std::move(name)), file_(std::move(file)) {}

Result<std::unique_ptr<JournalFile>> JournalFile::lock(const Directory& state,
                                                       const std::string& name,
                                                       std::unique_ptr<PosixFile> file) {
  if (file->lock_exclusive().has_error()) {
    return Error{.code = Errc::kBusy,
                 .where = "another job is receiving this disk now",
                 .subject = state.path_of(name)};
  }
  VHDXM_TRY(const bool has_name, file->has_name());
  if (!has_name) return std::unique_ptr<JournalFile>();
  return std::unique_ptr<JournalFile>(new JournalFile(state, name, std::move(file)));
}

Result<std::unique_ptr<JournalFile>> JournalFile::claim(const Directory& state,
                                                        const std::string& disk) {
  const std::string name = file_name(disk);
  for (;;) {
    auto file = open_or_create(state, name);
    // Somebody else made it, or removed it, in between.
    if (file.has_error() && file.error().code == boost::system::errc::file_exists) continue;
    if (file.has_error()) return std::move(file).error();
    VHDXM_TRY(auto claimed, lock(state, name, std::move(*file)));
    if (claimed) return claimed;
  }
}

Result<std::unique_ptr<JournalFile>> JournalFile::claim_existing(const Directory& state,
                                                                 const std::string& disk) {
  const std::string name = file_name(disk);
  for (;;) {
    VHDXM_TRY(auto file, state.open_file(name, {.access = PosixFile::Access::kReadWrite}));
    VHDXM_TRY(auto claimed, lock(state, name, std::move(file)));
    if (claimed) return claimed;
  }
}

Result<std::optional<JobJournal>> JournalFile::read() {
  VHDXM_TRY(const std::uint64_t size, file_->size());
  if (size == 0) return std::optional<JobJournal>();
  if (size > kJournalBytesMax) {
    return broken(Errc::kTooLarge, "journal: length", size, kJournalBytesMax).about(file_->name());
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  VHDXM_TRY_VOID(read_exact_at(*file_, 0, bytes, "journal"));
  auto journal = decode_journal(bytes);
  if (journal.has_error()) return std::move(journal).error().about(file_->name());
  return std::optional<JobJournal>(std::move(*journal));
}

Result<void> JournalFile::write(const JobJournal& journal) {
  // In place: it is written only where no partial stands that it could speak for, and a torn one
  // does not have its checksum.
  VHDXM_TRY_VOID(file_->resize(0));
  VHDXM_TRY_VOID(file_->write_at(0, encode_journal(journal)));
  VHDXM_TRY_VOID(file_->sync());
  return state_.sync();
}

Result<void> JournalFile::remove() {
  VHDXM_TRY_VOID(state_.remove(name_));
  return state_.sync();
}

}  // namespace vhdxm::transfer
