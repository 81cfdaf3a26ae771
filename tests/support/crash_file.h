// A file that remembers every change and flush, and can show what a power loss would have left of
// it.
//
// What was synced survives. Of what came after the last sync, any part may have reached the disk:
// each change wholly, not at all, or, if it is a write, in some of its sectors. Changes keep no
// order.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/memory_file.h"

namespace vhdxm::test {

/// How many crash states a test goes through at least: `usual`, or what VHDXM_CRASH_STATES says.
std::size_t crash_states(std::size_t usual);

/// Thread safety: as File; the members about crashes when no other call is under way.
class CrashFile final : public File {
 public:
  explicit CrashFile(std::string name = "crash");
  /// A file that has `content` already, durably.
  explicit CrashFile(const MemoryFile& content);

  Result<std::size_t> read_some_at(std::uint64_t offset, std::span<std::byte> out) override;
  Result<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) override;
  Result<void> sync() override;
  Result<std::uint64_t> size() override;
  Result<void> resize(std::uint64_t size_bytes) override;
  Result<void> allocate(std::uint64_t offset, std::uint64_t length) override;
  Result<void> punch_hole(std::uint64_t offset, std::uint64_t length) override;
  Result<DataRun> next_data(std::uint64_t offset) override;
  const std::string& name() const override { return now_->name(); }

  /// Changes and syncs so far.
  std::size_t operation_count() const { return operations_.size(); }
  /// From now on the operation with this number (counted as operation_count() does), and only it,
  /// fails with BaseErrc::kInjected and changes nothing.
  void fail_operation(std::size_t number) { failing_ = number; }
  /// Likewise the n-th sync from the start, counted from zero.
  void fail_sync(std::size_t number) { failing_sync_ = number; }

  /// What became of one change that was not synced.
  enum class Fate : std::uint8_t {
    kLost,
    kKept,
    kTornFront,  ///< Of a write, the sectors of its first half only.
    kTornBack,   ///< Those of its second half only.
    kTornMixed,  ///< Any, by chance.
  };
  struct Crash {
    std::size_t operations = 0;        ///< That happened before the power went.
    std::vector<Fate> fates;           ///< Of those since the last sync.
    std::uint64_t sector_bytes = 512;  ///< Where writes may tear.
    std::string describe() const;
  };

  /// Visits crash states: after every operation, with all pending changes lost, all kept, each one
  /// alone lost, kept or torn, and `random_states` mixtures.
  void for_each_crash(std::size_t random_states, std::mt19937_64& random,
                      const std::function<void(const Crash&)>& visit) const;
  /// The file after a crash. Quick when crashes are visited in order.
  std::shared_ptr<MemoryFile> after(const Crash& crash, std::mt19937_64& random) const;

 private:
  enum class Kind : std::uint8_t { kWrite, kResize, kAllocate, kPunchHole, kSync };
  struct Operation {
    Kind kind = Kind::kSync;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    std::vector<std::byte> bytes = {};
  };

  /// Carries out and remembers, unless it was to fail.
  Result<void> perform(Operation operation);
  static Result<void> carry_out(const Operation& operation, File& file);
  static void carry_out_torn(const Operation& operation, const Crash& crash, Fate fate,
                             std::mt19937_64& random, File& file);
  std::size_t pending_begin(std::size_t operations) const;

  const std::shared_ptr<const MemoryFile> before_;  ///< What was there, durable.
  const std::shared_ptr<MemoryFile> now_;
  /// The file as it is durably after some of the operations, to start from.
  struct Durable {
    std::size_t operations = 0;
    std::shared_ptr<MemoryFile> file;
  };
  mutable Durable durable_;
  std::mutex mutex_;
  std::vector<Operation> operations_;
  std::size_t syncs_ = 0;
  std::optional<std::size_t> failing_;
  std::optional<std::size_t> failing_sync_;
};

}  // namespace vhdxm::test
