#include "base/signal_free_thread.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <thread>

namespace vhdxm {
namespace {

bool blocks(int signal) {
  sigset_t blocked;
  ::sigemptyset(&blocked);
  ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  return ::sigismember(&blocked, signal) == 1;
}

TEST(SignalFreeThread, BlocksThemAndLeavesItsMakerAsItWas) {
  sigset_t usr1;
  ::sigemptyset(&usr1);
  ::sigaddset(&usr1, SIGUSR1);
  sigset_t before;
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &usr1, &before), 0);
  bool terminate = false;
  bool child = false;
  signal_free_thread([&] {
    terminate = blocks(SIGTERM);
    child = blocks(SIGCHLD);
  }).join();
  EXPECT_TRUE(terminate);
  EXPECT_TRUE(child);
  EXPECT_FALSE(blocks(SIGTERM));
  EXPECT_TRUE(blocks(SIGUSR1));
  ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, &before, nullptr), 0);
}

}  // namespace
}  // namespace vhdxm
