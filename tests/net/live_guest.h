// Guests that write to disks in use all the time, and remember what they were told is written.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "transfer/live_disk.h"

namespace vhdxm::transfer {

/// Writers on one disk, each with a range of its own, and a model of what the disk must hold.
/// Every sector that is written says who wrote it, when, and where.
class LiveGuest {
 public:
  /// Knows what the disk holds now. Nothing writes yet.
  LiveGuest(std::shared_ptr<LiveDisk> disk, std::uint64_t seed);
  ~LiveGuest() { stop(); }
  LiveGuest(const LiveGuest&) = delete;
  LiveGuest& operator=(const LiveGuest&) = delete;

  /// Begins to write to the first `bytes` of the disk with so many threads.
  void start(unsigned writers, std::uint64_t bytes);
  /// Ends the writers, and waits for them.
  void stop();
  /// Waits for writers that end by themselves: when they are refused.
  void join();
  /// One write, now, from the caller's thread. Requires: no writer has that range.
  void write(std::uint64_t offset, std::uint64_t length);

  /// Writers that were told that another host owns the disk.
  unsigned refused() const { return refused_; }
  /// Errors of any other kind: a guest must see none.
  unsigned errors() const { return errors_; }
  std::uint64_t writes() const { return writes_; }
  /// What the disk must hold: every write that was acknowledged, and nothing of others.
  const std::vector<std::byte>& content() const { return content_; }

 private:
  void run(std::uint64_t begin, std::uint64_t end, std::uint64_t seed);
  bool change(std::uint64_t offset, std::uint64_t length, unsigned kind);

  const std::shared_ptr<LiveDisk> disk_;
  const std::uint64_t seed_;
  std::vector<std::byte> content_;
  std::vector<std::thread> threads_;
  std::atomic<bool> stopping_{false};
  std::atomic<unsigned> refused_{0};
  std::atomic<unsigned> errors_{0};
  std::atomic<std::uint64_t> writes_{0};
};

/// Adds failures unless the file is a sound disk of this content: by this program's reader, its
/// check, and, where qemu-img is there, by that.
void expect_disk(const std::string& path, const std::vector<std::byte>& content);

}  // namespace vhdxm::transfer
