// Where requests go that clients of a disk's old host still make: the receiver's end of it.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "transfer/messages.h"
#include "transfer/preamble.h"

namespace vhdxm::transfer {

/// What a peer asks for that has handed a disk over to this host.
struct ForwardWish {
  JobId job{};         ///< By which the disk came.
  std::string folder;  ///< Of this receiver, by its name; empty: the usual.
  std::string name;    ///< Of the disk there.
};

/// An NBD server that has the disk.
struct ForwardDoor {
  int socket = -1;  ///< Connected to it; whoever gets this closes it.
  ForwardReady ready;
};

/// May block for some seconds. Errors: Errc::kBusy for what may be different in a moment; any other
/// is for good.
using ForwardFunction = std::function<Result<ForwardDoor>(const ForwardWish&)>;

}  // namespace vhdxm::transfer
