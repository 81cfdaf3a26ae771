// Why a hand-over of ownership fails or is refused.
#pragma once

#include "base/error.h"

namespace vhdxm::migration {

/// Values are never renumbered.
enum class Errc {
  kRecord = 1,       ///< A record that breaks the rules of its form.
  kChecksum = 2,     ///< A record whose bytes are not those that were written.
  kVersion = 3,      ///< A record of another version of this program.
  kInDoubt = 4,      ///< What is written down does not say who owns the disk: resolve.
  kNotOwner = 5,     ///< This host does not own the disk.
  kInHandover = 6,   ///< A job is handing the disk over, or taking it.
  kEpoch = 7,        ///< The other side's epoch is not the one that follows from what is here.
  kUnconfirmed = 8,  ///< The other side has not confirmed that it owns the disk.
  kMismatch = 9,     ///< What the other side says is not what was agreed.
  kNameTaken = 10,   ///< Another disk has that name here.
  kState = 11,       ///< The job is not in a state that allows this.
  kNotHeld = 12,     ///< A write was let through since the ledgers were agreed.
};

error_code make_error_code(Errc errc);

}  // namespace vhdxm::migration

template <>
struct boost::system::is_error_code_enum<vhdxm::migration::Errc> : std::true_type {};
