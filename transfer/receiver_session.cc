#include "transfer/receiver_session.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/directory.h"
#include "base/take_next.h"

namespace vhdxm::transfer {
namespace {

// Of a check below this folder: what the peer said breaks a rule, whatever the check calls it.
Error as_protocol_error(Error error) {
  error.code = Errc::kProtocol;
  return error;
}

}  // namespace

ReceiverSession::ReceiverSession(Config config) : config_(std::move(config)) {}

std::optional<ReceiverSession::Action> ReceiverSession::next_action() {
  return take_next(actions_);
}

void ReceiverSession::on_message(const Message& message) {
  if (over()) return;
  std::visit([this](const auto& one) { handle(one); }, message);
}

Awaited ReceiverSession::awaited() const {
  switch (state_) {
    case State::kHello:
      return {.what = "Hello"};
    case State::kOffer:
      return {.what = "OfferDisk, OfferEnd or Measure"};
    case State::kDisk:
      if (disk_ == disks_.size()) return {.what = "EndJob"};
      if (action_is(OfferAction::kCompare)) {
        return {.what = "CompareDigest", .work_bytes = whole_disk()};
      }
      // It reads its BAT and, of a differencing disk, its bitmaps.
      return {.what = "PlanPart or BeginDisk", .work_bytes = whole_disk() / 1024};
    case State::kCopying:
      return {.what = "frames, or EndDisk"};
    case State::kSealed:
      return {.what = "VerifyDisk or CommitDisk", .work_bytes = whole_disk()};
    case State::kVerified:
      return {.what = "CommitDisk"};
    case State::kMeasuring:
      return {.what = "frames, or EndJob"};
    // A disk in use may be still for any time between its passes.
    case State::kPasses:
    case State::kSyncing:
    case State::kOfferCheck:
    case State::kBusy:
    case State::kOver:
      break;
  }
  return {};
}

std::uint64_t ReceiverSession::whole_disk() const {
  return disks_[disk_].description.geometry.virtual_size_bytes;
}

bool ReceiverSession::expect(State state, std::uint32_t disk, const char* what) {
  if (state_ == state && disk == disk_ && disk < disks_.size()) return true;
  unexpected(what);
  return false;
}

void ReceiverSession::unexpected(const char* what) {
  on_error(Error{.code = Errc::kProtocol, .where = what},
           "The other side said something that does not fit here.");
}

void ReceiverSession::handle(const Hello& message) {
  if (state_ != State::kHello) return unexpected("Hello, twice");
  if (message.preamble != encode(config_.preamble)) {
    return unexpected("Hello: not the preamble that the connection began with");
  }
  if (message.extent_bytes_max < kCellBytes || message.streams_wanted == 0) {
    return unexpected("Hello: extent size or streams");
  }
  peer_software_ = message.software;
  sender_nonce_ = message.nonce;
  const std::uint32_t extent = std::min(message.extent_bytes_max, config_.extent_bytes_max);
  welcome_ = Welcome{.features = message.features & config_.features,
                     .extent_bytes_max = extent - extent % static_cast<std::uint32_t>(kCellBytes),
                     .streams_max = std::min(message.streams_wanted, config_.streams_max),
                     .credit_bytes = config_.credit_bytes,
                     .nonce = config_.nonce,
                     .software = config_.software};
  const auto plaintext = static_cast<std::uint64_t>(Feature::kPlaintextData);
  if ((message.features & plaintext) != 0 && (config_.features & plaintext) == 0) {
    return on_error(Error{.code = Errc::kRefused, .where = "--plaintext-data"},
                    "This receiver takes no unencrypted data: give --plaintext-data on both sides "
                    "or on neither.");
  }
  if ((message.features & plaintext) == 0 && (config_.features & plaintext) != 0) {
    welcome_.features &= ~plaintext;  // the safer of the two wishes holds
  }
  send(welcome_);
  state_ = State::kOffer;
}

void ReceiverSession::handle(const OfferDisk& message) {
  if (state_ != State::kOffer || message.disk != disks_.size() || disks_.size() >= kDisksMax) {
    return unexpected("OfferDisk");
  }
  if (auto valid = message.description.geometry.validate(); valid.has_error()) {
    return on_error(as_protocol_error(valid.error()),
                    "The disk's geometry breaks a rule of the format.");
  }
  const bool differencing = message.description.geometry.type == vhdx::DiskType::kDifferencing;
  const std::string& seed = message.seed_name;
  if (!Directory::is_plain_name(message.name) ||
      (!seed.empty() && !Directory::is_plain_name(seed)) ||
      differencing != message.description.parent.has_value() ||
      !message.description.opaque_items.empty()) {
    return unexpected("OfferDisk: name, parent or items");
  }
  disks_.push_back(message);
}

void ReceiverSession::handle(const OfferItem& message) {
  if (state_ != State::kOffer || disks_.empty() || message.disk + 1 != disks_.size()) {
    return unexpected("OfferItem");
  }
  auto& items = disks_.back().description.opaque_items;
  opaque_bytes_ += message.item.content.size() + sizeof message.item;
  if (opaque_bytes_ > kOpaqueBytesMax || items.size() >= vhdx::kMetadataEntryCountMax) {
    return on_error(Error{.code = Errc::kTooLarge,
                          .where = "metadata items",
                          .found = opaque_bytes_,
                          .expected = kOpaqueBytesMax},
                    "The disk has more foreign metadata than this receiver keeps.");
  }
  items.push_back(message.item);
}

void ReceiverSession::handle(const OfferEnd& message) {
  if (state_ != State::kOffer || message.disk_count != disks_.size() || disks_.empty()) {
    return unexpected("OfferEnd");
  }
  for (const OfferDisk& disk : disks_) {
    if (message.kind == JobKind::kLive &&
        disk.description.geometry.type == vhdx::DiskType::kDifferencing) {
      return unexpected("OfferEnd: a differencing disk in use");
    }
  }
  kind_ = message.kind;
  state_ = State::kOfferCheck;
  if (message.kind != JobKind::kLive && !message.handover.empty()) {
    return unexpected("OfferEnd: a hand-over of disks that are copied");
  }
  actions_.emplace_back(CheckOffer{.disks = disks_, .handover = message.handover});
}

void ReceiverSession::on_offer_checked(const std::vector<OfferAction>& actions,
                                       std::vector<std::byte> handover) {
  if (over()) return;
  offer_actions_ = actions;
  send(OfferReply{.actions = actions, .handover = std::move(handover)});
  state_ = State::kDisk;
}

bool ReceiverSession::action_is(OfferAction action) const {
  return disk_ < offer_actions_.size() && offer_actions_[disk_] == action;
}

void ReceiverSession::handle(const CompareDigest& message) {
  if (!expect(State::kDisk, message.disk, "CompareDigest")) return;
  if (!action_is(OfferAction::kCompare)) return unexpected("CompareDigest: nothing to compare");
  state_ = State::kBusy;
  actions_.emplace_back(CompareWith{.disk = disk_, .digest = message.digest});
}

void ReceiverSession::on_compared(std::uint32_t disk) {
  if (over()) return;
  send(CompareSame{.disk = disk});
  ++disk_;
  state_ = State::kDisk;
}

void ReceiverSession::handle(const PlanPart& message) {
  if (!expect(State::kDisk, message.disk, "PlanPart")) return;
  if (!action_is(OfferAction::kSend)) return unexpected("PlanPart: the disk is here already");
  if (!plan_) plan_.emplace(disks_[disk_].description.geometry);
  if (message.first_byte != plan_bytes_) return unexpected("PlanPart: not in order");
  if (auto taken = plan_->decode(message.first_byte, message.bytes); taken.has_error()) {
    return on_error(as_protocol_error(taken.error()), "The block plan breaks a rule.");
  }
  plan_bytes_ += message.bytes.size();
}

void ReceiverSession::handle(const BeginDisk& message) {
  if (!expect(State::kDisk, message.disk, "BeginDisk")) return;
  if (!action_is(OfferAction::kSend)) return unexpected("BeginDisk: the disk is here already");
  if (!plan_) plan_.emplace(disks_[disk_].description.geometry);  // no part: a disk of no bytes
  if (plan_bytes_ != plan_->encoded().size()) {
    return unexpected("BeginDisk: the block plan is not complete");
  }
  state_ = State::kBusy;
  actions_.emplace_back(StartDisk{.disk = disk_, .plan = std::move(*plan_)});
  plan_.reset();
  plan_bytes_ = 0;
}

void ReceiverSession::on_disk_started(std::uint32_t disk, const StartedDisk& started) {
  if (over()) return;
  held_ = HeldRangeList(disks_[disk].description.geometry.virtual_size_bytes, started.held);
  hash_credit_ = 0;
  hashing_ = false;
  const std::span<const HeldRange> all = started.held.all();
  for (std::size_t at = 0; at < all.size();) {
    const auto part = all.subspan(at, std::min(kHeldRangesPartMax, all.size() - at));
    send(HeldRanges{.disk = disk, .ranges = {part.begin(), part.end()}});
    at += part.size();
  }
  send(DiskReady{.disk = disk, .partial = started.partial, .resumed_bytes = started.resumed_bytes});
  state_ = State::kCopying;
}

void ReceiverSession::handle(const HashCredit& message) {
  if (!expect(State::kCopying, message.disk, "HashCredit")) return;
  if (message.cells > kCellHashesMax - hash_credit_)
    return unexpected("HashCredit: over its limit");
  hash_credit_ += message.cells;
  hash_next();
}

void ReceiverSession::hash_next() {
  if (hashing_ || hash_credit_ == 0 || held_.next().length == 0) return;
  hashing_ = true;
  actions_.emplace_back(
      HashCells{.disk = disk_, .cells_max = std::min(hash_credit_, kHashStepCells)});
}

void ReceiverSession::on_cells_hashed(std::uint32_t disk, std::uint64_t first_cell,
                                      std::vector<Hash128> hashes) {
  // A sender that ended the disk without waiting has no use for them.
  if (over() || state_ != State::kCopying || disk != disk_) return;
  hashing_ = false;
  hash_credit_ -= static_cast<std::uint32_t>(hashes.size());
  VHDXM_CHECK(held_.take_cells(first_cell, hashes.size()));
  send(CellHashes{.disk = disk, .first_cell = first_cell, .hashes = std::move(hashes)});
  hash_next();
}

void ReceiverSession::handle(const Measure&) {
  if (state_ != State::kOffer || !disks_.empty()) return unexpected("Measure: after an offer");
  measuring_ = true;
  state_ = State::kBusy;
  actions_.emplace_back(PrepareMeasure{});
}

void ReceiverSession::on_measure_ready(const MeasureReady& ready) {
  if (over()) return;
  send(ready);
  state_ = State::kMeasuring;
}

void ReceiverSession::on_load(const Load& load) {
  if (!over()) send(load);
}

void ReceiverSession::handle(const StreamRequest& message) {
  const bool begun = state_ == State::kCopying || state_ == State::kMeasuring || granted_ > 0;
  if (!begun || message.count == 0) return unexpected("StreamRequest");
  if (live_streams_ + message.count > welcome_.streams_max ||
      granted_ + message.count > config_.grants_max) {
    return on_error(Error{.code = Errc::kTooLarge,
                          .where = "StreamRequest",
                          .found = live_streams_ + message.count,
                          .expected = welcome_.streams_max},
                    "More data streams than were agreed on.");
  }
  actions_.emplace_back(GrantStreams{.first_stream = granted_, .count = message.count});
  granted_ += message.count;
  live_streams_ += message.count;
}

void ReceiverSession::on_granted(const std::vector<StreamGrant>& grants) {
  if (!over()) send(StreamTokens{.grants = grants});
}

void ReceiverSession::on_written(const std::vector<WrittenCount>& streams,
                                 std::uint64_t credit_bytes) {
  if (!over()) send(Written{.streams = streams, .credit_bytes = credit_bytes});
}

void ReceiverSession::on_durable(std::uint32_t disk, std::uint64_t raw_bytes) {
  if (!over() && disk == disk_) send(Durable{.disk = disk, .raw_bytes = raw_bytes});
}

void ReceiverSession::handle(const StreamLost& message) {
  const bool known = message.stream < granted_ && std::find(draining_.begin(), draining_.end(),
                                                            message.stream) == draining_.end();
  if (!known) return unexpected("StreamLost: no such stream");
  draining_.push_back(message.stream);
  actions_.emplace_back(DrainStream{.stream = message.stream});
}

void ReceiverSession::on_drained(std::uint32_t stream, std::uint64_t frames) {
  if (over()) return;
  if (live_streams_ > 0) --live_streams_;
  send(StreamDrained{.stream = stream, .frames = frames});
}

void ReceiverSession::handle(const EndDisk& message) {
  if (!expect(State::kCopying, message.disk, "EndDisk")) return;
  state_ = State::kBusy;
  actions_.emplace_back(SealDisk{.end = message});
}

void ReceiverSession::on_sealed(std::uint32_t disk, const Hash128& ledger) {
  if (over()) return;
  send(DiskSealed{.disk = disk, .ledger = ledger});
  state_ = State::kSealed;
  if (kind_ != JobKind::kLive) return;
  ++disk_;
  state_ = disk_ == disks_.size() ? State::kPasses : State::kDisk;
}

void ReceiverSession::handle(const VerifyDisk& message) {
  if (!expect(State::kSealed, message.disk, "VerifyDisk")) return;
  state_ = State::kBusy;
  actions_.emplace_back(VerifyWith{.disk = disk_, .digest = message.digest});
}

void ReceiverSession::on_verified(std::uint32_t disk) {
  if (over()) return;
  send(VerifySame{.disk = disk});
  state_ = State::kVerified;
}

void ReceiverSession::handle(const CommitDisk& message) {
  const State now = state_ == State::kVerified ? State::kVerified : State::kSealed;
  if (!expect(now, message.disk, "CommitDisk")) return;
  state_ = State::kBusy;
  actions_.emplace_back(Commit{.disk = disk_});
}

void ReceiverSession::on_committed(std::uint32_t disk) {
  if (over()) return;
  send(DiskCommitted{.disk = disk});
  ++disk_;
  state_ = State::kDisk;
}

void ReceiverSession::handle(const EndPass& message) {
  if (state_ != State::kPasses || message.pass != pass_ + 1 ||
      message.disks.size() != disks_.size()) {
    return unexpected("EndPass");
  }
  ++pass_;
  state_ = State::kSyncing;
  actions_.emplace_back(SyncPass{.end = message});
}

void ReceiverSession::on_pass_synced(std::uint32_t pass, std::uint64_t sync_us) {
  if (over()) return;
  send(PassSynced{.pass = pass, .sync_us = sync_us});
  state_ = State::kPasses;
}

void ReceiverSession::handle(const VerifyRange& message) {
  // From the hand-over on the disks may be another's to read.
  if (state_ != State::kPasses || handing_over_ || message.disk >= disks_.size() ||
      comparing_ == kVerifyRangesMax) {
    return unexpected("VerifyRange");
  }
  const std::uint64_t size = disks_[message.disk].description.geometry.virtual_size_bytes;
  const bool inside = message.offset < size && message.length <= size - message.offset;
  const std::uint64_t end = message.offset + message.length;
  const std::uint64_t pages =
      message.length / kVerifyPageBytes + (message.length % kVerifyPageBytes != 0 ? 1 : 0);
  const bool whole_pages =
      message.offset % kVerifyPageBytes == 0 && (end == size || end % kVerifyPageBytes == 0);
  const bool nothing = message.hashes.empty();
  const bool fits =
      nothing ? message.length <= kVerifyHoleBytesMax : message.hashes.size() == pages;
  if (!inside || message.length == 0 || !whole_pages || !fits) {
    return unexpected("VerifyRange: offset, length or hashes");
  }
  ++comparing_;
  actions_.emplace_back(ComparePages{.range = message});
}

void ReceiverSession::on_pages_compared(std::uint32_t disk, std::uint64_t offset,
                                        std::vector<std::uint32_t> differing) {
  if (over()) return;
  --comparing_;
  send(RangeDiffers{.disk = disk, .offset = offset, .pages = std::move(differing)});
}

void ReceiverSession::handle(const Handover& message) {
  if (state_ != State::kPasses && state_ != State::kSyncing) return unexpected("Handover");
  handing_over_ = true;
  actions_.emplace_back(DeliverHandover{.body = message.body});
}

void ReceiverSession::send_handover(std::vector<std::byte> body) {
  if (!over()) send(Handover{.body = std::move(body)});
}

void ReceiverSession::on_handed_over() {
  handed_over_ = true;
}

void ReceiverSession::handle(const EndJob&) {
  const bool all_there = kind_ == JobKind::kLive ? state_ == State::kPasses && handed_over_
                                                 : state_ == State::kDisk && disk_ == disks_.size();
  if (!all_there && state_ != State::kMeasuring) return unexpected("EndJob");
  send(JobDone{});
  state_ = State::kOver;
  actions_.emplace_back(Finish{});
}

void ReceiverSession::handle(const Fail& message) {
  state_ = State::kOver;
  const bool known = message.code >= static_cast<int>(Errc::kNotOurProtocol) &&
                     message.code <= static_cast<int>(kErrcLast);
  const auto errc = known ? static_cast<Errc>(message.code) : Errc::kPeerFailed;
  actions_.emplace_back(Abort{.error = Error{.code = errc}, .peer_text = message.text});
}

void ReceiverSession::handle(const Cancel&) {
  state_ = State::kOver;
  actions_.emplace_back(Abort{.error = Error{.code = BaseErrc::kCancelled},
                              .peer_text = "The sender cancelled the job."});
}

void ReceiverSession::on_cancel() {
  if (over()) return;
  state_ = State::kOver;
  send(Cancel{});
  actions_.emplace_back(Abort{.error = Error{.code = BaseErrc::kCancelled}, .peer_text = {}});
}

void ReceiverSession::on_error(const Error& error, const std::string& text) {
  if (over()) return;
  state_ = State::kOver;
  send(Fail{.code = fail_code(error),
            .text = text.empty() ? describe(error) : text + " (" + describe(error) + ")"});
  actions_.emplace_back(Abort{.error = error, .peer_text = {}});
}

}  // namespace vhdxm::transfer
