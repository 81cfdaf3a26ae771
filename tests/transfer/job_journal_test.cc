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

JobJournal example() {
  JobJournal journal;
  for (std::size_t i = 0; i < journal.job_id.size(); ++i) {
    journal.job_id[i] = static_cast<std::uint8_t>(0xc0 + i);
  }
  journal.offer = example_disk(0);
  journal.plan_digest = {.low = 0x0102030405060708, .high = 0x1112131415161718};
  return journal;
}

// Golden: a journal of this version can be read by every build of it.
TEST(JobJournal, GoldenHeader) {
  const auto bytes = encode_journal(example());
  EXPECT_EQ(to_hex(std::span(bytes).first(52)),
            "56 48 44 58 4d 4a 4e 4c 01 00 04 00 5c 00 00 00 "
            "c0 c1 c2 c3 c4 c5 c6 c7 c8 c9 ca cb cc cd ce cf "
            "08 07 06 05 04 03 02 01 18 17 16 15 14 13 12 11 00 00 00 00");
}

TEST(JobJournal, ComesBack) {
  JobJournal journal = example();
  journal.offer.seed_name = "seed.vhdx";  // is of the job, not of the partial
  journal.offer.description.opaque_items.push_back({.item_id = Guid::random(), .content = {}});
  const auto again = decode_journal(encode_journal(journal));
  ASSERT_TRUE(test::succeeded(again));
  EXPECT_EQ(again->job_id, journal.job_id);
  EXPECT_EQ(again->plan_digest, journal.plan_digest);
  EXPECT_EQ(again->offer.name, journal.offer.name);
  EXPECT_EQ(again->offer.seed_name, "");
  EXPECT_EQ(again->offer.description, example().offer.description);
  EXPECT_TRUE(again->fits(journal.offer, journal.plan_digest));
}

TEST(JobJournal, FitsJobsOfItsKindOnly) {
  JobJournal journal = example();
  const Hash128 other_plan{.low = 1, .high = 2};
  EXPECT_TRUE(journal.fits(journal.offer, journal.plan_digest));
  EXPECT_FALSE(journal.fits(journal.offer, other_plan));
  EXPECT_FALSE(journal.fits_live(journal.offer));
  journal.kind = JobKind::kLive;
  const auto again = decode_journal(encode_journal(journal));
  ASSERT_TRUE(test::succeeded(again));
  EXPECT_EQ(again->kind, JobKind::kLive);
  EXPECT_FALSE(again->fits(journal.offer, journal.plan_digest));
  EXPECT_TRUE(again->fits_live(journal.offer)) << "whatever the plan is now";
  OfferDisk clone = journal.offer;
  clone.description.virtual_disk_id.bytes[3] ^= 1;
  EXPECT_FALSE(again->fits_live(clone));
}

TEST(JobJournal, EveryFlippedBitAndEveryLengthIsFound) {
  const auto good = encode_journal(example());
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
  OfferDisk now = journal.offer;
  now.description.data_write_guid = Guid::random();
  now.payload_bytes += 4096;
  EXPECT_TRUE(journal.fits(now, journal.plan_digest));
  EXPECT_FALSE(journal.fits(now, {.low = 1, .high = 2}));
  now.description.virtual_disk_id = Guid::random();
  EXPECT_FALSE(journal.fits(now, journal.plan_digest));
  now = journal.offer;
  now.description.geometry.virtual_size_bytes += 512;
  EXPECT_FALSE(journal.fits(now, journal.plan_digest));
  now = journal.offer;
  now.name = "other.vhdx";
  EXPECT_FALSE(journal.fits(now, journal.plan_digest));
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
  EXPECT_TRUE((**read).fits(example().offer, example().plan_digest));
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
  std::filesystem::resize_file(folder_ / "a.vhdx.journal", 8 << 20);
  EXPECT_EQ(file->read().error().code, Errc::kTooLarge);
}

}  // namespace
}  // namespace vhdxm::transfer
