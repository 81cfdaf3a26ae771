// No test waits for time to pass: waits are a day long, and ended by what ends them.
#include "tools/blocked_jobs.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <deque>
#include <future>
#include <map>
#include <vector>

namespace vhdxm::tools {
namespace {

using namespace std::chrono_literals;
using Calls = std::vector<std::string>;

/// Destinations that say what a test wants, and a log that it can read.
class BlockedJobsTest : public testing::Test {
 protected:
  ~BlockedJobsTest() override {
    jobs_.stop();
    for (const int fd : log_ends_) ::close(fd);
  }

  static std::array<int, 2> make_pipe() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe(ends.data()), 0);
    return ends;
  }

  std::optional<std::string> ask(const std::string& id) {
    const std::lock_guard lock(mutex_);
    calls_.push_back(id);
    changed_.notify_all();
    auto& answers = answers_[id];
    if (answers.empty()) return std::nullopt;
    auto answer = answers.front();
    answers.pop_front();
    return answer;
  }
  void will_say(const std::string& id, std::deque<std::optional<std::string>> answers) {
    const std::lock_guard lock(mutex_);
    answers_[id] = std::move(answers);
  }
  Calls wait_for_calls(std::size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, 60s, [&] { return calls_.size() >= count; }));
    return calls_;
  }
  /// What it says next.
  std::string log_line() const {
    std::string line;
    for (char c = 0; c != '\n' && ::read(log_ends_[0], &c, 1) == 1;) line += c;
    return line;
  }

  const std::array<int, 2> log_ends_ = make_pipe();
  std::mutex mutex_;
  std::condition_variable changed_;
  Calls calls_;
  std::map<std::string, std::deque<std::optional<std::string>>> answers_;
  ServiceLog log_{log_ends_[1], /*to_journal=*/true};
  BlockedJobs jobs_{{.first = 24h, .most = 24h}, [this](const auto& id) { return ask(id); }, log_};
};

TEST_F(BlockedJobsTest, OneFromBeforeTheStartIsAskedAboutAtOnceAndOthersWait) {
  jobs_.add("new");
  jobs_.add_at_once("old");
  EXPECT_EQ(wait_for_calls(1), Calls{"old"});
  jobs_.stop();
  EXPECT_EQ(calls_, Calls{"old"});
}

TEST_F(BlockedJobsTest, AskedAgainUntilItIsOverAndNoMore) {
  will_say("a", {"no route to host", "no route to host"});
  jobs_.add_at_once("a");
  wait_for_calls(1);
  // What it says is written down with when it is asked again.
  EXPECT_EQ(log_line().find("<4>job a: still blocked: no route to host; its destination is asked "
                            "again in "),
            0U);
  jobs_.hurry();
  wait_for_calls(2);
  log_line();
  jobs_.hurry();
  EXPECT_EQ(wait_for_calls(3).size(), 3U);
  // Then it is over: only the others are asked about.
  jobs_.add_at_once("b");
  EXPECT_EQ(wait_for_calls(4).back(), "b");
  jobs_.hurry();
  jobs_.add_at_once("c");
  EXPECT_EQ(wait_for_calls(5), (Calls{"a", "a", "a", "b", "c"}));
}

TEST_F(BlockedJobsTest, HurryAsksAboutAll) {
  jobs_.add("a");
  jobs_.add("b");
  jobs_.hurry();
  const Calls calls = wait_for_calls(2);
  EXPECT_TRUE(calls == (Calls{"a", "b"}) || calls == (Calls{"b", "a"}));
}

TEST_F(BlockedJobsTest, StopsWhileItWaits) {
  jobs_.add("a");
  jobs_.stop();
  jobs_.add_at_once("b");
  jobs_.hurry();
  EXPECT_TRUE(calls_.empty());
}

}  // namespace
}  // namespace vhdxm::tools
