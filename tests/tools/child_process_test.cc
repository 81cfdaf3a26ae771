#include "tools/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <iterator>
#include <sstream>
#include <utility>

#include "tests/support/expect_error.h"

namespace vhdxm::tools {
namespace {

class Pipe {
 public:
  Pipe() { EXPECT_EQ(::pipe2(ends_.data(), 0), 0); }
  ~Pipe() {
    close_writing();
    ::close(ends_[0]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  int read_fd() const { return ends_[0]; }
  int write_fd() const { return ends_[1]; }
  /// All that is written until nobody has the other end any more.
  std::string read_all() {
    close_writing();
    std::string text;
    std::array<char, 4096> piece{};
    for (ssize_t got = 1; got > 0;) {
      got = ::read(ends_[0], piece.data(), piece.size());
      if (got > 0) text.append(piece.data(), static_cast<std::size_t>(got));
    }
    return text;
  }

 private:
  void close_writing() {
    if (ends_[1] >= 0) ::close(std::exchange(ends_[1], -1));
  }
  std::array<int, 2> ends_{-1, -1};
};

/// Runs it to its end. Returns its number.
pid_t run(const std::string& script, const std::vector<int>& kept, Apart apart) {
  const auto pid = start_child({"/bin/sh", "-c", script}, kept, apart);
  EXPECT_TRUE(test::succeeded(pid));
  if (pid.has_error()) return -1;
  int status = 0;
  EXPECT_EQ(::waitpid(*pid, &status, 0), *pid);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  return *pid;
}

std::vector<std::string> words_in(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

TEST(ChildProcess, HasTheDescriptorsItWasGivenAndNoOthers) {
  // Not closed by exec() of themselves, so each would be there if nobody saw to it.
  Pipe other;
  Pipe one;
  Pipe two;
  for (const Apart apart : {Apart::kGroup, Apart::kSession}) {
    Pipe list;
    run("echo first >&3; echo second >&4; exec ls /proc/self/fd >&5",
        {two.write_fd(), one.write_fd(), list.write_fd()}, apart);
    // 6 is the folder that it lists.
    EXPECT_EQ(words_in(list.read_all()),
              (std::vector<std::string>{"0", "1", "2", "3", "4", "5", "6"}));
  }
  EXPECT_EQ(two.read_all(), "first\nfirst\n");
  EXPECT_EQ(one.read_all(), "second\nsecond\n");
}

TEST(ChildProcess, ANumberThatIsGivenOutIsCopiedFirst) {
  Pipe text;  // the lowest numbers that are free
  ASSERT_EQ(::write(text.write_fd(), "text\n", 5), 5);
  Pipe said;
  run("read line <&5; echo $line >&3", {said.write_fd(), text.write_fd(), text.read_fd()},
      Apart::kGroup);
  EXPECT_EQ(said.read_all(), "text\n");
}

TEST(ChildProcess, IsApartAsAsked) {
  for (const Apart apart : {Apart::kGroup, Apart::kSession}) {
    Pipe said;
    const pid_t pid = run("cut -d' ' -f5,6 /proc/$$/stat >&3", {said.write_fd()}, apart);
    const pid_t session = apart == Apart::kSession ? pid : ::getsid(0);
    EXPECT_EQ(said.read_all(), fmt::format("{} {}\n", pid, session));
  }
}

TEST(ChildProcess, IgnoresNoSignalAndHoldsNoneBack) {
  struct sigaction before {};
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  ASSERT_EQ(::sigaction(SIGUSR1, &ignore, &before), 0);
  sigset_t held;
  sigset_t mask_before;
  ::sigemptyset(&held);
  ::sigaddset(&held, SIGUSR2);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &held, &mask_before), 0);
  Pipe said;
  run("grep -E '^Sig(Ign|Blk)' /proc/self/status >&3", {said.write_fd()}, Apart::kGroup);
  ::pthread_sigmask(SIG_SETMASK, &mask_before, nullptr);
  ::sigaction(SIGUSR1, &before, nullptr);
  const auto words = words_in(said.read_all());
  ASSERT_EQ(words.size(), 4U);
  for (const std::size_t value : {std::size_t{1}, std::size_t{3}}) {
    // The C library has signals of its own behind these.
    const std::uint64_t set = std::stoull(words[value], nullptr, 16) & 0x7fffffff;
    EXPECT_EQ(set, 0U) << words[value - 1];
  }
}

TEST(ChildProcess, AProgramThatIsNotThereIsNamed) {
  const auto pid = start_child({"/nowhere/program"}, {}, Apart::kGroup);
  ASSERT_TRUE(pid.has_error());
  EXPECT_EQ(pid.error().code, boost::system::errc::no_such_file_or_directory);
  EXPECT_EQ(pid.error().subject, "/nowhere/program");
}

}  // namespace
}  // namespace vhdxm::tools
