// Every state of one side with every state of the other.
#include "migration/resolve.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/migration/sample_job.h"

namespace vhdxm::migration {
namespace {

// "none", "unreadable", or the name of a state; without sidecars.
Answer by_record(const std::string& what) {
  Answer answer{.job = sample_job_id()};
  if (what == "unreadable") answer.found = RecordFound::kUnreadable;
  for (int i = 1; i <= 7; ++i) {
    const auto state = static_cast<JobState>(i);
    if (what != to_string(state)) continue;
    answer.found = RecordFound::kReadable;
    answer.state = state;
    answer.terms = sample_job(state).terms();
  }
  return answer;
}

Answer with_sidecars(Answer answer, OwnershipState state, std::uint64_t epoch, bool this_job) {
  const JobRecord job = sample_job(JobState::kReleased);
  for (const JobDisk& disk : job.disks) {
    OwnershipRecord sidecar{.id = disk.terms.id,
                            .epoch = epoch,
                            .state = state,
                            .job = this_job ? job.job : sample_job_id(0x99),
                            .source = job.source,
                            .target = job.target};
    if (state == OwnershipState::kReleased) {
      sidecar.attempt = job.attempt;
      sidecar.ledger = disk.terms.ledger;
    }
    answer.disks.push_back(
        {.id = disk.terms.id, .found = RecordFound::kReadable, .sidecar = sidecar});
  }
  return answer;
}

const char* const kTargetStates[] = {"none", "unreadable", "receiving", "prepared", "owned"};
const char* const kSourceStates[] = {"none",     "unreadable", "active",
                                     "released", "confirmed",  "reclaimed"};

TEST(Resolve, WhatTheSourceDoes) {
  using Row = std::map<std::string, SourceMove>;
  constexpr auto kKeep = SourceMove::kKeep;
  constexpr auto kVoid = SourceMove::kVoid;
  constexpr auto kRelease = SourceMove::kRelease;
  constexpr auto kConfirm = SourceMove::kConfirm;
  constexpr auto kYield = SourceMove::kYield;
  constexpr auto kDoubt = SourceMove::kInDoubt;
  const std::map<std::string, Row> expected = {
      {"active",
       {{"none", kKeep},
        {"unreadable", kKeep},
        {"receiving", kKeep},
        {"prepared", kVoid},
        {"owned", kYield}}},
      {"released",
       {{"none", kDoubt},
        {"unreadable", kDoubt},
        {"receiving", kDoubt},
        {"prepared", kRelease},
        {"owned", kConfirm}}},
      {"confirmed",
       {{"none", kConfirm},
        {"unreadable", kConfirm},
        {"receiving", kConfirm},
        {"prepared", kConfirm},
        {"owned", kConfirm}}},
      // It meets a destination that was not destroyed after all.
      {"reclaimed",
       {{"none", kKeep},
        {"unreadable", kKeep},
        {"receiving", kKeep},
        {"prepared", kVoid},
        {"owned", kDoubt}}},
      // The sidecars say kHandover.
      {"none",
       {{"none", kDoubt},
        {"unreadable", kDoubt},
        {"receiving", kKeep},
        {"prepared", kVoid},
        {"owned", kConfirm}}},
      {"unreadable",
       {{"none", kDoubt},
        {"unreadable", kDoubt},
        {"receiving", kKeep},
        {"prepared", kVoid},
        {"owned", kConfirm}}},
  };
  for (const char* mine : kSourceStates) {
    for (const char* theirs : kTargetStates) {
      const Answer own = with_sidecars(by_record(mine), OwnershipState::kHandover, 1, true);
      EXPECT_EQ(resolve_source(own, by_record(theirs)), expected.at(mine).at(theirs))
          << mine << " with " << theirs << ": "
          << to_string(resolve_source(own, by_record(theirs)));
    }
  }
}

TEST(Resolve, WhatTheDestinationDoes) {
  const std::map<std::string, TargetMove> prepared = {
      {"none", TargetMove::kInDoubt},      {"unreadable", TargetMove::kInDoubt},
      {"active", TargetMove::kVoid},       {"released", TargetMove::kTake},
      {"confirmed", TargetMove::kInDoubt}, {"reclaimed", TargetMove::kVoid}};
  for (const char* mine : kTargetStates) {
    for (const char* theirs : kSourceStates) {
      const auto expected =
          mine == std::string("prepared") ? prepared.at(theirs) : TargetMove::kKeep;
      EXPECT_EQ(resolve_target(by_record(mine), by_record(theirs)), expected)
          << mine << " with " << theirs;
    }
  }
}

TEST(Resolve, ASourceWithoutARecordSpeaksByItsSidecars) {
  const Answer mine = by_record("prepared");
  const auto move = [&](OwnershipState state, bool this_job) {
    return resolve_target(mine, with_sidecars(by_record("none"), state, 1, this_job));
  };
  EXPECT_EQ(move(OwnershipState::kOwned, false), TargetMove::kVoid);
  EXPECT_EQ(move(OwnershipState::kReleased, true), TargetMove::kTake);
  EXPECT_EQ(move(OwnershipState::kReleased, false), TargetMove::kVoid) << "by another job";
  EXPECT_EQ(move(OwnershipState::kHandover, true), TargetMove::kInDoubt);
  EXPECT_EQ(move(OwnershipState::kHandover, false), TargetMove::kVoid) << "by another job";
}

TEST(Resolve, EveryFieldOfASidecarCounts) {
  const Answer mine = by_record("prepared");
  const Answer good = with_sidecars(by_record("none"), OwnershipState::kReleased, 1, true);
  ASSERT_EQ(resolve_target(mine, good), TargetMove::kTake);
  for (int field = 0; field < 5; ++field) {
    Answer other = good;
    OwnershipRecord& sidecar = other.disks[1].sidecar;
    if (field == 0) sidecar.attempt = sample_id<AttemptId>(1);
    if (field == 1) sidecar.ledger.low ^= 1;
    if (field == 2) sidecar.epoch = 2;
    if (field == 3) other.disks.pop_back();
    if (field == 4) other.disks[1].found = RecordFound::kUnreadable;
    EXPECT_EQ(resolve_target(mine, other), TargetMove::kInDoubt) << field;
  }
}

TEST(Resolve, ADestinationThatHandedItOnHasOwnedIt) {
  for (const auto state :
       {OwnershipState::kOwned, OwnershipState::kHandover, OwnershipState::kReleased}) {
    EXPECT_EQ(
        resolve_source(by_record("released"), with_sidecars(by_record("none"), state, 2, false)),
        SourceMove::kConfirm);
    EXPECT_EQ(
        resolve_source(by_record("released"), with_sidecars(by_record("none"), state, 1, false)),
        SourceMove::kInDoubt)
        << "in the source's own epoch";
  }
  EXPECT_EQ(resolve_source(by_record("released"),
                           with_sidecars(by_record("none"), OwnershipState::kReceiving, 2, true)),
            SourceMove::kInDoubt);
}

TEST(Resolve, AReleaseOfAnotherAttemptIsInDoubt) {
  Answer theirs = by_record("prepared");
  theirs.terms.attempt = sample_id<AttemptId>(1);
  EXPECT_EQ(resolve_source(by_record("released"), theirs), SourceMove::kInDoubt);
  EXPECT_EQ(resolve_target(theirs, by_record("released")), TargetMove::kInDoubt);
}

TEST(Resolve, LedgersThatWereLostWithTheRecordAreTheDestinations) {
  Answer mine = by_record("released");
  mine.terms.disks[1].ledger = {};
  EXPECT_EQ(resolve_source(mine, by_record("prepared")), SourceMove::kRelease);
  mine.terms.disks[1].ledger = {5, 5};
  EXPECT_EQ(resolve_source(mine, by_record("prepared")), SourceMove::kInDoubt);
}

}  // namespace
}  // namespace vhdxm::migration
