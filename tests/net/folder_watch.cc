#include "tests/net/folder_watch.h"

#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>

namespace vhdxm::test {

FolderWatch::FolderWatch(const std::string& folder)
    : fd_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
  EXPECT_GE(::inotify_add_watch(fd_, folder.c_str(), IN_ALL_EVENTS), 0) << folder;
}

FolderWatch::~FolderWatch() {
  ::close(fd_);
}

std::vector<std::string> FolderWatch::touched() {
  std::vector<std::string> names;
  std::array<char, 65536> buffer{};
  for (;;) {
    const ssize_t got = ::read(fd_, buffer.data(), buffer.size());
    if (got <= 0) return names;
    for (std::size_t at = 0; at < static_cast<std::size_t>(got);) {
      inotify_event event;
      std::memcpy(&event, buffer.data() + at, sizeof event);
      const char* const name = buffer.data() + at + sizeof event;
      names.emplace_back(event.len == 0 ? "." : name);
      at += sizeof event + event.len;
    }
  }
}

}  // namespace vhdxm::test
