#include "migration/job_record.h"

#include <gtest/gtest.h>

#include "migration/errc.h"
#include "tests/migration/sample_job.h"
#include "tests/support/expect_error.h"

namespace vhdxm::migration {
namespace {

using test::failed_with;
using test::succeeded;

constexpr JobState kAllStates[] = {JobState::kActive,    JobState::kReleased,  JobState::kConfirmed,
                                   JobState::kReclaimed, JobState::kReceiving, JobState::kPrepared,
                                   JobState::kOwned};

TEST(JobRecord, EveryStateComesBackAsItWas) {
  for (const JobState state : kAllStates) {
    JobRecord record = sample_job(state, 3);
    record.disks[1].moves_back = !is_of_source(state);
    record.forced = state == JobState::kOwned;
    record.group = is_of_source(state) ? "" : "web-01";
    const auto decoded = decode_job(encode(record));
    ASSERT_TRUE(succeeded(decoded)) << to_string(state);
    EXPECT_EQ(*decoded, record);
  }
}

TEST(JobRecord, AnyDamagedBitIsRefused) {
  const auto bytes = encode(sample_job(JobState::kPrepared));
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    auto damaged = bytes;
    damaged[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    EXPECT_TRUE(decode_job(damaged).has_error()) << bit;
  }
}

TEST(JobRecord, AnyOtherLengthIsRefused) {
  auto bytes = encode(sample_job(JobState::kPrepared));
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_TRUE(decode_job(std::span(bytes).first(length)).has_error()) << length;
  }
  bytes.push_back(std::byte{0});
  EXPECT_TRUE(decode_job(bytes).has_error());
}

// encode() writes what it is given; so these have good CRCs.
TEST(JobRecord, EachRuleIsKept) {
  const auto refused = [](auto change, const char* part) {
    JobRecord record = sample_job(JobState::kPrepared);
    change(record);
    return failed_with(decode_job(encode(record)), Errc::kRecord, part);
  };
  EXPECT_TRUE(refused([](JobRecord& r) { r.job = {}; }, "job's id"));
  EXPECT_TRUE(refused([](JobRecord& r) { r.attempt = {}; }, "no attempt"));
  EXPECT_TRUE(
      refused([](JobRecord& r) { r.state = JobState::kReceiving; }, "before it was agreed"));
  EXPECT_TRUE(refused([](JobRecord& r) { r.source = r.target; }, "hosts"));
  EXPECT_TRUE(refused([](JobRecord& r) { r.source = {}; }, "hosts"));
  EXPECT_TRUE(refused([](JobRecord& r) { r.forced = true; }, "forced"));
  EXPECT_TRUE(refused([](JobRecord& r) { r.disks.clear(); }, "no disks"));
  EXPECT_TRUE(refused([](JobRecord& r) { r.group = "../web"; }, "no group"));
  EXPECT_TRUE(refused([](JobRecord& r) { r.disks[1].terms.id = {}; }, "id is zero"));
  EXPECT_TRUE(refused([](JobRecord& r) { r.disks[1].terms.epoch = 0; }, "epoch"));
  EXPECT_TRUE(refused([](JobRecord& r) { r.disks[1].terms.id = r.disks[0].terms.id; }, "twice"));
  EXPECT_TRUE(refused([](JobRecord& r) { r.disks[1].place = r.disks[0].place; }, "twice"));
  EXPECT_TRUE(refused([](JobRecord& r) { r.disks[0].place.name = "../x"; }, "path"));
  EXPECT_TRUE(refused([](JobRecord& r) { r.disks[0].place.folder = ""; }, "path"));
  EXPECT_TRUE(refused(
      [](JobRecord& r) {
        r.state = JobState::kReleased;
        r.disks[0].moves_back = true;
      },
      "moves back"));
  EXPECT_TRUE(refused([](JobRecord& r) { r.state = static_cast<JobState>(8); }, "state"));
}

TEST(JobRecord, ForceSkipsAnEpoch) {
  JobRecord record = sample_job(JobState::kOwned);
  EXPECT_EQ(record.new_epoch(record.disks[0]), 2U);
  record.forced = true;
  EXPECT_EQ(record.new_epoch(record.disks[0]), 3U);
  record = sample_job(JobState::kReclaimed);
  EXPECT_EQ(record.new_epoch(record.disks[0]), 3U);
}

}  // namespace
}  // namespace vhdxm::migration
