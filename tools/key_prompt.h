// Where a pairing key comes from: a file, or a person at the terminal. Never the command line,
// which every user of a host can read.
#pragma once

#include <boost/system/result.hpp>
#include <string>

#include "tools/command_failure.h"
#include "tools/interrupt.h"
#include "transfer/pairing_key.h"

namespace vhdxm::tools {

using KeyResult = boost::system::result<transfer::PairingKey, CommandFailure>;

/// The key in a file. Failures: of usage, naming the file; never what was in it.
KeyResult key_from_file(const std::string& path);
/// The same, but a file that is not there is made, with a new key.
KeyResult key_from_file_or_new(const std::string& path);

/// Asks at the controlling terminal, without echo, up to three times.
/// Failures: of usage if there is no terminal or no key was typed; interrupted by Ctrl-C.
KeyResult key_from_terminal(Interrupt& interrupt);

}  // namespace vhdxm::tools
