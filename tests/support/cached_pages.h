// What the kernel has of a file in its page cache, by its own word.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace vhdxm::test {

/// How many pages of 4 KiB of [offset, offset + length), which are multiples of it, are cached.
inline std::size_t cached_pages(int fd, std::size_t offset, std::size_t length) {
  void* const mapped =
      ::mmap(nullptr, length, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(offset));
  std::vector<unsigned char> pages(length / 4096);
  EXPECT_EQ(::mincore(mapped, length, pages.data()), 0);
  ::munmap(mapped, length);
  return static_cast<std::size_t>(
      std::count_if(pages.begin(), pages.end(), [](auto page) { return (page & 1) != 0; }));
}

/// Writes the file out and takes it out of the cache. False where the file system keeps it there.
inline bool drop_cached(int fd, std::size_t length) {
  EXPECT_EQ(::fsync(fd), 0);
  EXPECT_EQ(::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
  return cached_pages(fd, 0, length) == 0;
}

}  // namespace vhdxm::test
