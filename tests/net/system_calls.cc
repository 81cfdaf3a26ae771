#include "tests/net/system_calls.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <shared_mutex>
#include <span>
#include <utility>

namespace vhdxm::test {
namespace {

struct Functions {
  SystemCallWatch::After after;
  SystemCallWatch::Before before;
  std::function<bool()> full;
};

// Both live until the process ends: threads of the C library call, too.
std::shared_mutex& mutex() {
  static auto* const one = new std::shared_mutex;
  return *one;
}
Functions& functions() {
  static auto* const all = new Functions;
  return *all;
}

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

void before(SystemCall::Kind kind, std::size_t length) {
  const std::shared_lock lock(mutex());
  if (functions().before) functions().before(kind, length);
}

void after(SystemCall::Kind kind, int fd, const void* memory, ssize_t length) {
  if (length <= 0) return;
  const std::shared_lock lock(mutex());
  if (!functions().after) return;
  functions().after({.kind = kind,
                     .fd = fd,
                     .thread = std::this_thread::get_id(),
                     .memory = static_cast<const std::byte*>(memory),
                     .length = static_cast<std::size_t>(length)});
}

void after(SystemCall::Kind kind, int fd, const msghdr* message, ssize_t length) {
  for (const iovec& part : std::span(message->msg_iov, message->msg_iovlen)) {
    if (length <= 0) break;
    const ssize_t of_part = std::min(length, static_cast<ssize_t>(part.iov_len));
    after(kind, fd, part.iov_base, of_part);
    length -= of_part;
  }
}

bool is_full() {
  const std::shared_lock lock(mutex());
  return functions().full && functions().full();
}

}  // namespace

SystemCallWatch::SystemCallWatch(After after, Before before) {
  const std::unique_lock lock(mutex());
  functions().after = std::move(after);
  functions().before = std::move(before);
}

SystemCallWatch::~SystemCallWatch() {
  const std::unique_lock lock(mutex());
  functions().after = {};
  functions().before = {};
}

FullDisk::FullDisk(std::function<bool()> full) {
  const std::unique_lock lock(mutex());
  functions().full = std::move(full);
}

FullDisk::~FullDisk() {
  const std::unique_lock lock(mutex());
  functions().full = {};
}

}  // namespace vhdxm::test

using vhdxm::test::SystemCall;
using Kind = vhdxm::test::SystemCall::Kind;

extern "C" {

ssize_t pread(int fd, void* memory, size_t length, off_t offset) {
  static auto* const real = vhdxm::test::next<decltype(pread)>("pread");
  vhdxm::test::before(Kind::kFileRead, length);
  const ssize_t done = real(fd, memory, length, offset);
  vhdxm::test::after(Kind::kFileRead, fd, memory, done);
  return done;
}

ssize_t pwrite(int fd, const void* memory, size_t length, off_t offset) {
  static auto* const real = vhdxm::test::next<decltype(pwrite)>("pwrite");
  vhdxm::test::before(Kind::kFileWrite, length);
  const ssize_t done = real(fd, memory, length, offset);
  vhdxm::test::after(Kind::kFileWrite, fd, memory, done);
  return done;
}

ssize_t send(int fd, const void* memory, size_t length, int flags) {
  static auto* const real = vhdxm::test::next<decltype(send)>("send");
  const ssize_t done = real(fd, memory, length, flags);
  vhdxm::test::after(Kind::kSend, fd, memory, done);
  return done;
}

ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  static auto* const real = vhdxm::test::next<decltype(sendmsg)>("sendmsg");
  const ssize_t done = real(fd, message, flags);
  vhdxm::test::after(Kind::kSend, fd, message, done);
  return done;
}

ssize_t recv(int fd, void* memory, size_t length, int flags) {
  static auto* const real = vhdxm::test::next<decltype(recv)>("recv");
  const ssize_t done = real(fd, memory, length, flags);
  if ((flags & MSG_PEEK) == 0) vhdxm::test::after(Kind::kReceive, fd, memory, done);
  return done;
}

ssize_t recvmsg(int fd, msghdr* message, int flags) {
  static auto* const real = vhdxm::test::next<decltype(recvmsg)>("recvmsg");
  const ssize_t done = real(fd, message, flags);
  if ((flags & MSG_PEEK) == 0) vhdxm::test::after(Kind::kReceive, fd, message, done);
  return done;
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
  static auto* const real = vhdxm::test::next<decltype(fallocate)>("fallocate");
  if (mode == 0 && vhdxm::test::is_full()) {
    errno = ENOSPC;
    return -1;
  }
  return real(fd, mode, offset, length);
}

}  // extern "C"
