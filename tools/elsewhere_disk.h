// A disk that was handed over, as the host that has it now serves it to this one's clients.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "transfer/live_disk.h"
#include "transfer/preamble.h"

namespace vhdxm::tools {

/// What clients are given in place of a transfer::LiveDisk whose gate is fenced; the same calls
/// mean the same. Thread safety: all members may be called from any thread. Errors: those of the
/// disk there, EPERM among them when a client of that host has written; EIO if that host does not
/// answer.
class ElsewhereDisk {
 public:
  virtual ~ElsewhereDisk() = default;

  /// The hand-over by `job` is over: the disk is there, or will be soon. Until then calls wait.
  virtual void handed_over(const transfer::JobId& job) = 0;
  /// No client is left for now: nobody there has to keep anything ready. Requires: no call is under
  /// way.
  virtual void rest() = 0;
  /// Calls that wait, and all later ones, fail.
  virtual void stop() = 0;

  virtual Result<void> read(std::uint64_t offset, std::span<std::byte> out) = 0;
  virtual Result<void> write(std::uint64_t offset, std::span<const std::byte> bytes,
                             transfer::LiveDisk::Durability durability) = 0;
  virtual Result<void> write_zeroes(std::uint64_t offset, std::uint64_t length,
                                    transfer::LiveDisk::Zeroing zeroing,
                                    transfer::LiveDisk::Durability durability) = 0;
  virtual Result<void> trim(std::uint64_t offset, std::uint64_t length,
                            transfer::LiveDisk::Durability durability) = 0;
  virtual Result<void> flush() = 0;
  /// Nobody here knows whether it would be.
  static bool zeroes_fast(transfer::LiveDisk::Zeroing /*zeroing*/) { return false; }
};

}  // namespace vhdxm::tools
