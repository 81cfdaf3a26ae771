// A host of the simulator: its folders, what is on its disks, its gate, and the ends of a hand-over
// that live in its process.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "migration/handover_source.h"
#include "migration/handover_target.h"
#include "migration/journal_arbiter.h"
#include "migration/ownership_store.h"
#include "tests/support/crash_folder.h"
#include "transfer/dirty_map.h"
#include "transfer/write_gate.h"

namespace vhdxm::sim {

inline constexpr std::uint32_t kPages = 5;

/// The content of one disk, a number a page.
struct PageStore {
  std::vector<std::uint64_t> now = std::vector<std::uint64_t>(kPages);
  std::vector<std::uint64_t> durable = std::vector<std::uint64_t>(kPages);

  void flush() { durable = now; }
  /// What was not flushed is there or not, page by page.
  void lose_power(std::mt19937_64& random) {
    for (std::uint32_t page = 0; page < kPages; ++page) {
      if (random() % 2 == 0) now[page] = durable[page];
    }
    durable = now;
  }
};

struct ModelHost {
  explicit ModelHost(std::size_t disk_count) : disks(disk_count) {}

  test::StepFaults faults;
  test::CrashFolders folders{faults};
  test::CrashFolder state{faults};
  migration::OwnershipStore store{state, folders};
  migration::JournalArbiter arbiter{store};
  migration::HostId id;
  std::vector<PageStore> disks;

  bool up = true;
  bool destroyed = false;
  bool wants_start = false;  ///< Something could not be written that the next start will write.
  // Of the process.
  transfer::WriteGate gate{true};
  std::unique_ptr<migration::HandoverSource> source;
  std::unique_ptr<migration::HandoverTarget> target;
  /// What was written, and is not told yet.
  std::deque<std::function<void()>> answers;
  std::uint64_t hold = 0;
  bool ready = false;  ///< Ready came, and release() was not called yet.

  bool serves() const {
    return up && (gate.state() == transfer::WriteGate::State::kOpen ||
                  gate.state() == transfer::WriteGate::State::kTracking);
  }
  bool held() const { return up && gate.state() == transfer::WriteGate::State::kHeld; }
};

}  // namespace vhdxm::sim
