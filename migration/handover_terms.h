// What both ends of a hand-over agree on, field by field, before a disk changes hands.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/hash128.h"
#include "base/random.h"
#include "transfer/preamble.h"

namespace vhdxm::migration {

using transfer::JobId;

/// 128 random bits that name one kind of thing. All zero names nothing.
template <class Tag>
struct RandomId {
  std::array<std::uint8_t, 16> bytes{};

  friend constexpr auto operator<=>(const RandomId&, const RandomId&) = default;
  constexpr bool is_zero() const { return *this == RandomId{}; }
  static RandomId random() {
    RandomId id;
    random_bytes(std::as_writable_bytes(std::span(id.bytes)));
    return id;
  }
};

/// A disk, across hosts and moves. Not the virtual disk ID: clones share that.
using OwnershipId = RandomId<struct OwnershipTag>;
/// One try to hand over: made anew whenever the gate is held again.
using AttemptId = RandomId<struct AttemptTag>;
using HostId = RandomId<struct HostTag>;

/// Hand-overs that a disk can see; so epochs + 2 never wrap.
inline constexpr std::uint64_t kEpochMax = std::uint64_t{1} << 62;

struct DiskTerms {
  OwnershipId id = {};
  /// Of the source: it owns epoch e, the destination will own e + 1. Range: 1 to kEpochMax.
  std::uint64_t epoch = 0;
  Hash128 ledger = {};  ///< transfer::Ledger::sum() of everything sent and applied.

  friend bool operator==(const DiskTerms&, const DiskTerms&) = default;
};

struct HandoverTerms {
  JobId job{};
  AttemptId attempt = {};
  HostId source = {};
  HostId target = {};
  std::vector<DiskTerms> disks = {};  ///< All that change hands together, in the order of the job.

  friend bool operator==(const HandoverTerms&, const HandoverTerms&) = default;
};

}  // namespace vhdxm::migration
