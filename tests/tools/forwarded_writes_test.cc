#include "tools/forwarded_writes.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace vhdxm::tools {
namespace {

using Pass = ForwardedWrites::Pass;
using Refusal = ForwardedWrites::Refusal;

ForwardedWrites::Session begun(ForwardedWrites& writes, const std::string& disk = "web01") {
  const auto outcome = writes.begin("job", disk);
  EXPECT_TRUE(outcome.session);
  return outcome.session.value_or(ForwardedWrites::Session{});
}

TEST(ForwardedWrites, ThoseOfTheJobThatBroughtTheDisksMayBegin) {
  ForwardedWrites writes;
  EXPECT_EQ(writes.begin("job", "web01").refusal, Refusal::kNotAllowed);
  EXPECT_EQ(writes.begin("", "web01").refusal, Refusal::kNotAllowed);
  writes.allow("job");
  EXPECT_EQ(writes.begin("another", "web01").refusal, Refusal::kNotAllowed);
  const auto session = begun(writes);
  const auto meaning = writes.find(session.export_name);
  ASSERT_TRUE(meaning);
  EXPECT_EQ(meaning->disk, "web01");
  EXPECT_EQ(meaning->session, session.number);
  EXPECT_FALSE(writes.find("web01"));
  EXPECT_FALSE(writes.find(""));
  EXPECT_TRUE(Pass(writes, session.number).admitted());
}

TEST(ForwardedWrites, TheFirstWriteHereEndsThem) {
  ForwardedWrites writes;
  writes.allow("job");
  const auto session = begun(writes);
  const auto other = begun(writes, "data");
  writes.write_here();
  EXPECT_FALSE(Pass(writes, session.number).admitted());
  EXPECT_FALSE(Pass(writes, other.number).admitted()) << "of all disks: they are of one guest";
  // Such a host may still read.
  EXPECT_FALSE(Pass(writes, begun(writes).number).admitted());
  writes.write_here();
}

TEST(ForwardedWrites, OneThatWroteBeforeAnySessionEndsThemToo) {
  ForwardedWrites writes;
  writes.allow("job");
  writes.write_here();
  EXPECT_FALSE(Pass(writes, begun(writes).number).admitted());
}

TEST(ForwardedWrites, AnotherSessionOfTheDiskEndsTheOneBefore) {
  ForwardedWrites writes;
  writes.allow("job");
  const auto first = begun(writes);
  const auto other = begun(writes, "data");
  const auto second = begun(writes);
  EXPECT_FALSE(Pass(writes, first.number).admitted());
  EXPECT_FALSE(writes.find(first.export_name));
  EXPECT_TRUE(Pass(writes, second.number).admitted());
  EXPECT_TRUE(Pass(writes, other.number).admitted());
}

TEST(ForwardedWrites, NoneBeginsWhileOneOfTheSessionBeforeIsUnderWay) {
  ForwardedWrites writes;
  writes.allow("job");
  const auto first = begun(writes);
  {
    const Pass slow(writes, first.number);
    ASSERT_TRUE(slow.admitted());
    EXPECT_EQ(writes.begin("job", "web01").refusal, Refusal::kNotYet);
    EXPECT_FALSE(Pass(writes, first.number).admitted()) << "it is over all the same";
  }
  EXPECT_TRUE(Pass(writes, begun(writes).number).admitted());
}

// Writers of both hosts on one number: as long as the old host writes it grows by one; a write here
// that an admitted one overtakes, or follows, is seen.
TEST(ForwardedWrites, AtNoTimeDoBothWrite) {
  constexpr unsigned kRounds = 200;
  for (unsigned round = 0; round < kRounds; ++round) {
    ForwardedWrites writes;
    writes.allow("job");
    const auto session = begun(writes);
    std::atomic<int> forwarded_under_way = 0;
    std::atomic<bool> written_here = false;
    std::atomic<bool> both = false;
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < 2; ++i) {
      threads.emplace_back([&] {
        for (;;) {
          const Pass pass(writes, session.number);
          if (!pass.admitted()) return;
          ++forwarded_under_way;
          if (written_here) both = true;
          --forwarded_under_way;
        }
      });
      threads.emplace_back([&] {
        writes.write_here();
        written_here = true;
        if (forwarded_under_way != 0) both = true;
      });
    }
    for (std::thread& thread : threads) thread.join();
    ASSERT_FALSE(both) << round;
  }
}

TEST(ForwardedWrites, EveryProcessHasItsOwnInstance) {
  EXPECT_NE(ForwardedWrites().instance(), ForwardedWrites().instance());
}

}  // namespace
}  // namespace vhdxm::tools
