#include "transfer/sender_session.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/take_next.h"

namespace vhdxm::transfer {
namespace {

// Short enough that the plan of a large disk, held to a low limit, is a sign of life now and again.
constexpr std::size_t kPlanPartBytes = 64 * 1024;
static_assert(kPlanPartBytes <= kBlockPlanPartBytesMax);

}  // namespace

SenderSession::SenderSession(Config config) : config_(std::move(config)) {}

std::optional<SenderSession::Action> SenderSession::next_action() {
  return take_next(actions_);
}

void SenderSession::start() {
  state_ = State::kWelcome;
  send(Hello{.preamble = encode(config_.preamble),
             .features = config_.features,
             .extent_bytes_max = config_.extent_bytes_max,
             .streams_wanted = config_.streams_wanted,
             .nonce = config_.nonce,
             .software = config_.software});
}

void SenderSession::on_message(const Message& message) {
  if (over()) return;
  std::visit([this](const auto& one) { handle(one); }, message);
}

bool SenderSession::expect(State state, std::uint32_t disk, const char* what) {
  if (state_ == state && disk == disk_) return true;
  unexpected(what);
  return false;
}

void SenderSession::unexpected(const char* what) {
  on_error(Error{.code = Errc::kProtocol, .where = what},
           "The other side said something that does not fit here.");
}

Awaited SenderSession::awaited() const {
  const std::uint64_t whole_disk =
      disk_ < config_.disks.size() ? config_.disks[disk_].description.geometry.virtual_size_bytes
                                   : 0;
  switch (state_) {
    case State::kWelcome:
      return {.what = "Welcome"};
    case State::kOfferReply:
      return {.what = "OfferReply"};
    case State::kCompareSame:
      return {.what = "CompareSame", .work_bytes = whole_disk};
    case State::kDiskReady:
      return {.what = "HeldRanges or DiskReady", .work_bytes = config_.disks[disk_].payload_bytes};
    case State::kTokens:
      return {.what = "StreamTokens"};
    case State::kCopying:
    case State::kPasses:
      if (!lost_.empty()) return {.what = "StreamDrained"};
      if (tokens_awaited_ > 0) return {.what = "StreamTokens"};
      if (!asked_.empty()) {
        return {.what = "RangeDiffers", .work_bytes = asked_.front().length};
      }
      return {.what = "Written or CellHashes"};
    case State::kSealed:
      return {.what = "DiskSealed", .work_bytes = config_.disks[disk_].payload_bytes};
    case State::kVerifySame:
      return {.what = "VerifySame", .work_bytes = whole_disk};
    case State::kCommitted:
      return {.what = "DiskCommitted"};
    case State::kPassSynced:
      return {.what = "PassSynced", .work_bytes = pass_bytes_};
    case State::kJobDone:
      return {.what = "JobDone"};
    case State::kStart:
    case State::kCompareDigest:
    case State::kPlan:
    case State::kVerifyDigest:
    case State::kSourceCheck:
    case State::kOver:
      break;
  }
  return {};
}

void SenderSession::handle(const Welcome& message) {
  if (state_ != State::kWelcome) return unexpected("Welcome, twice");
  const bool more_features = (message.features & ~config_.features) != 0;
  if (message.extent_bytes_max < kCellBytes ||
      message.extent_bytes_max > config_.extent_bytes_max ||
      message.extent_bytes_max % kCellBytes != 0 || message.streams_max == 0 ||
      message.credit_bytes < message.extent_bytes_max || more_features) {
    return unexpected("Welcome: extent size, streams, credit or features that were not asked for");
  }
  welcome_ = message;
  send_offer();
  state_ = State::kOfferReply;
}

void SenderSession::send_offer() {
  std::uint32_t index = 0;
  for (OfferDisk& disk : config_.disks) {
    auto items = std::exchange(disk.description.opaque_items, {});
    disk.disk = index;
    send(disk);
    for (auto& item : items) send(OfferItem{.disk = index, .item = std::move(item)});
    ++index;
  }
  send(OfferEnd{.disk_count = index, .kind = config_.kind, .handover = config_.handover});
}

void SenderSession::handle(const OfferReply& message) {
  if (state_ != State::kOfferReply || message.actions.size() != config_.disks.size()) {
    return unexpected("OfferReply");
  }
  for (const OfferAction action : message.actions) {
    if (config_.kind == JobKind::kLive && action != OfferAction::kSend) {
      return unexpected("OfferReply: a disk in use is not compared");
    }
  }
  if (config_.kind == JobKind::kLive) actions_.emplace_back(Introduced{message.handover});
  offer_actions_ = message.actions;
  next_disk();
}

void SenderSession::next_disk() {
  if (disk_ == config_.disks.size() && config_.kind == JobKind::kLive) {
    actions_.emplace_back(StartPasses{});
    state_ = State::kPasses;
  } else if (disk_ == config_.disks.size()) {
    send(EndJob{});
    state_ = State::kJobDone;
  } else if (offer_actions_[disk_] == OfferAction::kCompare) {
    state_ = State::kCompareDigest;
    actions_.emplace_back(ComputeDigest{.disk = disk_, .verify = false});
  } else {
    state_ = State::kPlan;
    actions_.emplace_back(PreparePlan{.disk = disk_});
  }
}

void SenderSession::on_digest(std::uint32_t disk, const Hash128& digest) {
  if (over() || disk != disk_) return;
  if (state_ == State::kCompareDigest) {
    send(CompareDigest{.disk = disk, .digest = digest});
    state_ = State::kCompareSame;
  } else if (state_ == State::kVerifyDigest) {
    send(VerifyDisk{.disk = disk, .digest = digest});
    state_ = State::kVerifySame;
  }
}

void SenderSession::handle(const CompareSame& message) {
  if (expect(State::kCompareSame, message.disk, "CompareSame")) finish_disk(true);
}

void SenderSession::finish_disk(bool identical) {
  actions_.emplace_back(DiskDone{.disk = disk_, .identical = identical});
  ++disk_;
  next_disk();
}

void SenderSession::on_plan(std::uint32_t disk, std::span<const std::byte> encoded) {
  if (over() || state_ != State::kPlan || disk != disk_) return;
  for (std::size_t at = 0; at < encoded.size();) {
    const auto part = encoded.subspan(at, std::min(kPlanPartBytes, encoded.size() - at));
    send(PlanPart{.disk = disk, .first_byte = at, .bytes = {part.begin(), part.end()}});
    at += part.size();
  }
  send(BeginDisk{.disk = disk});
  held_ = HeldRangeList(config_.disks[disk].description.geometry.virtual_size_bytes);
  state_ = State::kDiskReady;
}

void SenderSession::handle(const HeldRanges& message) {
  if (!expect(State::kDiskReady, message.disk, "HeldRanges")) return;
  for (const HeldRange& range : message.ranges) {
    if (!held_.add(range)) {
      return unexpected("HeldRanges: out of order, too many, or no cells of the disk");
    }
  }
}

void SenderSession::handle(const DiskReady& message) {
  if (!expect(State::kDiskReady, message.disk, "DiskReady")) return;
  copy_ = CopyDisk{.disk = disk_,
                   .held = held_.share(),
                   .partial = message.partial,
                   .resumed_bytes = message.resumed_bytes};
  if (streams_opened_) return start_copy();
  const auto count = std::min(config_.streams_wanted, welcome_.streams_max);
  tokens_awaited_ = count;
  send(StreamRequest{.count = count});
  state_ = State::kTokens;
}

void SenderSession::handle(const StreamTokens& message) {
  if (message.grants.empty() || message.grants.size() > tokens_awaited_) {
    return unexpected("StreamTokens: none, or more than were asked for");
  }
  for (const StreamGrant& grant : message.grants) {
    // Numbers count up and are never used again: an acknowledgement cannot mean two streams.
    if (grant.stream != streams_granted_) return unexpected("StreamTokens: stream number");
    ++streams_granted_;
  }
  tokens_awaited_ -= static_cast<unsigned>(message.grants.size());
  actions_.emplace_back(OpenStreams{.grants = message.grants});
  if (state_ != State::kTokens) return;  // a replacement for a lost stream
  tokens_awaited_ = 0;
  streams_opened_ = true;
  start_copy();
}

void SenderSession::start_copy() {
  hash_credit_ = 0;
  if (!copy_.held.empty()) {
    // Asked for only now: a hash that came before the copy has begun would have no place.
    hash_credit_ = kCellHashesMax;
    send(HashCredit{.disk = disk_, .cells = kCellHashesMax});
  }
  actions_.emplace_back(std::exchange(copy_, {}));
  state_ = State::kCopying;
}

void SenderSession::handle(const CellHashes& message) {
  if (!expect(State::kCopying, message.disk, "CellHashes")) return;
  const std::uint64_t count = message.hashes.size();
  if (count > hash_credit_) return unexpected("CellHashes: more than were asked for");
  if (!held_.take_cells(message.first_cell, count)) {
    return unexpected("CellHashes: of other cells than come next");
  }
  hash_credit_ -= count;
  actions_.emplace_back(TakeHashes{.first_cell = message.first_cell, .hashes = message.hashes});
}

void SenderSession::on_hashes_used(std::uint32_t disk, std::uint32_t cells) {
  if (over() || state_ != State::kCopying || disk != disk_) return;
  hash_credit_ += cells;
  send(HashCredit{.disk = disk, .cells = cells});
}

void SenderSession::handle(const Written& message) {
  for (const WrittenCount& count : message.streams) {
    if (count.stream >= streams_granted_) return unexpected("Written: a stream that is not ours");
  }
  actions_.emplace_back(
      Acknowledge{.streams = message.streams, .credit_bytes = message.credit_bytes});
}

void SenderSession::handle(const Load& message) {
  actions_.emplace_back(NoteLoad{.load = message});
}

void SenderSession::handle(const Durable& message) {
  if (message.disk > disk_ || message.disk >= config_.disks.size()) {
    return unexpected("Durable: a disk that was not begun");
  }
  const vhdx::Geometry& geometry = config_.disks[message.disk].description.geometry;
  if (message.raw_bytes > geometry.virtual_size_bytes) {
    return unexpected("Durable: more bytes than the disk has");
  }
  if (message.disk == disk_) actions_.emplace_back(NoteDurable{.raw_bytes = message.raw_bytes});
}

void SenderSession::on_stream_lost(std::uint32_t stream) {
  if (over() || std::find(lost_.begin(), lost_.end(), stream) != lost_.end()) return;
  lost_.push_back(stream);
  send(StreamLost{.stream = stream});
}

void SenderSession::handle(const StreamDrained& message) {
  const auto lost = std::find(lost_.begin(), lost_.end(), message.stream);
  if (lost == lost_.end()) return unexpected("StreamDrained: a stream that was not given up");
  lost_.erase(lost);
  actions_.emplace_back(RequeueStream{.stream = message.stream, .frames = message.frames});
  if (replacements_ == config_.replacements_max) {
    return on_error(Error{.code = Errc::kPeerClosed, .where = "data streams break again and again"},
                    "Too many data streams broke.");
  }
  ++replacements_;
  ++tokens_awaited_;
  send(StreamRequest{.count = 1});
}

void SenderSession::on_copied(std::uint32_t disk, const Ledger& ledger) {
  if (over() || state_ != State::kCopying || disk != disk_) return;
  ledger_ = ledger.sum();
  durable_bytes_ += ledger.raw_bytes();
  send(EndDisk{.disk = disk,
               .ledger = ledger.sum(),
               .entries = ledger.entries(),
               .raw_bytes = ledger.raw_bytes()});
  state_ = State::kSealed;
}

void SenderSession::handle(const DiskSealed& message) {
  if (!expect(State::kSealed, message.disk, "DiskSealed")) return;
  if (message.ledger != ledger_) {
    return on_error(Error{.code = Errc::kLedgerMismatch, .where = "DiskSealed"},
                    "The destination's ledger is not the one that was sent.");
  }
  if (config_.kind == JobKind::kLive) return finish_disk(false);
  if (!config_.verify) return check_source();
  actions_.emplace_back(ComputeDigest{.disk = disk_, .verify = true});
  state_ = State::kVerifyDigest;
}

void SenderSession::handle(const VerifySame& message) {
  if (expect(State::kVerifySame, message.disk, "VerifySame")) check_source();
}

void SenderSession::check_source() {
  actions_.emplace_back(CheckSource{.disk = disk_});
  state_ = State::kSourceCheck;
}

void SenderSession::on_source_unchanged(std::uint32_t disk) {
  if (over() || state_ != State::kSourceCheck || disk != disk_) return;
  send(CommitDisk{.disk = disk});
  state_ = State::kCommitted;
}

void SenderSession::handle(const DiskCommitted& message) {
  if (expect(State::kCommitted, message.disk, "DiskCommitted")) finish_disk(false);
}

void SenderSession::on_pass_copied(std::uint32_t pass, std::vector<PassLedger> ledgers) {
  if (over()) return;
  VHDXM_CHECK(state_ == State::kPasses && pass == pass_ + 1);
  pass_ = pass;
  std::uint64_t sent_bytes = 0;
  for (const PassLedger& ledger : ledgers) sent_bytes += ledger.raw_bytes;
  pass_bytes_ = sent_bytes - std::min(sent_bytes, durable_bytes_);
  durable_bytes_ = sent_bytes;
  send(EndPass{.pass = pass, .disks = std::move(ledgers)});
  state_ = State::kPassSynced;
}

void SenderSession::handle(const PassSynced& message) {
  if (state_ != State::kPassSynced || message.pass != pass_) return unexpected("PassSynced");
  state_ = State::kPasses;
  actions_.emplace_back(PassDone{.pass = message.pass, .sync_us = message.sync_us});
}

void SenderSession::verify_range(VerifyRange range) {
  if (over()) return;
  VHDXM_CHECK(state_ == State::kPasses && asked_.size() < kVerifyRangesMax);
  asked_.push_back({.disk = range.disk, .offset = range.offset, .length = range.length});
  send(std::move(range));
}

void SenderSession::handle(const RangeDiffers& message) {
  if (asked_.empty() || message.disk != asked_.front().disk ||
      message.offset != asked_.front().offset) {
    return unexpected("RangeDiffers");
  }
  const std::uint64_t length = asked_.front().length;
  asked_.pop_front();
  for (std::size_t i = 0; i < message.pages.size(); ++i) {
    const bool in_order = i == 0 || message.pages[i - 1] < message.pages[i];
    if (!in_order || message.pages[i] * kVerifyPageBytes >= length) {
      return unexpected("RangeDiffers: pages");
    }
  }
  actions_.emplace_back(
      RangeCompared{.disk = message.disk, .offset = message.offset, .differing = message.pages});
}

void SenderSession::send_handover(std::vector<std::byte> body) {
  if (!over()) send(Handover{.body = std::move(body)});
}

void SenderSession::handle(const Handover& message) {
  if (state_ != State::kPasses && state_ != State::kPassSynced) return unexpected("Handover");
  actions_.emplace_back(DeliverHandover{.body = message.body});
}

void SenderSession::on_handed_over() {
  if (over()) return;
  VHDXM_CHECK(state_ == State::kPasses);
  send(EndJob{});
  state_ = State::kJobDone;
}

void SenderSession::handle(const JobDone&) {
  if (state_ != State::kJobDone) return unexpected("JobDone");
  state_ = State::kOver;
  actions_.emplace_back(Finish{});
}

void SenderSession::handle(const Fail& message) {
  state_ = State::kOver;
  const bool known = message.code >= static_cast<int>(Errc::kNotOurProtocol) &&
                     message.code <= static_cast<int>(kErrcLast);
  const auto errc = known ? static_cast<Errc>(message.code) : Errc::kPeerFailed;
  actions_.emplace_back(Abort{.error = Error{.code = errc}, .peer_text = message.text});
}

void SenderSession::handle(const Cancel&) {
  state_ = State::kOver;
  actions_.emplace_back(Abort{.error = Error{.code = BaseErrc::kCancelled},
                              .peer_text = "The receiver was stopped."});
}

void SenderSession::on_cancel() {
  if (over()) return;
  state_ = State::kOver;
  send(Cancel{});
  actions_.emplace_back(Abort{.error = Error{.code = BaseErrc::kCancelled}, .peer_text = {}});
}

void SenderSession::on_error(const Error& error, const std::string& text) {
  if (over()) return;
  state_ = State::kOver;
  const bool ours = error.code.category() == make_error_code(Errc::kProtocol).category();
  send(Fail{.code = static_cast<std::uint16_t>(ours ? error.code.value()
                                                    : static_cast<int>(Errc::kPeerFailed)),
            .text = text.empty() ? describe(error) : text + " (" + describe(error) + ")"});
  actions_.emplace_back(Abort{.error = error, .peer_text = {}});
}

}  // namespace vhdxm::transfer
