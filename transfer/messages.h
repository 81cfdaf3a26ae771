// What the two sides say to each other on the control connection, and to join a data stream.
//
// On the wire: {u32 body length, u16 type, u16 zero} and the body, all little-endian; strings and
// byte runs are {u32 length, bytes}. docs/protocol.md is the authority, and a test holds its tables
// against this code. Hello, Welcome, Fail, Join and JoinReply have golden bytes that never change.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/hash128.h"
#include "base/result.h"
#include "transfer/frame.h"
#include "transfer/preamble.h"
#include "vhdx/description.h"

namespace vhdxm::transfer {

inline constexpr std::size_t kMessageHeaderBytes = 8;
/// The longest body before Welcome (Hello, Fail, Join). Bytes.
inline constexpr std::uint32_t kEarlyBodyBytesMax = 4096;
/// The longest body after it: one metadata item of 1 MiB, or a piece of a block plan. Bytes.
inline constexpr std::uint32_t kBodyBytesMax = 1024 * 1024 + 4096;
inline constexpr std::size_t kStreamsMax = 64;
inline constexpr std::size_t kDisksMax = 1024;
inline constexpr std::size_t kBlockPlanPartBytesMax = 1024 * 1024;
/// Ranges that a receiver may say it holds of a disk, in one message and in all.
inline constexpr std::size_t kHeldRangesPartMax = 32768;
inline constexpr std::size_t kHeldRangesMax = 262144;
/// Hashes in one message, and how many may be on their way or unused at the sender. Of cells: 4 GiB
/// of a disk, and 256 KiB of memory.
inline constexpr std::size_t kCellHashesPartMax = 1024;
inline constexpr std::size_t kCellHashesMax = 16384;
/// Of disks in use that are read again: what a hash is of, bytes; hashes in one message, which are
/// of 1 MiB; the longest range of nothing; messages that may be unanswered.
inline constexpr std::uint64_t kVerifyPageBytes = 4096;
inline constexpr std::size_t kVerifyHashesMax = 256;
inline constexpr std::uint64_t kVerifyHoleBytesMax = 64 * 1024 * 1024;
inline constexpr std::size_t kVerifyPagesMax = kVerifyHoleBytesMax / kVerifyPageBytes;
inline constexpr std::size_t kVerifyRangesMax = 16;
/// What one hand-over message may be. Bytes.
inline constexpr std::size_t kHandoverBytesMax = 512 * 1024;

/// What a side can do or asks for; bits of a u64. Unknown bits of the other side are ignored.
enum class Feature : std::uint64_t {
  kPlaintextData = 1,  ///< Data streams without TLS; both must ask for it.
  kZstd = 2,           ///< Payload may be compressed: frames with Codec::kZstd.
};

/// Sender, first. `preamble` repeats what the connection began with.
struct Hello {
  PreambleBytes preamble{};
  std::uint64_t features = 0;
  std::uint32_t extent_bytes_max = 0;
  std::uint16_t streams_wanted = 0;
  std::uint64_t nonce = 0;  ///< Half of the job's hash seed.
  std::string software;     ///< "vhdx-migrate 0.1.0"
};
/// Receiver's answer: what holds for the job.
struct Welcome {
  std::uint64_t features = 0;
  std::uint32_t extent_bytes_max = 0;
  std::uint16_t streams_max = 0;
  std::uint64_t credit_bytes = 0;  ///< Raw payload that may be under way before the first Written.
  std::uint64_t nonce = 0;         ///< The seed of all hashes is the sum of both nonces mod 2^64.
  std::string software;
};
/// Sender: one disk of the job; parents before their children. Ends with OfferEnd.
struct OfferDisk {
  std::uint32_t disk = 0;
  std::string name;                 ///< A plain file name ending in .vhdx or .avhdx.
  vhdx::Description description;    ///< Without opaque items: they follow as OfferItem.
  std::uint64_t payload_bytes = 0;  ///< What the destination must have room for.
  std::string seed_name = {};       ///< A disk of that folder to take cells from; may be empty.
  std::string folder = {};  ///< The destination's storage folder, by its name; empty: the usual.
};
struct OfferItem {
  std::uint32_t disk = 0;
  vhdx::OpaqueItem item;
};
enum class JobKind : std::uint8_t {
  kCopy = 0,  ///< Disks that nobody writes to: each is copied, and gets its name.
  kLive =
      1,  ///< Disks in use: copied, then passes over what was written meanwhile, then handed over.
};
struct OfferEnd {
  std::uint32_t disk_count = 0;
  JobKind kind = JobKind::kCopy;
  std::vector<std::byte> handover = {};  ///< kLive: what whoever hands over says first.
};
enum class OfferAction : std::uint8_t {
  kSend = 0,     ///< The destination has no such disk.
  kCompare = 1,  ///< It has one of that name, geometry and identity: compare digests.
};
/// Receiver: an action for each disk, in order. A disk it cannot take ends the job with Fail.
struct OfferReply {
  std::vector<OfferAction> actions;
  std::vector<std::byte> handover = {};  ///< Live jobs: what whoever takes over answers.
};
/// Sender: the digest (vhdx/layer_digest.h) of a disk with OfferAction::kCompare.
struct CompareDigest {
  std::uint32_t disk = 0;
  Hash128 digest;
};
/// Receiver: whether its own digest is the same. If not it has said Fail(kNameTaken) instead.
struct CompareSame {
  std::uint32_t disk = 0;
};
/// Sender: a piece of the encoded vhdx::BlockPlan, in order.
struct PlanPart {
  std::uint32_t disk = 0;
  std::uint64_t first_byte = 0;
  std::vector<std::byte> bytes;
};
/// Sender: the plan is complete, start the disk.
struct BeginDisk {
  std::uint32_t disk = 0;
};
/// What became of what an earlier job left of the disk.
enum class PartialState : std::uint8_t {
  kNone = 0,      ///< There was nothing.
  kResumed = 1,   ///< It is gone on with.
  kReplaced = 2,  ///< It was of another disk or plan, or could not be read: the disk starts anew.
};
/// Receiver: the partial file is there and frames may come.
struct DiskReady {
  std::uint32_t disk = 0;
  PartialState partial = PartialState::kNone;
  std::uint64_t resumed_bytes = 0;  ///< Of the disk, in the ranges that the partial holds.
};
/// Sender: asks for tokens to join `count` more data streams.
struct StreamRequest {
  std::uint16_t count = 0;
};
using StreamToken = std::array<std::uint8_t, 16>;
struct StreamGrant {
  std::uint32_t stream = 0;
  StreamToken token{};  ///< Good once.
};
struct StreamTokens {
  std::vector<StreamGrant> grants;
};
struct WrittenCount {
  std::uint32_t stream = 0;
  std::uint64_t frames = 0;  ///< Frames of this stream, from its first, that are applied.
};
/// Receiver: what is written (not yet durable), and credit that came free.
struct Written {
  std::vector<WrittenCount> streams;
  std::uint64_t credit_bytes = 0;
};
/// Receiver: everything that Written has counted before for this disk is durable.
struct Durable {
  std::uint32_t disk = 0;
  std::uint64_t raw_bytes = 0;  ///< Bytes of the disk's range that are durable so far.
};
/// Sender: this stream broke, or is given up; say how far it came.
struct StreamLost {
  std::uint32_t stream = 0;
};
/// Receiver: the stream is closed and drained; exactly these frames are applied, no more will be.
struct StreamDrained {
  std::uint32_t stream = 0;
  std::uint64_t frames = 0;
};
/// Sender: all frames of the disk are acknowledged as written; this is its ledger.
struct EndDisk {
  std::uint32_t disk = 0;
  Hash128 ledger;
  std::uint64_t entries = 0;
  std::uint64_t raw_bytes = 0;  ///< The disk's virtual size: every byte is accounted for once.
};
/// Receiver: ledgers agree and the partial file is a complete, durable VHDX.
struct DiskSealed {
  std::uint32_t disk = 0;
  Hash128 ledger;
};
/// Sender, with --verify: its layer digest, read again from the source.
struct VerifyDisk {
  std::uint32_t disk = 0;
  Hash128 digest;
};
/// Receiver: its digest, read again from the partial file, is the same (otherwise Fail).
struct VerifySame {
  std::uint32_t disk = 0;
};
/// Sender: the source did not change while it was sent; give the disk its name.
struct CommitDisk {
  std::uint32_t disk = 0;
};
/// Receiver: the disk has its name, durably.
struct DiskCommitted {
  std::uint32_t disk = 0;
};
/// Sender: nothing more to come. The receiver answers with JobDone, and both close.
struct EndJob {};
struct JobDone {};
/// A range of a disk. Units: bytes.
struct HeldRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;

  std::uint64_t end() const { return offset + length; }
  friend bool operator==(const HeldRange&, const HeldRange&) = default;
};
/// Receiver, before DiskReady: whole cells of which it may have the content. Their hashes follow.
struct HeldRanges {
  std::uint32_t disk = 0;
  std::vector<HeldRange> ranges;
};
/// Receiver, after DiskReady: hashes of held cells that stand side by side, in the order of the
/// disk. A hash of zero: it does not have that cell after all.
struct CellHashes {
  std::uint32_t disk = 0;
  std::uint64_t first_cell = 0;
  std::vector<Hash128> hashes;
};
/// Sender: so many of the hashes are used up; as many more may come.
struct HashCredit {
  std::uint32_t disk = 0;
  std::uint32_t cells = 0;
};
/// Either side: the job is over, and why. `code` is an Errc's number.
struct Fail {
  std::uint16_t code = 0;
  std::string text;  ///< For the person at the other end; at most 2,000 bytes.
};
/// Either side: a person or program asked for the end of the job.
struct Cancel {};
/// Either side, when it has been silent for a while; no answer is needed.
struct Heartbeat {};
/// Sender, first on a data connection.
struct Join {
  PreambleBytes preamble{};
  std::uint32_t stream = 0;
  StreamToken token{};
};
struct JoinReply {
  std::uint32_t stream = 0;
};

/// Receiver, a few times a second while streams are up: what all its data streams did with their
/// time so far, from the first on. Times are sums over the streams. Bounded by 2^64 microseconds.
struct Load {
  std::uint64_t elapsed_us = 0;    ///< Since the first stream joined.
  std::uint16_t streams = 0;       ///< That are up.
  std::uint64_t stream_us = 0;     ///< How long streams were up.
  std::uint64_t waiting_us = 0;    ///< Of stream_us: for bytes to come.
  std::uint64_t writing_us = 0;    ///< Of stream_us: for the destination's disk.
  std::uint64_t unpacking_us = 0;  ///< Processor time of decompression.
  std::uint64_t processor_us = 0;  ///< Processor time of all that the streams do.
  std::uint64_t raw_bytes = 0;     ///< Applied.
  std::uint64_t packed_bytes = 0;  ///< Of raw_bytes: those that came compressed.
  std::uint64_t wire_bytes = 0;    ///< All that came from the network, of frames under way too.
};
/// Sender, in place of an offer: nothing is to be kept; measure with me.
struct Measure {};
/// Receiver: data streams may be opened, what they bring is verified and dropped. EndJob ends it.
struct MeasureReady {
  std::uint16_t processors = 0;              ///< That this process may use.
  std::uint64_t write_bytes_per_second = 0;  ///< Of its disk, tried with a file that is gone again.
  std::uint64_t write_ns_per_mib = 0;        ///< Processor time of that.
  std::uint64_t host_id = 0;  ///< The same number on the same running host: is it the sender's own?
};
/// What was sent of one disk, or applied to it, in all passes so far.
struct PassLedger {
  Hash128 ledger;
  std::uint64_t entries = 0;
  std::uint64_t raw_bytes = 0;

  friend bool operator==(const PassLedger&, const PassLedger&) = default;
};
/// Sender, live jobs: all frames of the pass are acknowledged as written. One ledger for each disk.
struct EndPass {
  std::uint32_t pass = 0;
  std::vector<PassLedger> disks;
};
/// Receiver: the ledgers agree, and what came is durable. Frames of the next pass may come.
struct PassSynced {
  std::uint32_t pass = 0;
  std::uint64_t sync_us = 0;  ///< How long making it durable took.
};
/// Either side of a live job, after the first pass: a message of whoever hands ownership over.
struct Handover {
  std::vector<std::byte> body;
};

/// Sender, live jobs with --verify, between passes: what it reads there now.
struct VerifyRange {
  std::uint32_t disk = 0;
  std::uint64_t offset = 0;  ///< Of a page.
  std::uint64_t length = 0;  ///< Whole pages, but where the disk ends.
  /// XXH3-64 of each page, with the job's seed; none: it has nothing there, so it reads as zero.
  std::vector<std::uint64_t> hashes;
};
/// Receiver, to each of these in turn: which pages of the range it reads otherwise, from 0 on.
struct RangeDiffers {
  std::uint32_t disk = 0;
  std::uint64_t offset = 0;
  std::vector<std::uint32_t> pages;
};

/// First on a connection for forwarded requests: of the host that handed the disk over.
struct ForwardOpen {
  PreambleBytes preamble{};
  std::string folder;  ///< As OfferDisk's.
  std::string name;
};
/// Its answer; Fail otherwise. After it the bytes are NBD's, the fixed newstyle negotiation first.
struct ForwardReady {
  std::string export_name;     ///< That the disk is asked for by, on this connection.
  std::uint64_t instance = 0;  ///< Another one, and what was not made durable before is lost.
};

/// The order is the wire's type number, from 1; a new message goes to the end, with a new version.
using Message =
    std::variant<Hello, Welcome, OfferDisk, OfferItem, OfferEnd, OfferReply, CompareDigest,
                 CompareSame, PlanPart, BeginDisk, DiskReady, StreamRequest, StreamTokens, Written,
                 Durable, StreamLost, StreamDrained, EndDisk, DiskSealed, VerifyDisk, VerifySame,
                 CommitDisk, DiskCommitted, EndJob, JobDone, Fail, Cancel, Heartbeat, Join,
                 JoinReply, HeldRanges, CellHashes, HashCredit, Load, Measure, MeasureReady,
                 EndPass, PassSynced, Handover, VerifyRange, RangeDiffers, ForwardOpen,
                 ForwardReady>;

/// "Hello", "OfferDisk", ...; as in docs/protocol.md.
const char* name_of(const Message& message);

/// Header and body. Fail's text is cleaned and cut to fit; OfferDisk's opaque items are left out.
/// Errors: Errc::kIncompatible, naming the field: a message over its own limits, as an offer made
/// from a foreign image can be.
Result<std::vector<std::byte>> encode_checked(const Message& message);
/// The same for messages made of the program's own values: aborts instead.
std::vector<std::byte> encode(const Message& message);

struct MessageHeader {
  std::uint32_t body_bytes = 0;
  std::uint16_t type = 0;
};
/// Errors: Errc::kProtocol (type, reserved), kTooLarge (above body_bytes_max).
Result<MessageHeader> decode_message_header(std::span<const std::byte, kMessageHeaderBytes> bytes,
                                            std::uint32_t body_bytes_max);
/// Errors: Errc::kProtocol, naming message and field: a body too short or too long, a count or a
/// string over its limit, text that is not UTF-8, an enum value that does not exist.
Result<Message> decode_message(const MessageHeader& header, std::span<const std::byte> body);

/// Puts messages together from a byte stream. Calling sequence: feed(), then next() until empty.
class MessageReader {
 public:
  explicit MessageReader(std::uint32_t body_bytes_max = kEarlyBodyBytesMax)
      : body_bytes_max_(body_bytes_max) {}
  /// After Welcome: longer bodies are allowed.
  void set_body_bytes_max(std::uint32_t bytes) { body_bytes_max_ = bytes; }
  void feed(std::span<const std::byte> bytes);
  /// The next whole message, or nothing yet. After an error the stream cannot be used.
  Result<std::optional<Message>> next();
  /// Bytes that are not part of a message taken yet; for handing a data stream on after Join.
  std::vector<std::byte> take_rest();

 private:
  std::uint32_t body_bytes_max_;
  std::vector<std::byte> buffer_;
  std::size_t begin_ = 0;
};

}  // namespace vhdxm::transfer
