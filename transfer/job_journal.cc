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
constexpr std::uint16_t kJournalVersion = 2;
// Two files: an offer with a parent locator at its limits, and the plan of the largest disk.
constexpr std::uint64_t kJournalBytesMax = 2 * (1024 * 1024 + 16 * 1024 * 1024);

struct RawJournal {
  std::array<std::uint8_t, 8> magic;
  Le16 version;
  Le16 protocol;  ///< Of the message behind it.
  Le32 body_bytes;
  JobId job_id;
  Le32 kind;
  std::array<std::uint8_t, 16> reserved;
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

void append_file(std::vector<std::byte>& body, const BegunFile& file) {
  OfferDisk offer = file.offer;
  offer.description.opaque_items.clear();
  offer.seed_name.clear();
  offer.folder.clear();  // it lies there, whatever that is called
  const std::vector<std::byte> message = encode(offer);
  body.insert(body.end(), message.begin(), message.end());
  body.insert(body.end(), file.plan.begin(), file.plan.end());
}

// Takes the first file off `body`. How long its plan is follows from its geometry.
Result<BegunFile> take_file(std::span<const std::byte>& body) {
  MessageReader reader(kBodyBytesMax);
  reader.feed(body.first(std::min<std::size_t>(body.size(), kMessageHeaderBytes + kBodyBytesMax)));
  VHDXM_TRY(std::optional<Message> message, reader.next());
  auto* offer = message ? std::get_if<OfferDisk>(&*message) : nullptr;
  if (offer == nullptr || !offer->seed_name.empty() || !offer->folder.empty() ||
      !Directory::is_plain_name(offer->name)) {
    return broken(Errc::kProtocol, "journal: not a disk");
  }
  VHDXM_TRY_VOID(offer->description.geometry.validate());
  body = body.subspan(encode(*offer).size());
  const std::uint64_t plan_bytes = (offer->description.geometry.block_count() + 3) / 4;
  if (plan_bytes > body.size()) {
    return broken(Errc::kProtocol, "journal: length of a block plan", body.size(), plan_bytes);
  }
  const auto plan = body.first(static_cast<std::size_t>(plan_bytes));
  body = body.subspan(plan.size());
  return BegunFile{.offer = std::move(*offer), .plan = {plan.begin(), plan.end()}};
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

bool JobJournal::fits(const OfferDisk& now, std::span<const std::byte> plan_now) const {
  return kind == JobKind::kCopy && is_same_disk(partial.offer, now) &&
         std::equal(partial.plan.begin(), partial.plan.end(), plan_now.begin(), plan_now.end());
}

bool JobJournal::fits_live(const OfferDisk& now) const {
  return kind == JobKind::kLive && is_same_disk(partial.offer, now);
}

bool may_be_former(const BegunFile& file, const OfferDisk& now) {
  const vhdx::Description& then = file.offer.description;
  return file.offer.name == now.name && then.virtual_disk_id == now.description.virtual_disk_id &&
         then.geometry.logical_sector_bytes == now.description.geometry.logical_sector_bytes;
}

std::vector<std::byte> encode_journal(const JobJournal& journal) {
  std::vector<std::byte> body;
  append_file(body, journal.partial);
  if (journal.former) append_file(body, *journal.former);
  RawJournal raw{};
  raw.magic = kMagic;
  raw.version = kJournalVersion;
  raw.protocol = kProtocolVersion;
  raw.body_bytes = static_cast<std::uint32_t>(body.size());
  raw.job_id = journal.job_id;
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
  auto body = bytes.subspan(sizeof(RawJournal));
  if (raw.body_bytes != body.size()) {
    return broken(Errc::kProtocol, "journal: length of the body", body.size(), raw.body_bytes);
  }
  if (const std::uint32_t checksum = checksum_of(raw, body); raw.checksum != checksum) {
    return broken(Errc::kChecksum, "journal: CRC", raw.checksum, checksum);
  }
  if (raw.kind > static_cast<std::uint32_t>(JobKind::kLive)) {
    return broken(Errc::kProtocol, "journal: kind of job", raw.kind);
  }
  const bool zero = std::all_of(raw.reserved.begin(), raw.reserved.end(),
                                [](std::uint8_t byte) { return byte == 0; });
  if (!zero) return broken(Errc::kProtocol, "journal: reserved bytes");
  JobJournal journal{.job_id = raw.job_id,
                     .partial = {},
                     .former = {},
                     .kind = static_cast<JobKind>(static_cast<std::uint32_t>(raw.kind))};
  VHDXM_TRY(journal.partial, take_file(body));
  if (!body.empty()) {
    if (journal.kind == JobKind::kLive) return broken(Errc::kProtocol, "journal: a former file");
    VHDXM_TRY(journal.former, take_file(body));
  }
  if (!body.empty()) return broken(Errc::kProtocol, "journal: bytes behind its files");
  return journal;
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
