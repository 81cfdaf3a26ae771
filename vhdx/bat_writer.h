// Writes the BAT of a new file from its block plan, piece by piece.
//
// Spec: [MS-VHDX] 2.5. The BAT of the largest disk is 513 MiB, nearly all of it usually
// NOT_PRESENT: pieces without any other entry stay the hole that they are.
#pragma once

#include <cstdint>
#include <span>

#include "base/file.h"
#include "vhdx/block_plan.h"

namespace vhdxm::vhdx {

/// What an absent block is. Two bits a block in `absent_states`; the numbers are not on disk.
enum class AbsentState : std::uint8_t { kNotPresent = 0, kZero = 1, kUnmapped = 2 };

/// Writes the entries of all blocks and bitmap blocks to `file` at `bat_offset`.
///
/// A partial block whose sectors are all present, by its bitmap in `file`, becomes FULLY_PRESENT.
/// Requires: a sealed plan; a BAT region that reads as zero; `absent_states` is empty (all
/// kNotPresent) or as long as plan.encoded() and laid out like it.
Result<void> write_bat(File& file, std::uint64_t bat_offset, const BlockPlan& plan,
                       std::span<const std::byte> absent_states);

}  // namespace vhdxm::vhdx
