#include "transfer/job_journal.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "base/crc32c.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "tests/support/temp_folder.h"
#include "tests/transfer/hex_bytes.h"
#include "tests/transfer/session_pair.h"
#include "transfer/errc.h"

namespace vhdxm::transfer {
namespace {

std::vector<std::byte> plan_bytes(const OfferDisk& offer, std::byte four_blocks) {
  const std::uint64_t blocks = offer.description.geometry.block_count();
  return std::vector<std::byte>(static_cast<std::size_t>((blocks + 3) / 4), four_blocks);
}

JobJournal example() {
  JobJournal journal;
  for (std::size_t i = 0; i < journal.job_id.size(); ++i) {
    journal.job_id[i] = static_cast<std::uint8_t>(0xc0 + i);
  }
  journal.partial.offer = example_disk(0);
  journal.partial.plan = plan_bytes(journal.partial.offer, std::byte{0x41});
  return journal;
}

JobJournal example_with_former() {
  JobJournal journal = example();
  BegunFile former{.offer = example_disk(0), .plan = {}};
  former.offer.description.geometry.virtual_size_bytes /= 2;
  former.plan = plan_bytes(former.offer, std::byte{0x14});
  journal.former = former;
  return journal;
}

// Golden: a journal of this version can be read by every build of it.
TEST(JobJournal, GoldenHeader) {
  const auto bytes = encode_journal(example());
  EXPECT_EQ(to_hex(std::span(bytes).first(52)),
            "56 48 44 58 4d 4a 4e 4c 02 00 07 00 70 00 00 00 "
            "c0 c1 c2 c3 c4 c5 c6 c7 c8 c9 ca cb cc cd ce cf "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00");
}

TEST(JobJournal, ComesBack) {
  JobJournal journal = example_with_former();
  journal.partial.offer.seed_name = "seed.vhdx";  // is of the job, not of the partial
  journal.partial.offer.description.opaque_items.push_back(
      {.item_id = Guid::random(), .content = {}});
  const auto again = decode_journal(encode_journal(journal));
  ASSERT_TRUE(test::succeeded(again));
  EXPECT_EQ(again->job_id, journal.job_id);
  EXPECT_EQ(again->partial.plan, journal.partial.plan);
  EXPECT_EQ(again->partial.offer.name, journal.partial.offer.name);
  EXPECT_EQ(again->partial.offer.seed_name, "");
  EXPECT_EQ(again->partial.offer.description, example().partial.offer.description);
  EXPECT_TRUE(again->fits(journal.partial.offer, journal.partial.plan));
  ASSERT_TRUE(again->former.has_value());
  EXPECT_EQ(again->former->plan, journal.former->plan);
  EXPECT_EQ(again->former->offer.description, journal.former->offer.description);
  EXPECT_FALSE(decode_journal(encode_journal(example()))->former.has_value());
}

TEST(JobJournal, FitsJobsOfItsKindOnly) {
  JobJournal journal = example();
  const OfferDisk& offer = journal.partial.offer;
  std::vector<std::byte> other_plan = journal.partial.plan;
  other_plan.front() ^= std::byte{1};
  EXPECT_TRUE(journal.fits(offer, journal.partial.plan));
  EXPECT_FALSE(journal.fits(offer, other_plan));
  EXPECT_FALSE(journal.fits_live(offer));
  journal.kind = JobKind::kLive;
  const auto again = decode_journal(encode_journal(journal));
  ASSERT_TRUE(test::succeeded(again));
  EXPECT_EQ(again->kind, JobKind::kLive);
  EXPECT_FALSE(again->fits(offer, journal.partial.plan));
  EXPECT_TRUE(again->fits_live(offer)) << "whatever the plan is now";
  OfferDisk clone = offer;
  clone.description.virtual_disk_id.bytes[3] ^= 1;
  EXPECT_FALSE(again->fits_live(clone));
}

TEST(JobJournal, EveryFlippedBitAndEveryLengthIsFound) {
  const auto good = encode_journal(example_with_former());
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto bytes = good;
    bytes[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    EXPECT_TRUE(decode_journal(bytes).has_error()) << bit;
  }
  for (std::size_t length = 0; length < good.size(); ++length) {
    EXPECT_TRUE(decode_journal(std::span(good).first(length)).has_error()) << length;
  }
  auto longer = good;
  longer.push_back({});
  EXPECT_TRUE(decode_journal(longer).has_error());
}

TEST(JobJournal, FitsTheSameDiskAndPlanWhateverItsContent) {
  const JobJournal journal = example();
  const std::vector<std::byte>& plan = journal.partial.plan;
  OfferDisk now = journal.partial.offer;
  now.description.data_write_guid = Guid::random();
  now.payload_bytes += 4096;
  EXPECT_TRUE(journal.fits(now, plan));
  EXPECT_TRUE(may_be_former(journal.partial, now));
  EXPECT_FALSE(journal.fits(now, plan_bytes(now, std::byte{0x11}))) << "it is a former one then";
  now.description.geometry.virtual_size_bytes += 512;
  EXPECT_FALSE(journal.fits(now, plan));
  EXPECT_TRUE(may_be_former(journal.partial, now)) << "disks grow";
  now.description.virtual_disk_id = Guid::random();
  EXPECT_FALSE(journal.fits(now, plan));
  EXPECT_FALSE(may_be_former(journal.partial, now));
  now = journal.partial.offer;
  now.name = "other.vhdx";
  EXPECT_FALSE(journal.fits(now, plan));
  EXPECT_FALSE(may_be_former(journal.partial, now));
  now = journal.partial.offer;
  now.description.geometry.logical_sector_bytes ^= 4096 ^ 512;
  EXPECT_FALSE(may_be_former(journal.partial, now));
}

TEST(JobJournal, HasNoFolderButTheOneItLiesIn) {
  JobJournal journal = example();
  const std::vector<std::byte> without = encode_journal(journal);
  journal.partial.offer.folder = "fast";
  EXPECT_EQ(encode_journal(journal), without);
  EXPECT_TRUE(decode_journal(without).value().fits(journal.partial.offer, journal.partial.plan));
}

class JournalFileTest : public testing::Test {
 protected:
  test::TempFolder folder_;
  std::unique_ptr<Directory> state_ = Directory::open(folder_.path()).value();
};

TEST_F(JournalFileTest, IsNewThenWrittenThenReadByTheNext) {
  {
    const auto file = JournalFile::claim(*state_, "a.vhdx").value();
    EXPECT_FALSE(file->read().value().has_value());
    ASSERT_TRUE(test::succeeded(file->write(example())));
  }
  const auto file = JournalFile::claim_existing(*state_, "a.vhdx").value();
  const auto read = file->read();
  ASSERT_TRUE(test::succeeded(read));
  ASSERT_TRUE(read->has_value());
  EXPECT_TRUE((**read).fits(example().partial.offer, example().partial.plan));
  ASSERT_TRUE(test::succeeded(file->remove()));
  EXPECT_TRUE(JournalFile::claim_existing(*state_, "a.vhdx").has_error());
}

TEST_F(JournalFileTest, HasOneHolder) {
  auto file = JournalFile::claim(*state_, "a.vhdx").value();
  EXPECT_EQ(JournalFile::claim(*state_, "a.vhdx").error().code, Errc::kBusy);
  EXPECT_EQ(JournalFile::claim_existing(*state_, "a.vhdx").error().code, Errc::kBusy);
  EXPECT_TRUE(JournalFile::claim(*state_, "b.vhdx").has_value());
  file.reset();
  EXPECT_TRUE(JournalFile::claim(*state_, "a.vhdx").has_value());
}

TEST_F(JournalFileTest, WhatIsNoJournalIsAnErrorThatNamesTheFile) {
  std::ofstream(folder_ / "a.vhdx.journal") << "not a journal, but long enough to be one of them: "
                                               "there are fifty-six bytes before the body";
  const auto file = JournalFile::claim(*state_, "a.vhdx").value();
  const auto read = file->read();
  ASSERT_TRUE(read.has_error());
  EXPECT_NE(describe(read.error()).find("a.vhdx.journal"), std::string::npos);
  std::filesystem::resize_file(folder_ / "a.vhdx.journal", 40 << 20);
  EXPECT_EQ(file->read().error().code, Errc::kTooLarge);
}

}  // namespace
}  // namespace vhdxm::transfer
