#include "tests/transfer/session_pair.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <type_traits>

namespace vhdxm::transfer {
namespace {

const Preamble kPreamble{.kind = ConnectionKind::kOffer, .job_id = {1, 2, 3}};
const Error kFault{.code = BaseErrc::kInjected, .where = "fault of the test"};

SenderSession::Config sender_config(const SessionPair::Options& options) {
  SenderSession::Config config{.preamble = kPreamble,
                               .features = options.sender_features,
                               .extent_bytes_max = 1 << 20,
                               .streams_wanted = 2,
                               .nonce = 5,
                               .software = "test sender",
                               .verify = options.verify && options.live_passes == 0,
                               .kind = options.live_passes > 0 ? JobKind::kLive : JobKind::kCopy,
                               .handover = {},
                               .disks = {},
                               .replacements_max = 2};
  if (options.live_passes > 0) config.handover = {std::byte{1}};
  for (std::uint32_t i = 0; i < options.disks; ++i) config.disks.push_back(example_disk(i));
  return config;
}

ReceiverSession::Config receiver_config(const SessionPair::Options& options) {
  return {.preamble = kPreamble,
          .features = options.receiver_features,
          .extent_bytes_max = 1 << 20,
          .streams_max = 4,
          .credit_bytes = 8 << 20,
          .nonce = 7,
          .software = "test receiver",
          .grants_max = 8};
}

Ledger example_ledger(std::uint64_t seed) {
  Ledger ledger(seed);
  ledger.add(FrameHeader{.kind = FrameKind::kZero, .virtual_offset = 0, .raw_length = 4096});
  return ledger;
}

std::vector<PassLedger> pass_ledgers(std::size_t disks, std::uint32_t pass) {
  return std::vector<PassLedger>(disks, {.ledger = {.low = pass}, .entries = pass, .raw_bytes = 9});
}

const Hash128 kDigest{.low = 11, .high = 12};

}  // namespace

OfferDisk example_disk(std::uint32_t disk) {
  OfferDisk offer;
  offer.disk = disk;
  offer.name = fmt::format("disk{}.vhdx", disk);
  offer.description.geometry = {.virtual_size_bytes = 64 << 20,
                                .block_bytes = 1 << 20,
                                .logical_sector_bytes = 512,
                                .physical_sector_bytes = 4096,
                                .type = vhdx::DiskType::kDynamic};
  offer.description.virtual_disk_id.bytes[0] = 1;
  offer.description.data_write_guid.bytes[0] = static_cast<std::uint8_t>(disk + 1);
  offer.payload_bytes = 5 << 20;
  return offer;
}

SessionPair::SessionPair(const Options& options)
    : sender(sender_config(options)), receiver(receiver_config(options)), options_(options) {}

void SessionPair::run(Fault fault, std::size_t fault_at) {
  sender.start();
  for (;;) {
    if (steps_ == fault_at) strike(fault);
    if (!step()) break;
    ++steps_;
  }
}

void SessionPair::strike(Fault fault) {
  switch (fault) {
    case Fault::kNone:
      break;
    case Fault::kSenderError:
      sender.on_error(kFault, "");
      break;
    case Fault::kReceiverError:
      receiver.on_error(kFault, "");
      break;
    case Fault::kSenderCancel:
      sender.on_cancel();
      break;
    case Fault::kReceiverCancel:
      receiver.on_cancel();
      break;
    case Fault::kConnectionLost:
      cut_ = true;
      to_sender_.clear();
      to_receiver_.clear();
      sender.on_error(Error{.code = Errc::kPeerClosed}, "");
      receiver.on_error(Error{.code = Errc::kPeerClosed}, "");
      break;
    case Fault::kSenderSaysNonsense:
      to_receiver_.emplace_front(JobDone{});
      break;
    case Fault::kReceiverSaysNonsense:
      to_sender_.emplace_front(EndJob{});
      break;
    case Fault::kStreamLost:
      sender.on_stream_lost(0);
      break;
  }
}

bool SessionPair::step() {
  if (auto action = sender.next_action()) {
    on(*action);
    return true;
  }
  if (auto action = receiver.next_action()) {
    on(*action);
    return true;
  }
  // Every message passes through its bytes, as between hosts.
  const auto deliver = [](std::deque<Message>& queue) {
    const auto bytes = encode(queue.front());
    queue.pop_front();
    MessageReader reader(kBodyBytesMax);
    reader.feed(bytes);
    return std::move(*reader.next().value());
  };
  if (!to_receiver_.empty()) {
    receiver.on_message(deliver(to_receiver_));
    return true;
  }
  if (!to_sender_.empty()) {
    sender.on_message(deliver(to_sender_));
    return true;
  }
  return false;
}

void SessionPair::on(SenderSession::Action& action) {
  using S = SenderSession;
  if (auto* send = std::get_if<S::Send>(&action)) {
    log.push_back(fmt::format("S>{}", name_of(send->message)));
    if (!cut_) to_receiver_.push_back(send->message);
  } else if (auto* digest = std::get_if<S::ComputeDigest>(&action)) {
    log.push_back("S:ComputeDigest");
    sender.on_digest(digest->disk, kDigest);
  } else if (auto* plan = std::get_if<S::PreparePlan>(&action)) {
    log.push_back("S:PreparePlan");
    vhdx::BlockPlan empty(example_disk(plan->disk).description.geometry);
    sender.on_plan(plan->disk, empty.encoded());
  } else if (std::get_if<S::OpenStreams>(&action) != nullptr) {
    log.push_back("S:OpenStreams");
    if (streams_open_at_ == 0) streams_open_at_ = steps_ + 1;
  } else if (auto* copy = std::get_if<S::CopyDisk>(&action)) {
    log.push_back("S:CopyDisk");
    copying_ = copy->disk;
    cells_owed_ = 0;
    for (const HeldRange& range : copy->held) cells_owed_ += range.length / kCellBytes;
    receiver.on_written({{.stream = 0, .frames = 1}}, 100);
    receiver.on_durable(copy->disk, 4096);
    if (cells_owed_ == 0) sender.on_copied(copy->disk, example_ledger(sender.hash_seed()));
  } else if (auto* hashes = std::get_if<S::TakeHashes>(&action)) {
    log.push_back("S:TakeHashes");
    for (const Hash128& hash : hashes->hashes) cells.push_back(hash.low);
    cells_owed_ -= hashes->hashes.size();
    if (cells_owed_ == 0) {
      sender.on_copied(copying_, example_ledger(sender.hash_seed()));
    } else {
      sender.on_hashes_used(copying_, static_cast<std::uint32_t>(hashes->hashes.size()));
    }
  } else if (auto* requeue = std::get_if<S::RequeueStream>(&action)) {
    log.push_back(fmt::format("S:RequeueStream {}", requeue->frames));
  } else if (auto* check = std::get_if<S::CheckSource>(&action)) {
    log.push_back("S:CheckSource");
    sender.on_source_unchanged(check->disk);
  } else if (auto* disk = std::get_if<S::DiskDone>(&action)) {
    done.push_back(disk->disk);
    if (disk->identical) identical.push_back(disk->disk);
  } else if (auto* introduced = std::get_if<S::Introduced>(&action)) {
    handed_over.push_back(fmt::format("introduced {}", introduced->body.size()));
  } else if (std::get_if<S::StartPasses>(&action) != nullptr) {
    log.push_back("S:StartPasses");
    sender.on_pass_copied(2, pass_ledgers(options_.disks, 2));
  } else if (auto* pass = std::get_if<S::PassDone>(&action)) {
    log.push_back(fmt::format("S:PassDone {}", pass->pass));
    pass_ = pass->pass;
    if (options_.verify && pass_ == 2 && !sender.over()) {
      const std::uint64_t page = kVerifyPageBytes;
      sender.verify_range({.disk = 0, .offset = 0, .length = 2 * page, .hashes = {1, 2}});
      sender.verify_range({.disk = 0, .offset = 2 * page, .length = page, .hashes = {}});
    } else {
      go_on();
    }
  } else if (auto* compared = std::get_if<S::RangeCompared>(&action)) {
    log.push_back(fmt::format("S:RangeCompared {}", compared->differing.size()));
    if (sender.verifying() == 0) go_on();
  } else if (auto* answer = std::get_if<S::DeliverHandover>(&action)) {
    handed_over.push_back(fmt::format("sender {}", static_cast<char>(answer->body.at(0))));
    sender.on_handed_over();
  } else if (std::get_if<S::Finish>(&action) != nullptr) {
    sender_finished = true;
  } else if (auto* abort = std::get_if<S::Abort>(&action)) {
    log.push_back("S:Abort");
    sender_abort = *abort;
  }
}

void SessionPair::go_on() {
  if (sender.over()) return;
  if (pass_ <= options_.live_passes) {
    sender.on_pass_copied(pass_ + 1, pass_ledgers(options_.disks, pass_ + 1));
  } else {
    sender.send_handover({std::byte{'p'}});
  }
}

void SessionPair::on(ReceiverSession::Action& action) {
  using R = ReceiverSession;
  if (auto* send = std::get_if<R::Send>(&action)) {
    log.push_back(fmt::format("R>{}", name_of(send->message)));
    if (!cut_) to_sender_.push_back(send->message);
  } else if (auto* offer = std::get_if<R::CheckOffer>(&action)) {
    log.push_back("R:CheckOffer");
    auto actions = options_.actions;
    actions.resize(offer->disks.size(), OfferAction::kSend);
    receiver.on_offer_checked(actions, offer->handover);
  } else if (auto* compare = std::get_if<R::CompareWith>(&action)) {
    log.push_back("R:CompareWith");
    receiver.on_compared(compare->disk);
  } else if (auto* start = std::get_if<R::StartDisk>(&action)) {
    log.push_back("R:StartDisk");
    unhashed_ = options_.held;
    receiver.on_disk_started(start->disk, {.held = options_.held});
  } else if (auto* hash = std::get_if<R::HashCells>(&action)) {
    log.push_back("R:HashCells");
    HeldRange& range = unhashed_.front();
    const std::uint64_t first = range.offset / kCellBytes;
    std::vector<Hash128> hashes;
    for (; range.length > 0 && hashes.size() < hash->cells_max; range.length -= kCellBytes) {
      hashes.push_back({.low = range.offset / kCellBytes, .high = 1});
      range.offset += kCellBytes;
    }
    if (range.length == 0) unhashed_.erase(unhashed_.begin());
    receiver.on_cells_hashed(hash->disk, first, hashes);
  } else if (auto* grant = std::get_if<R::GrantStreams>(&action)) {
    log.push_back("R:GrantStreams");
    std::vector<StreamGrant> grants;
    for (std::uint16_t i = 0; i < grant->count; ++i) {
      grants.push_back({.stream = grant->first_stream + i, .token = {}});
    }
    receiver.on_granted(grants);
  } else if (auto* drain = std::get_if<R::DrainStream>(&action)) {
    log.push_back("R:DrainStream");
    receiver.on_drained(drain->stream, 1);
  } else if (auto* seal = std::get_if<R::SealDisk>(&action)) {
    log.push_back("R:SealDisk");
    receiver.on_sealed(seal->end.disk, seal->end.ledger);
  } else if (auto* verify = std::get_if<R::VerifyWith>(&action)) {
    log.push_back("R:VerifyWith");
    receiver.on_verified(verify->disk);
  } else if (auto* commit = std::get_if<R::Commit>(&action)) {
    log.push_back("R:Commit");
    committed.push_back(commit->disk);
    receiver.on_committed(commit->disk);
  } else if (auto* sync = std::get_if<R::SyncPass>(&action)) {
    log.push_back("R:SyncPass");
    EXPECT_EQ(sync->end.disks, pass_ledgers(options_.disks, sync->end.pass));
    receiver.on_pass_synced(sync->end.pass, 5);
  } else if (auto* pages = std::get_if<R::ComparePages>(&action)) {
    log.push_back("R:ComparePages");
    const bool nothing = pages->range.hashes.empty();
    receiver.on_pages_compared(pages->range.disk, pages->range.offset,
                               nothing ? std::vector<std::uint32_t>{} : std::vector{1U});
  } else if (auto* told = std::get_if<R::DeliverHandover>(&action)) {
    handed_over.push_back(fmt::format("receiver {}", static_cast<char>(told->body.at(0))));
    receiver.send_handover({std::byte{'o'}});
    receiver.on_handed_over();
  } else if (std::get_if<R::Finish>(&action) != nullptr) {
    receiver_finished = true;
  } else if (auto* abort = std::get_if<R::Abort>(&action)) {
    log.push_back("R:Abort");
    receiver_abort = *abort;
  }
}

}  // namespace vhdxm::transfer
