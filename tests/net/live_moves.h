// What tests of moves of disks in use begin with: disks of one gate, a receiver that takes them
// over.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/net/net_test.h"
#include "tests/net/plain_cutover.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "transfer/live_sender.h"

namespace vhdxm::transfer {

class LiveMoves : public NetTest {
 protected:
  LiveMoves() : trace_(__FILE__, __LINE__, test::repeat_with(seed_)) {}

  ReceiverOptions live_receiver_options() {
    ReceiverOptions options = receiver_options();
    options.cutover_target = [this](std::uint64_t) {
      return std::make_unique<PlainTarget>(target_.path(), deaf_);
    };
    return options;
  }

  std::shared_ptr<LiveDisk> open(const std::string& path) {
    auto disk = LiveDisk::open(path, gate_, {});
    EXPECT_TRUE(test::succeeded(disk));
    return std::move(*disk);
  }
  /// A new disk of 24 MiB, 10 of them data.
  std::shared_ptr<LiveDisk> make(const std::string& name) {
    return open(test::write_disk(
        source_, name,
        test::data_disk(test::small_geometry(24 * vhdx::kMiB), 10 * vhdx::kMiB, random_())));
  }

  LiveSenderOptions options_for(std::vector<MovingDisk> disks, std::uint16_t port) const {
    LiveSenderOptions options{.sender = sender_options({}, port), .disks = std::move(disks)};
    // Sanitizers and a shared processor take their time; what is promised is tested by itself.
    options.limits.max_pause = std::chrono::seconds(20);
    return options;
  }

  const std::uint64_t seed_ = test::random_seed();
  const testing::ScopedTrace trace_;
  std::mt19937_64 random_{seed_};
  const std::shared_ptr<SharedGate> gate_ = std::make_shared<SharedGate>();
  PlainSource cutover_{*gate_};
  std::atomic<int> deaf_{0};
};

}  // namespace vhdxm::transfer
