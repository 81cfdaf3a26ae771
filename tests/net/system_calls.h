// What this program asks of the kernel for files and sockets, and with which memory.
//
// pread, pwrite, send, sendmsg, recv, recvmsg and fallocate are defined in system_calls.cc; a
// program's own definition goes before the C library's, which it calls. So a test sees where each
// byte stood when the kernel took it, and can make a disk as slow or as full as it likes.
#pragma once

#include <cstddef>
#include <functional>
#include <thread>

namespace vhdxm::test {

struct SystemCall {
  enum class Kind { kFileRead, kFileWrite, kSend, kReceive };
  Kind kind = Kind::kFileRead;
  int fd = -1;
  std::thread::id thread;
  /// What the kernel filled or took; a part of a gathering call each.
  const std::byte* memory = nullptr;
  std::size_t length = 0;
};

/// One at a time. Its functions are called from any thread, several at once.
class SystemCallWatch {
 public:
  /// Before the call, which waits for it; `length` is what was asked for.
  using Before = std::function<void(SystemCall::Kind kind, std::size_t length)>;
  using After = std::function<void(const SystemCall& call)>;

  explicit SystemCallWatch(After after, Before before = {});
  /// Waits until nobody is in one of the functions.
  ~SystemCallWatch();
  SystemCallWatch(const SystemCallWatch&) = delete;
  SystemCallWatch& operator=(const SystemCallWatch&) = delete;
};

/// While it lives, and `full` says so, room for files cannot be had: ENOSPC. One at a time.
class FullDisk {
 public:
  /// `full`: called from any thread, whenever a file asks for room.
  explicit FullDisk(std::function<bool()> full);
  ~FullDisk();
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;
};

}  // namespace vhdxm::test
