// A folder that can lose power, or its process, at any step of what it is asked to do.
//
// Content that write() synced stays with its file; names are durable after sync(). After a power
// loss each change of names since then is there or not, each by itself; after the death of a
// process everything is there, and nothing more is durable than before.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "migration/ownership_files.h"

namespace vhdxm::test {

/// Thrown where the host dies.
struct HostDied {};

/// What befalls the next steps of all folders of a host.
struct StepFaults {
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  std::uint64_t steps = 0;         ///< So far.
  std::uint64_t dies_at = kNever;  ///< HostDied is thrown at this step ...
  enum class Moment : std::uint8_t { kBefore, kDuring, kAfter } moment = Moment::kBefore;
  std::uint64_t fails_at = kNever;  ///< ENOSPC or EIO at this step, once.
};

/// Thread safety: none.
class CrashFolder final : public migration::OwnershipFiles {
 public:
  explicit CrashFolder(StepFaults& faults) : faults_(faults) {}

  Result<std::optional<std::vector<std::byte>>> read(const std::string& name,
                                                     std::size_t bytes_max) override;
  Result<void> write(const std::string& name, std::span<const std::byte> bytes) override;
  Result<void> rename_replacing(const std::string& from, const std::string& to) override;
  Result<void> rename_no_replace(const std::string& from, const std::string& to) override;
  Result<void> remove(const std::string& name) override;
  Result<bool> exists(const std::string& name) override { return names_.contains(name); }
  Result<std::vector<std::string>> list() override;
  Result<void> set_read_only(const std::string& name, bool read_only) override;
  Result<void> sync() override;

  /// Makes a file, durably and without a step.
  void place(const std::string& name, const std::string& text = "");
  /// Removes it, likewise.
  void lose(const std::string& name);
  /// What would certainly be there after a power loss.
  std::optional<std::vector<std::byte>> durable(const std::string& name) const;
  bool is_read_only(const std::string& name) const { return names_.at(name)->read_only; }

  void lose_power(std::mt19937_64& random);

 private:
  struct Inode {
    std::vector<std::byte> bytes;
    bool read_only = false;
  };
  using Names = std::map<std::string, std::shared_ptr<Inode>>;
  /// One change of names: null removes.
  struct Change {
    std::string name;
    std::shared_ptr<Inode> inode;
    std::string also;  ///< Removed by the same change; empty: none.
  };
  enum class Before : std::uint8_t { kGoOn, kFail };

  /// `during`: what a death in the middle of the step leaves.
  template <class During, class Step>
  Result<void> step(int error, During during, Step apply);
  void change(Names& names, const Change& change);
  void perform(Change made);

  StepFaults& faults_;
  Names names_;
  Names durable_;
  std::vector<Change> pending_;
};

/// Folders by their path.
class CrashFolders final : public migration::OwnershipFolders {
 public:
  explicit CrashFolders(StepFaults& faults) : faults_(faults) {}
  CrashFolder& at(const std::string& path);
  Result<migration::OwnershipFiles*> folder(const std::string& path) override { return &at(path); }
  std::vector<std::string> paths() override;
  void lose_power(std::mt19937_64& random);

 private:
  StepFaults& faults_;
  std::map<std::string, std::unique_ptr<CrashFolder>> folders_;
};

}  // namespace vhdxm::test
