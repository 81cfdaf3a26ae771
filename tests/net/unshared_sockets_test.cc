// No program that is started during a move inherits a socket of it.
#include <fcntl.h>
#include <sys/socket.h>

#include <charconv>
#include <filesystem>
#include <mutex>
#include <set>
#include <string>

#include "tests/net/net_test.h"
#include "tests/net/system_calls.h"

namespace vhdxm::transfer {
namespace {

using test::SystemCall;
using Kind = SystemCall::Kind;

/// The descriptors of this process's sockets.
std::set<int> open_sockets() {
  std::set<int> sockets;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const auto target = std::filesystem::read_symlink(entry.path(), gone).string();
    if (gone || !target.starts_with("socket:")) continue;
    const std::string name = entry.path().filename().string();
    int fd = -1;
    std::from_chars(name.data(), name.data() + name.size(), fd);
    sockets.insert(fd);
  }
  return sockets;
}

bool would_be_inherited(int fd) {
  const int flags = ::fcntl(fd, F_GETFD);
  return flags < 0 || (flags & FD_CLOEXEC) == 0;
}

class UnsharedSockets : public NetTest {};

TEST_F(UnsharedSockets, NoneOfEitherSideIsInherited) {
  const std::set<int> before = open_sockets();
  RunningReceiver receiver(receiver_options());
  std::size_t listening = 0;
  for (const int fd : open_sockets()) {
    if (before.contains(fd)) continue;
    ++listening;
    EXPECT_FALSE(would_be_inherited(fd)) << "the listening socket";
  }
  EXPECT_EQ(listening, 1U);
  SenderOptions options =
      sender_options(test::write_data_disk(source_, "a.vhdx", 1), receiver.port());
  options.streams = 2;
  std::mutex mutex;
  std::set<int> used;
  std::set<int> inherited;
  {
    const test::SystemCallWatch watch([&](const SystemCall& call) {
      if (call.kind != Kind::kSend && call.kind != Kind::kReceive) return;
      const bool bad = would_be_inherited(call.fd);
      const std::lock_guard lock(mutex);
      used.insert(call.fd);
      if (bad) inherited.insert(call.fd);
    });
    ASSERT_TRUE(succeeded(send(options)));
    receiver.wait_for(ReceiverEvent::Type::kJobDone);
  }
  EXPECT_GE(used.size(), 6U) << "control and two streams, both ends of each";
  EXPECT_TRUE(inherited.empty()) << inherited.size() << " of " << used.size();
}

}  // namespace
}  // namespace vhdxm::transfer
