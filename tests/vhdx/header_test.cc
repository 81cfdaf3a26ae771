#include "vhdx/header.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/support/expect_error.h"
#include "tests/support/vhdx_builder.h"
#include "vhdx/errc.h"

namespace vhdxm::vhdx {
namespace {

using test::failed_with;
using test::succeeded;
using test::VhdxBuilder;

constexpr Guid kOther = guid_literal("99999999-9999-9999-9999-999999999999");

TEST(Header, TheGreaterSequenceNumberIsCurrent) {
  VhdxBuilder disk;
  disk.put_guid(VhdxBuilder::kHeaderAt[0] + VhdxBuilder::kHeaderFileWriteGuid, kOther);
  disk.seal_header(0);
  auto header = select_header(*disk.file());
  ASSERT_TRUE(succeeded(header));
  EXPECT_EQ(header->sequence_number, 8U);
  EXPECT_NE(header->file_write_guid, kOther);

  disk.put64(VhdxBuilder::kHeaderAt[0] + VhdxBuilder::kHeaderSequence, 9);
  disk.seal_header(0);
  header = select_header(*disk.file());
  ASSERT_TRUE(succeeded(header));
  EXPECT_EQ(header->file_write_guid, kOther);
}

TEST(Header, FieldsAreReadFromTheirPlaces) {
  VhdxBuilder disk({.log_length = 3 * kMiB, .log_guid = kOther});
  const auto header = select_header(*disk.file());
  ASSERT_TRUE(succeeded(header));
  EXPECT_EQ(header->log_guid, kOther);
  EXPECT_EQ(header->log_offset, VhdxBuilder::kLogAt);
  EXPECT_EQ(header->log_length, 3 * kMiB);
  EXPECT_EQ(header->log_end(), VhdxBuilder::kLogAt + 3 * kMiB);
  EXPECT_EQ(to_string(header->data_write_guid), "dddddddd-0000-0000-0000-000000000001");
}

TEST(Header, ATornHeaderLeavesTheOther) {
  VhdxBuilder disk;
  disk.put8(VhdxBuilder::kHeaderAt[1] + 4095, 1);  // the checksum covers the reserved bytes too
  const auto slots = read_header_slots(*disk.file());
  ASSERT_TRUE(succeeded(slots));
  EXPECT_EQ(slots->slots[0].state, HeaderSlot::State::kValid);
  EXPECT_EQ(slots->slots[1].state, HeaderSlot::State::kBadChecksum);
  const auto header = select_header(*disk.file());
  ASSERT_TRUE(succeeded(header));
  EXPECT_EQ(header->sequence_number, 7U);

  disk.put8(VhdxBuilder::kHeaderAt[0], 'H');
  EXPECT_EQ(read_header_slots(*disk.file())->slots[0].state, HeaderSlot::State::kBadSignature);
  EXPECT_TRUE(failed_with(select_header(*disk.file()), Errc::kNoValidHeader));
}

TEST(Header, ReservedBytesAreIgnored) {
  VhdxBuilder disk;
  disk.put8(VhdxBuilder::kHeaderAt[1] + 4095, 1);
  disk.seal_header(1);
  const auto header = select_header(*disk.file());
  ASSERT_TRUE(succeeded(header));
  EXPECT_EQ(header->sequence_number, 8U);
}

TEST(Header, AShortFileHasNoHeader) {
  VhdxBuilder disk;
  disk.resize(VhdxBuilder::kHeaderAt[0] + 4095);
  EXPECT_EQ(read_header_slots(*disk.file())->slots[0].state, HeaderSlot::State::kFileTooShort);
  EXPECT_TRUE(failed_with(select_header(*disk.file()), Errc::kNoValidHeader));
}

TEST(Header, EqualSequenceNumbersAreRefusedUnlessTheHeadersAreEqual) {
  VhdxBuilder disk;
  disk.put_header64(VhdxBuilder::kHeaderSequence, 1);  // as Disk2vhd writes them
  EXPECT_TRUE(succeeded(select_header(*disk.file())));
  disk.put_guid(VhdxBuilder::kHeaderAt[1] + VhdxBuilder::kHeaderDataWriteGuid, kOther);
  disk.seal_header(1);
  EXPECT_TRUE(failed_with(select_header(*disk.file()), Errc::kAmbiguousHeaders, "SequenceNumber"));
}

TEST(Header, OtherVersionsAreRefusedEvenIfTheOlderHeaderIsFine) {
  VhdxBuilder disk;
  disk.put16(VhdxBuilder::kHeaderAt[1] + VhdxBuilder::kHeaderVersion, 2);
  disk.seal_header(1);
  EXPECT_TRUE(failed_with(select_header(*disk.file()), Errc::kUnsupportedVersion,
                          "at byte 131138 (found 2, expected 1)"));
}

TEST(Header, LogVersionMattersOnlyIfThereIsALog) {
  VhdxBuilder disk;
  disk.put_header16(VhdxBuilder::kHeaderLogVersion, 1);
  EXPECT_TRUE(succeeded(select_header(*disk.file())));
  disk.put_header_guid(VhdxBuilder::kHeaderLogGuid, kOther);
  EXPECT_TRUE(failed_with(select_header(*disk.file()), Errc::kUnsupportedLogVersion));
}

TEST(Header, TheLogMustBeInAPossiblePlace) {
  const auto with = [](std::uint64_t offset, std::uint32_t length, const Guid& log_guid) {
    VhdxBuilder disk;
    disk.put_header_guid(VhdxBuilder::kHeaderLogGuid, log_guid);
    disk.put_header64(VhdxBuilder::kHeaderLogOffset, offset);
    disk.put_header32(VhdxBuilder::kHeaderLogLength, length);
    return select_header(*disk.file());
  };
  EXPECT_TRUE(succeeded(with(kMiB, kMiB, kOther)));
  EXPECT_TRUE(succeeded(with(0, 0, Guid{})));
  EXPECT_TRUE(failed_with(with(kMiB, 0, kOther), Errc::kBadLogLocation, "LogLength"));
  EXPECT_TRUE(failed_with(with(kMiB, kMiB + 4096, kOther), Errc::kBadLogLocation, "LogLength"));
  EXPECT_TRUE(failed_with(with(kMiB + 4096, kMiB, kOther), Errc::kBadLogLocation, "LogOffset"));
  EXPECT_TRUE(failed_with(with(0, kMiB, kOther), Errc::kBadLogLocation, "header section"));
  EXPECT_TRUE(
      failed_with(with(0 - kMiB, 0xfff00000, Guid{}), Errc::kBadLogLocation, "exceeds 2^64"));
}

TEST(Header, AnUpdateWritesTheOtherSlotFirstAndThenBoth) {
  VhdxBuilder disk;
  auto header = select_header(*disk.file());
  ASSERT_TRUE(succeeded(header));
  header->file_write_guid = kOther;
  const auto written = update_headers(*disk.file(), *header);
  ASSERT_TRUE(succeeded(written));
  EXPECT_EQ(written->sequence_number, 10U);
  const auto slots = read_header_slots(*disk.file());
  ASSERT_TRUE(succeeded(slots));
  // 8 was in slot 1: so 9 stands in slot 0, and 10 in slot 1.
  EXPECT_EQ(slots->slots[0].header.sequence_number, 9U);
  EXPECT_EQ(slots->slots[1].header, *written);
  EXPECT_EQ(slots->slots[0].header.file_write_guid, kOther);
}

TEST(Header, AnUpdateRewritesADamagedSlotWhole) {
  VhdxBuilder disk;
  disk.fill(VhdxBuilder::kHeaderAt[0], 4096, 0xee);
  const auto header = select_header(*disk.file());
  ASSERT_TRUE(succeeded(header));
  ASSERT_TRUE(succeeded(update_headers(*disk.file(), *header)));
  const auto slots = read_header_slots(*disk.file());
  EXPECT_EQ(slots->slots[0].state, HeaderSlot::State::kValid);
  EXPECT_EQ(slots->slots[0].header.data_write_guid, header->data_write_guid);
  EXPECT_EQ(disk.get(VhdxBuilder::kHeaderAt[0] + 80, 4016), std::vector<std::byte>(4016));
}

TEST(Header, AnExhaustedSequenceNumberIsRefusedBeforeAnythingIsWritten) {
  VhdxBuilder disk;
  disk.put64(VhdxBuilder::kHeaderAt[1] + VhdxBuilder::kHeaderSequence,
             std::numeric_limits<std::uint64_t>::max());
  disk.seal_header(1);
  const auto before = disk.get(0, 1 << 20);
  const auto header = select_header(*disk.file());
  ASSERT_TRUE(succeeded(header));  // reading is still possible
  EXPECT_TRUE(failed_with(update_headers(*disk.file(), *header), Errc::kSequenceExhausted));
  EXPECT_EQ(disk.get(0, 1 << 20), before);
}

TEST(Header, EncodedHeadersAreReadBack) {
  const Header header{.sequence_number = 0x0123456789abcdef,
                      .file_write_guid = Guid::random(),
                      .data_write_guid = Guid::random(),
                      .log_guid = {},
                      .log_length = 2 * kMiB,
                      .log_offset = 5 * kMiB};
  VhdxBuilder disk;
  disk.put(VhdxBuilder::kHeaderAt[0], encode_header(header));
  const auto read = select_header(*disk.file());
  ASSERT_TRUE(succeeded(read));
  EXPECT_EQ(*read, header);
}

}  // namespace
}  // namespace vhdxm::vhdx
