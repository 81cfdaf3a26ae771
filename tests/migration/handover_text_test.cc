#include "migration/handover_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/migration/sample_job.h"

namespace vhdxm::migration {
namespace {

using testing::HasSubstr;

// The table of docs/man/vhdx-migrate.1.
TEST(HandoverText, ExitCodesAreThoseOfTheManual) {
  using Kind = HandoverEnd::Kind;
  EXPECT_EQ(exit_code_of(Kind::kDone), 0);
  EXPECT_EQ(exit_code_of(Kind::kReclaimed), 0);
  EXPECT_EQ(exit_code_of(Kind::kFailed), 1);
  EXPECT_EQ(exit_code_of(Kind::kNetwork), 5);
  EXPECT_EQ(exit_code_of(Kind::kData), 6);
  EXPECT_EQ(exit_code_of(Kind::kCancelled), 7);
  EXPECT_EQ(exit_code_of(Kind::kUnconfirmed), 8);
}

TEST(HandoverText, EveryStateSaysWhoOwns) {
  EXPECT_THAT(owner_sentence(sample_job(JobState::kActive)), HasSubstr("the source owns it"));
  EXPECT_THAT(owner_sentence(sample_job(JobState::kReceiving)), HasSubstr("the source owns it"));
  EXPECT_THAT(owner_sentence(sample_job(JobState::kReleased)), HasSubstr("has not confirmed"));
  EXPECT_THAT(owner_sentence(sample_job(JobState::kConfirmed)), HasSubstr("the destination owns"));
  EXPECT_THAT(owner_sentence(sample_job(JobState::kReclaimed)), HasSubstr("source owns it again"));
  EXPECT_THAT(owner_sentence(sample_job(JobState::kPrepared)), HasSubstr("waits for its word"));
  EXPECT_THAT(owner_sentence(sample_job(JobState::kOwned)), HasSubstr("this host"));
}

TEST(HandoverText, NamesTheDisks) {
  EXPECT_THAT(owner_sentence(sample_job(JobState::kActive, 1)), HasSubstr("d0.vhdx: "));
  EXPECT_THAT(owner_sentence(sample_job(JobState::kActive, 2)), HasSubstr("d0.vhdx and d1.vhdx: "));
  EXPECT_THAT(owner_sentence(sample_job(JobState::kActive, 5)), HasSubstr("and 4 more disks: "));
}

}  // namespace
}  // namespace vhdxm::migration
