// A word between two hosts about a hand-over that an earlier connection began: no job that moves
// anything.
#pragma once

#include <boost/system/result.hpp>
#include <string>

#include "transfer/cutover.h"
#include "transfer/errc.h"
#include "transfer/preamble.h"
#include "transfer/sender.h"

namespace vhdxm::transfer {

/// Connects to the receiver at `options`' host, says `message` about the job `job`, and returns
/// what it answers. `name`: of a disk of the job, there. Blocks for the time that `options` allow.
/// Errors: those of connecting; Errc::kBusy while a connection of that very job is alive there;
/// Errc::kPeerFailed if the receiver takes no hand-overs.
boost::system::result<HandoverBody, Failure> call_about_handover(const SenderOptions& options,
                                                                 const JobId& job,
                                                                 const std::string& name,
                                                                 const HandoverBody& message);

}  // namespace vhdxm::transfer
