#include "vhdx/log_reader.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/support/expect_error.h"
#include "tests/support/vhdx_builder.h"
#include "vhdx/errc.h"

namespace vhdxm::vhdx {
namespace {

using test::encode_log_entry;
using test::failed_with;
using test::LogDescriptor;
using test::LogEntrySpec;
using test::seal_log_entry;
using test::succeeded;
using test::VhdxBuilder;
using Bytes = std::vector<std::byte>;

constexpr Guid kLogGuid = guid_literal("10910910-9109-1091-0910-910910910910");
constexpr std::uint64_t kTarget = VhdxBuilder::kBatAt;

VhdxBuilder::Options with_log(std::uint64_t log_length = kMiB) {
  return {.log_length = log_length, .log_guid = kLogGuid};
}

/// One data descriptor: 8 KiB of log.
LogEntrySpec entry(std::uint64_t sequence_number, std::uint32_t tail, std::uint8_t fill = 1) {
  return {.sequence_number = sequence_number,
          .tail = tail,
          .descriptors = {{.file_offset = kTarget, .fill = fill}}};
}

Result<ActiveSequence> find(const VhdxBuilder& disk) {
  const auto header = select_header(*disk.file());
  EXPECT_TRUE(succeeded(header));
  return find_active_sequence(*disk.file(), *header);
}

std::vector<std::uint64_t> numbers(const Result<ActiveSequence>& sequence) {
  std::vector<std::uint64_t> result;
  if (sequence.has_error()) {
    ADD_FAILURE() << describe(sequence.error());
    return result;
  }
  for (const LogEntry& e : sequence->entries) result.push_back(e.sequence_number);
  return result;
}

using Numbers = std::vector<std::uint64_t>;

TEST(LogReader, OneEntryThatIsItsOwnTail) {
  VhdxBuilder disk(with_log());
  disk.add_log_entry(0, entry(80117443871106387, 0));
  const auto sequence = find(disk);
  EXPECT_EQ(numbers(sequence), (Numbers{80117443871106387}));
  EXPECT_EQ(sequence->head().length, 8192U);
  EXPECT_EQ(sequence->head().descriptor_count, 1U);
}

TEST(LogReader, AnEntryWithoutDescriptorsIsValid) {
  VhdxBuilder disk(with_log());
  disk.add_log_entry(4096, {.sequence_number = 5, .tail = 4096});
  EXPECT_EQ(numbers(find(disk)), (Numbers{5}));
}

TEST(LogReader, AnEmptyLogIsCorrupt) {
  VhdxBuilder disk(with_log());
  EXPECT_TRUE(failed_with(find(disk), Errc::kNoValidLogSequence, "at byte 1048576"));
}

TEST(LogReader, TheSequenceBeginsAtTheHeadsTail) {
  VhdxBuilder disk(with_log());
  std::uint64_t at = disk.add_log_entry(0, {.sequence_number = 1, .tail = 0});
  at = disk.add_log_entry(at, entry(2, 0));
  at = disk.add_log_entry(at, entry(3, 0));
  const auto tail = static_cast<std::uint32_t>(at);
  at = disk.add_log_entry(at, entry(4, tail));
  disk.add_log_entry(at, entry(5, tail));
  EXPECT_EQ(numbers(find(disk)), (Numbers{4, 5}));
}

TEST(LogReader, ATornLastEntryIsIgnored) {
  for (const bool in_descriptor : {false, true}) {
    VhdxBuilder disk(with_log());
    const std::uint64_t second = disk.add_log_entry(0, entry(1, 0));
    disk.add_log_entry(second, entry(2, 0));
    const std::uint64_t torn = VhdxBuilder::kLogAt + second + (in_descriptor ? 100 : 8191);
    disk.fill(torn, 1, 0xee);
    EXPECT_EQ(numbers(find(disk)), (Numbers{1}));
  }
}

TEST(LogReader, ATornTailLeavesNoSequence) {
  VhdxBuilder disk(with_log());
  const std::uint64_t second = disk.add_log_entry(0, entry(1, 0));
  disk.add_log_entry(second, entry(2, 0));
  disk.fill(VhdxBuilder::kLogAt + 5000, 1, 0xee);
  EXPECT_TRUE(failed_with(find(disk), Errc::kNoValidLogSequence));
}

TEST(LogReader, AGapInTheSequenceNumbersEndsASequence) {
  VhdxBuilder disk(with_log());
  std::uint64_t at = disk.add_log_entry(0, entry(1, 0));
  at = disk.add_log_entry(at, entry(2, 0));
  disk.add_log_entry(at, entry(4, 0));
  EXPECT_EQ(numbers(find(disk)), (Numbers{1, 2}));
}

TEST(LogReader, TheNewestOfSeveralSequencesIsActive) {
  VhdxBuilder disk(with_log());
  disk.add_log_entry(0, entry(7, 0));
  disk.add_log_entry(64 << 10, entry(9, 64 << 10));
  disk.add_log_entry(128 << 10, entry(8, 128 << 10));
  EXPECT_EQ(numbers(find(disk)), (Numbers{9}));
}

TEST(LogReader, ASequenceWithoutItsTailDoesNotCountHoweverNewItIs) {
  VhdxBuilder disk(with_log());
  disk.add_log_entry(0, entry(1, 0));
  disk.add_log_entry(64 << 10, entry(100, 32 << 10));
  EXPECT_EQ(numbers(find(disk)), (Numbers{1}));
}

TEST(LogReader, ATailInsideAnEntryIsNoTail) {
  VhdxBuilder disk(with_log());
  const std::uint64_t second = disk.add_log_entry(0, entry(1, 0));
  disk.add_log_entry(second, entry(2, 4096));
  EXPECT_TRUE(failed_with(find(disk), Errc::kNoValidLogSequence));
}

TEST(LogReader, ASequenceAndItsEntriesMayWrapAroundTheEnd) {
  VhdxBuilder disk(with_log());
  const std::uint32_t tail = (1 << 20) - 12288;
  std::uint64_t at = disk.add_log_entry(tail, entry(10, tail));
  EXPECT_EQ(at, (1U << 20) - 4096);
  at = disk.add_log_entry(at, entry(11, tail));  // its data sector is the ring's first
  EXPECT_EQ(at, 4096U);
  disk.add_log_entry(at, entry(12, tail));
  const auto sequence = find(disk);
  EXPECT_EQ(numbers(sequence), (Numbers{10, 11, 12}));
}

TEST(LogReader, EntriesOfOtherLogsDoNotCount) {
  VhdxBuilder disk(with_log());
  const std::uint64_t second = disk.add_log_entry(0, entry(1, 0));
  LogEntrySpec other = entry(2, 0);
  other.log_guid = guid_literal("00000000-0000-0000-0000-000000000001");
  disk.add_log_entry(second, other);
  EXPECT_EQ(numbers(find(disk)), (Numbers{1}));
}

TEST(LogReader, ManyDescriptorsFillMoreSectors) {
  for (const std::size_t count : {126U, 127U, 254U, 255U}) {
    VhdxBuilder disk(with_log(4 * kMiB));
    LogEntrySpec spec{.sequence_number = 3, .tail = 0};
    for (std::size_t i = 0; i < count; ++i) {
      spec.descriptors.push_back({.file_offset = kTarget + 4096 * i, .fill = 2});
    }
    disk.add_log_entry(0, spec);
    const auto sequence = find(disk);
    EXPECT_EQ(numbers(sequence), (Numbers{3}));
    EXPECT_EQ(sequence->head().descriptor_count, count);
  }
}

TEST(LogReader, PaddingBehindTheDataIsAllowed) {
  VhdxBuilder disk(with_log());
  LogEntrySpec spec = entry(1, 0);
  spec.padding_sectors = 14;  // as on a disk with sectors of 64 KiB
  const std::uint64_t second = disk.add_log_entry(0, spec);
  EXPECT_EQ(second, 65536U);
  disk.add_log_entry(second, entry(2, 0));
  EXPECT_EQ(numbers(find(disk)), (Numbers{1, 2}));
}

/// Whether an entry is valid after `change` and with a good checksum.
template <class Change>
bool is_valid_after(Change change) {
  VhdxBuilder disk(with_log());
  LogEntrySpec spec = entry(0x500000001, 0);
  spec.log_guid = kLogGuid;
  spec.descriptors.push_back({.file_offset = kTarget + 8192, .zero_length = 4096});
  Bytes bytes = encode_log_entry(spec);
  change(bytes);
  seal_log_entry(bytes);
  disk.put_log(0, bytes);
  const auto sequence = find(disk);
  EXPECT_TRUE(!sequence.has_error() || sequence.error().code == Errc::kNoValidLogSequence);
  return !sequence.has_error();
}

template <class T>
auto put(std::size_t offset, T value) {
  return [=](Bytes& bytes) { store_raw(bytes.data() + offset, value); };
}

TEST(LogReader, EveryFieldOfAnEntryIsProved) {
  EXPECT_TRUE(is_valid_after([](Bytes&) {}));
  EXPECT_FALSE(is_valid_after(put(0, Le32(0))));  // signature
  EXPECT_FALSE(is_valid_after(put(8, Le32(0))));  // EntryLength
  EXPECT_FALSE(is_valid_after(put(8, Le32(8191))));
  EXPECT_FALSE(is_valid_after(put(8, Le32(4096))));              // too short for its data sector
  EXPECT_FALSE(is_valid_after(put(8, Le32((1 << 20) + 4096))));  // longer than the log
  EXPECT_FALSE(is_valid_after(put(12, Le32(1))));                // Tail
  EXPECT_FALSE(is_valid_after(put(12, Le32(1 << 20))));
  EXPECT_FALSE(is_valid_after(put(16, Le64(0))));    // SequenceNumber
  EXPECT_FALSE(is_valid_after(put(24, Le32(200))));  // DescriptorCount
  EXPECT_FALSE(is_valid_after(put(24, Le32(0xffffffff))));
  EXPECT_FALSE(is_valid_after(put(32, Le64(0))));        // LogGuid
  EXPECT_FALSE(is_valid_after(put(64, Le32(0))));        // descriptor signature
  EXPECT_FALSE(is_valid_after(put(64 + 16, Le64(1))));   // FileOffset
  EXPECT_FALSE(is_valid_after(put(64 + 24, Le64(1))));   // its sequence number
  EXPECT_FALSE(is_valid_after(put(96 + 8, Le64(1))));    // ZeroLength
  EXPECT_FALSE(is_valid_after(put(4096, Le32(0))));      // data sector signature
  EXPECT_FALSE(is_valid_after(put(4096 + 4, Le32(6))));  // SequenceHigh
  EXPECT_FALSE(is_valid_after(put(8192 - 4, Le32(2))));  // SequenceLow
  EXPECT_TRUE(is_valid_after(put(28, Le32(7))));         // reserved
}

TEST(LogReader, TheChecksumCoversTheWholeEntry) {
  for (const std::uint64_t at : {9U, 70U, 4000U, 4200U, 8000U}) {
    VhdxBuilder disk(with_log());
    disk.add_log_entry(0, entry(1, 0));
    disk.fill(VhdxBuilder::kLogAt + at, 1, 0xa5);
    EXPECT_TRUE(failed_with(find(disk), Errc::kNoValidLogSequence)) << at;
  }
}

TEST(LogReader, AFileShorterThanTheHeadsFlushedOffsetIsTruncated) {
  VhdxBuilder disk(with_log());
  LogEntrySpec first = entry(1, 0);
  first.flushed_file_offset = 100 * kMiB;  // before the file was shrunk
  LogEntrySpec second = entry(2, 0);
  second.flushed_file_offset = disk.size();
  disk.add_log_entry(disk.add_log_entry(0, first), second);
  EXPECT_TRUE(succeeded(find(disk)));
  disk.resize(disk.size() - 1);
  EXPECT_TRUE(failed_with(find(disk), Errc::kTruncated,
                          "FlushedFileOffset, [MS-VHDX] 2.3.3 at byte 1056768 (found 4194303, "
                          "expected 4194304)"));
}

TEST(LogReader, TheLastSequenceNumberHasNoSuccessor) {
  VhdxBuilder disk(with_log());
  constexpr std::uint64_t kLast = std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t second = disk.add_log_entry(0, entry(kLast, 0));
  disk.add_log_entry(second, entry(1, 0));
  EXPECT_EQ(numbers(find(disk)), (Numbers{kLast}));
}

TEST(LogReader, ALogBeyondTheFileIsRefused) {
  VhdxBuilder disk(with_log());
  disk.put_header32(VhdxBuilder::kHeaderLogLength, 4 << 20);
  EXPECT_TRUE(failed_with(find(disk), Errc::kBadLogLocation, "beyond the file"));
}

TEST(LogReader, AHugeSparseLogIsScannedInBoundedTime) {
  VhdxBuilder disk(with_log(kLogBytesMax));
  disk.add_log_entry(kLogBytesMax - 8192,
                     entry(1, static_cast<std::uint32_t>(kLogBytesMax - 8192)));
  EXPECT_EQ(numbers(find(disk)), (Numbers{1}));
  disk.put_header32(VhdxBuilder::kHeaderLogLength, (1 << 30) + (1 << 20));
  EXPECT_TRUE(failed_with(find(disk), Errc::kBadLogLocation, "1 GiB"));
}

TEST(LogReader, ALongRunWithoutItsTailIsScannedInBoundedTime) {
  // 16384 entries of a sector each, whose heads all name a tail that is not there.
  VhdxBuilder disk(with_log(64 * kMiB));
  std::uint64_t at = 4096;
  for (std::uint64_t i = 1; at < 64 * kMiB; ++i) {
    at += 4096;
    disk.add_log_entry(at - 4096, {.sequence_number = i, .tail = 0});
  }
  EXPECT_TRUE(failed_with(find(disk), Errc::kNoValidLogSequence));
}

TEST(LogReader, EntriesInsideEachOthersPaddingAreRefusedInBoundedTime) {
  // Every sector begins an entry that goes on to the end of the log.
  VhdxBuilder disk(with_log(4 * kMiB));
  Bytes log(4 * kMiB);
  for (std::size_t at = log.size(); at != 0;) {
    at -= 4096;
    const auto length = static_cast<std::uint32_t>(log.size() - at);
    RawLogEntryHeader raw{.signature = kLogEntrySignature,
                          .checksum = 0,
                          .entry_length = length,
                          .tail = 0,
                          .sequence_number = 1 + at,
                          .descriptor_count = 0,
                          .reserved = 0,
                          .log_guid = kLogGuid,
                          .flushed_file_offset = 0,
                          .last_file_offset = 0};
    store_raw(log.data() + at, raw);
    // An entry that is not valid is read to its end too: no need for the quadratic work of sealing.
  }
  disk.put_log(0, log);
  EXPECT_TRUE(failed_with(find(disk), Errc::kLogTooComplex));
}

}  // namespace
}  // namespace vhdxm::vhdx
