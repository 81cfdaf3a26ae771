// The fields of every message, in wire order: what encoding, decoding and the test of
// docs/protocol.md all walk along, so that they cannot disagree.
//
// An archive has `Ref<T>` (const T& when it writes, T& when it reads) and one member for each way a
// field can stand on the wire. A field's names are literals: an Error names a field without
// allocating.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "transfer/messages.h"
#include "transfer/wire_text.h"

namespace vhdxm::transfer {

/// What an Error says of a field. `name` is "Message.field", as docs/protocol.md has it.
struct FieldName {
  const char* name;
  const char* cut_off;   ///< The body ends inside it.
  const char* too_long;  ///< A length or a count over its limit.
  const char* bad_text;  ///< Not UTF-8, or characters that have no place in it.
  const char* bad_value;
};

/// What text may hold.
enum class TextRule : std::uint8_t {
  kAny,        ///< Valid UTF-8.
  kPrintable,  ///< For a screen or a file name: no control characters either.
  kFolder,     ///< Empty, or is_folder_name().
};

inline constexpr std::size_t kNameBytesMax = 255;
inline constexpr std::size_t kSoftwareBytesMax = 255;
inline constexpr std::size_t kFailTextBytesMax = 2000;
inline constexpr std::size_t kLocatorEntriesMax = 64;
inline constexpr std::size_t kLocatorTextBytesMax = 4096;

#define VHDXM_FIELD(name)                                                              \
  FieldName {                                                                          \
    name, name " (the body ends before it does)", name " (over its limit)",            \
        name " (not text that may stand there)", name " (a value that does not exist)" \
  }

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<Hello> m) {
  archive.raw(VHDXM_FIELD("Hello.preamble"), m.preamble);
  archive.integer(VHDXM_FIELD("Hello.features"), m.features);
  archive.integer(VHDXM_FIELD("Hello.extent_bytes_max"), m.extent_bytes_max);
  archive.integer(VHDXM_FIELD("Hello.streams_wanted"), m.streams_wanted);
  archive.integer(VHDXM_FIELD("Hello.nonce"), m.nonce);
  archive.text(VHDXM_FIELD("Hello.software"), m.software, kSoftwareBytesMax, TextRule::kPrintable);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<Welcome> m) {
  archive.integer(VHDXM_FIELD("Welcome.features"), m.features);
  archive.integer(VHDXM_FIELD("Welcome.extent_bytes_max"), m.extent_bytes_max);
  archive.integer(VHDXM_FIELD("Welcome.streams_max"), m.streams_max);
  archive.integer(VHDXM_FIELD("Welcome.credit_bytes"), m.credit_bytes);
  archive.integer(VHDXM_FIELD("Welcome.nonce"), m.nonce);
  archive.text(VHDXM_FIELD("Welcome.software"), m.software, kSoftwareBytesMax,
               TextRule::kPrintable);
}

/// Without opaque items, each of which has an OfferItem of its own.
template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<OfferDisk> m) {
  using Entry = std::pair<std::string, std::string>;
  archive.integer(VHDXM_FIELD("OfferDisk.disk"), m.disk);
  archive.text(VHDXM_FIELD("OfferDisk.name"), m.name, kNameBytesMax, TextRule::kPrintable);
  auto& geometry = m.description.geometry;
  archive.integer(VHDXM_FIELD("OfferDisk.virtual_size_bytes"), geometry.virtual_size_bytes);
  archive.integer(VHDXM_FIELD("OfferDisk.block_bytes"), geometry.block_bytes);
  archive.integer(VHDXM_FIELD("OfferDisk.logical_sector_bytes"), geometry.logical_sector_bytes);
  archive.integer(VHDXM_FIELD("OfferDisk.physical_sector_bytes"), geometry.physical_sector_bytes);
  archive.enumeration(VHDXM_FIELD("OfferDisk.type"), geometry.type, vhdx::DiskType::kDifferencing);
  archive.raw(VHDXM_FIELD("OfferDisk.virtual_disk_id"), m.description.virtual_disk_id.bytes);
  archive.raw(VHDXM_FIELD("OfferDisk.data_write_guid"), m.description.data_write_guid.bytes);
  if (archive.presence(VHDXM_FIELD("OfferDisk.has_parent"), m.description.parent)) {
    archive.list(VHDXM_FIELD("OfferDisk.parent"), m.description.parent->entries, kLocatorEntriesMax,
                 [&archive](typename Archive::template Ref<Entry> entry) {
                   archive.text(VHDXM_FIELD("OfferDisk.parent.key"), entry.first,
                                kLocatorTextBytesMax, TextRule::kAny);
                   archive.text(VHDXM_FIELD("OfferDisk.parent.value"), entry.second,
                                kLocatorTextBytesMax, TextRule::kAny);
                 });
  }
  archive.integer(VHDXM_FIELD("OfferDisk.payload_bytes"), m.payload_bytes);
  archive.text(VHDXM_FIELD("OfferDisk.seed_name"), m.seed_name, kNameBytesMax,
               TextRule::kPrintable);
  archive.text(VHDXM_FIELD("OfferDisk.folder"), m.folder, kFolderNameBytesMax, TextRule::kFolder);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<OfferItem> m) {
  archive.integer(VHDXM_FIELD("OfferItem.disk"), m.disk);
  archive.raw(VHDXM_FIELD("OfferItem.item_id"), m.item.item_id.bytes);
  archive.integer(VHDXM_FIELD("OfferItem.flags"), m.item.flags);
  archive.bytes(VHDXM_FIELD("OfferItem.content"), m.item.content, vhdx::kMetadataItemBytesMax);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<OfferEnd> m) {
  archive.integer(VHDXM_FIELD("OfferEnd.disk_count"), m.disk_count);
  archive.enumeration(VHDXM_FIELD("OfferEnd.kind"), m.kind, JobKind::kLive);
  archive.bytes(VHDXM_FIELD("OfferEnd.handover"), m.handover, kHandoverBytesMax);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<OfferReply> m) {
  archive.list(VHDXM_FIELD("OfferReply.actions"), m.actions, kDisksMax,
               [&archive](typename Archive::template Ref<OfferAction> action) {
                 archive.enumeration(VHDXM_FIELD("OfferReply.actions.action"), action,
                                     OfferAction::kCompare);
               });
  archive.bytes(VHDXM_FIELD("OfferReply.handover"), m.handover, kHandoverBytesMax);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<CompareDigest> m) {
  archive.integer(VHDXM_FIELD("CompareDigest.disk"), m.disk);
  archive.hash(VHDXM_FIELD("CompareDigest.digest"), m.digest);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<CompareSame> m) {
  archive.integer(VHDXM_FIELD("CompareSame.disk"), m.disk);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<PlanPart> m) {
  archive.integer(VHDXM_FIELD("PlanPart.disk"), m.disk);
  archive.integer(VHDXM_FIELD("PlanPart.first_byte"), m.first_byte);
  archive.bytes(VHDXM_FIELD("PlanPart.bytes"), m.bytes, kBlockPlanPartBytesMax);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<BeginDisk> m) {
  archive.integer(VHDXM_FIELD("BeginDisk.disk"), m.disk);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<DiskReady> m) {
  archive.integer(VHDXM_FIELD("DiskReady.disk"), m.disk);
  archive.enumeration(VHDXM_FIELD("DiskReady.partial"), m.partial, PartialState::kReplaced);
  archive.integer(VHDXM_FIELD("DiskReady.resumed_bytes"), m.resumed_bytes);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<StreamRequest> m) {
  archive.integer(VHDXM_FIELD("StreamRequest.count"), m.count);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<StreamTokens> m) {
  archive.list(VHDXM_FIELD("StreamTokens.grants"), m.grants, kStreamsMax,
               [&archive](typename Archive::template Ref<StreamGrant> grant) {
                 archive.integer(VHDXM_FIELD("StreamTokens.grants.stream"), grant.stream);
                 archive.raw(VHDXM_FIELD("StreamTokens.grants.token"), grant.token);
               });
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<Written> m) {
  archive.list(VHDXM_FIELD("Written.streams"), m.streams, kStreamsMax,
               [&archive](typename Archive::template Ref<WrittenCount> count) {
                 archive.integer(VHDXM_FIELD("Written.streams.stream"), count.stream);
                 archive.integer(VHDXM_FIELD("Written.streams.frames"), count.frames);
               });
  archive.integer(VHDXM_FIELD("Written.credit_bytes"), m.credit_bytes);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<Durable> m) {
  archive.integer(VHDXM_FIELD("Durable.disk"), m.disk);
  archive.integer(VHDXM_FIELD("Durable.raw_bytes"), m.raw_bytes);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<StreamLost> m) {
  archive.integer(VHDXM_FIELD("StreamLost.stream"), m.stream);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<StreamDrained> m) {
  archive.integer(VHDXM_FIELD("StreamDrained.stream"), m.stream);
  archive.integer(VHDXM_FIELD("StreamDrained.frames"), m.frames);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<EndDisk> m) {
  archive.integer(VHDXM_FIELD("EndDisk.disk"), m.disk);
  archive.hash(VHDXM_FIELD("EndDisk.ledger"), m.ledger);
  archive.integer(VHDXM_FIELD("EndDisk.entries"), m.entries);
  archive.integer(VHDXM_FIELD("EndDisk.raw_bytes"), m.raw_bytes);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<DiskSealed> m) {
  archive.integer(VHDXM_FIELD("DiskSealed.disk"), m.disk);
  archive.hash(VHDXM_FIELD("DiskSealed.ledger"), m.ledger);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<VerifyDisk> m) {
  archive.integer(VHDXM_FIELD("VerifyDisk.disk"), m.disk);
  archive.hash(VHDXM_FIELD("VerifyDisk.digest"), m.digest);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<VerifySame> m) {
  archive.integer(VHDXM_FIELD("VerifySame.disk"), m.disk);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<CommitDisk> m) {
  archive.integer(VHDXM_FIELD("CommitDisk.disk"), m.disk);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<DiskCommitted> m) {
  archive.integer(VHDXM_FIELD("DiskCommitted.disk"), m.disk);
}

template <class Archive>
void fields(Archive&, typename Archive::template Ref<EndJob>) {}

template <class Archive>
void fields(Archive&, typename Archive::template Ref<JobDone>) {}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<Fail> m) {
  archive.integer(VHDXM_FIELD("Fail.code"), m.code);
  archive.text(VHDXM_FIELD("Fail.text"), m.text, kFailTextBytesMax, TextRule::kPrintable);
}

template <class Archive>
void fields(Archive&, typename Archive::template Ref<Cancel>) {}

template <class Archive>
void fields(Archive&, typename Archive::template Ref<Heartbeat>) {}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<Join> m) {
  archive.raw(VHDXM_FIELD("Join.preamble"), m.preamble);
  archive.integer(VHDXM_FIELD("Join.stream"), m.stream);
  archive.raw(VHDXM_FIELD("Join.token"), m.token);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<JoinReply> m) {
  archive.integer(VHDXM_FIELD("JoinReply.stream"), m.stream);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<HeldRanges> m) {
  archive.integer(VHDXM_FIELD("HeldRanges.disk"), m.disk);
  archive.list(VHDXM_FIELD("HeldRanges.ranges"), m.ranges, kHeldRangesPartMax,
               [&archive](typename Archive::template Ref<HeldRange> range) {
                 archive.integer(VHDXM_FIELD("HeldRanges.ranges.offset"), range.offset);
                 archive.integer(VHDXM_FIELD("HeldRanges.ranges.length"), range.length);
               });
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<CellHashes> m) {
  archive.integer(VHDXM_FIELD("CellHashes.disk"), m.disk);
  archive.integer(VHDXM_FIELD("CellHashes.first_cell"), m.first_cell);
  archive.list(VHDXM_FIELD("CellHashes.hashes"), m.hashes, kCellHashesPartMax,
               [&archive](typename Archive::template Ref<Hash128> hash) {
                 archive.hash(VHDXM_FIELD("CellHashes.hashes.hash"), hash);
               });
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<HashCredit> m) {
  archive.integer(VHDXM_FIELD("HashCredit.disk"), m.disk);
  archive.integer(VHDXM_FIELD("HashCredit.cells"), m.cells);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<Load> m) {
  archive.integer(VHDXM_FIELD("Load.elapsed_us"), m.elapsed_us);
  archive.integer(VHDXM_FIELD("Load.streams"), m.streams);
  archive.integer(VHDXM_FIELD("Load.stream_us"), m.stream_us);
  archive.integer(VHDXM_FIELD("Load.waiting_us"), m.waiting_us);
  archive.integer(VHDXM_FIELD("Load.writing_us"), m.writing_us);
  archive.integer(VHDXM_FIELD("Load.unpacking_us"), m.unpacking_us);
  archive.integer(VHDXM_FIELD("Load.processor_us"), m.processor_us);
  archive.integer(VHDXM_FIELD("Load.raw_bytes"), m.raw_bytes);
  archive.integer(VHDXM_FIELD("Load.packed_bytes"), m.packed_bytes);
  archive.integer(VHDXM_FIELD("Load.wire_bytes"), m.wire_bytes);
}

template <class Archive>
void fields(Archive&, typename Archive::template Ref<Measure>) {}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<MeasureReady> m) {
  archive.integer(VHDXM_FIELD("MeasureReady.processors"), m.processors);
  archive.integer(VHDXM_FIELD("MeasureReady.write_bytes_per_second"), m.write_bytes_per_second);
  archive.integer(VHDXM_FIELD("MeasureReady.write_ns_per_mib"), m.write_ns_per_mib);
  archive.integer(VHDXM_FIELD("MeasureReady.host_id"), m.host_id);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<EndPass> m) {
  archive.integer(VHDXM_FIELD("EndPass.pass"), m.pass);
  archive.list(VHDXM_FIELD("EndPass.disks"), m.disks, kDisksMax,
               [&archive](typename Archive::template Ref<PassLedger> disk) {
                 archive.hash(VHDXM_FIELD("EndPass.disks.ledger"), disk.ledger);
                 archive.integer(VHDXM_FIELD("EndPass.disks.entries"), disk.entries);
                 archive.integer(VHDXM_FIELD("EndPass.disks.raw_bytes"), disk.raw_bytes);
               });
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<PassSynced> m) {
  archive.integer(VHDXM_FIELD("PassSynced.pass"), m.pass);
  archive.integer(VHDXM_FIELD("PassSynced.sync_us"), m.sync_us);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<Handover> m) {
  archive.bytes(VHDXM_FIELD("Handover.body"), m.body, kHandoverBytesMax);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<VerifyRange> m) {
  archive.integer(VHDXM_FIELD("VerifyRange.disk"), m.disk);
  archive.integer(VHDXM_FIELD("VerifyRange.offset"), m.offset);
  archive.integer(VHDXM_FIELD("VerifyRange.length"), m.length);
  archive.list(VHDXM_FIELD("VerifyRange.hashes"), m.hashes, kVerifyHashesMax,
               [&archive](typename Archive::template Ref<std::uint64_t> hash) {
                 archive.integer(VHDXM_FIELD("VerifyRange.hashes.hash"), hash);
               });
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<RangeDiffers> m) {
  archive.integer(VHDXM_FIELD("RangeDiffers.disk"), m.disk);
  archive.integer(VHDXM_FIELD("RangeDiffers.offset"), m.offset);
  archive.list(VHDXM_FIELD("RangeDiffers.pages"), m.pages, kVerifyPagesMax,
               [&archive](typename Archive::template Ref<std::uint32_t> page) {
                 archive.integer(VHDXM_FIELD("RangeDiffers.pages.page"), page);
               });
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<ForwardOpen> m) {
  archive.raw(VHDXM_FIELD("ForwardOpen.preamble"), m.preamble);
  archive.text(VHDXM_FIELD("ForwardOpen.folder"), m.folder, kFolderNameBytesMax, TextRule::kFolder);
  archive.text(VHDXM_FIELD("ForwardOpen.name"), m.name, kNameBytesMax, TextRule::kPrintable);
}

template <class Archive>
void fields(Archive& archive, typename Archive::template Ref<ForwardReady> m) {
  archive.text(VHDXM_FIELD("ForwardReady.export_name"), m.export_name, kNameBytesMax,
               TextRule::kPrintable);
  archive.integer(VHDXM_FIELD("ForwardReady.instance"), m.instance);
}

#undef VHDXM_FIELD

}  // namespace vhdxm::transfer
