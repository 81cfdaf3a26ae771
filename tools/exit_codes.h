// What the process says to its caller when it ends. docs/man/vhdx-migrate.1 has the same table.
#pragma once

#include "base/error.h"
#include "transfer/errc.h"

namespace vhdxm::tools {

/// The numbers are part of the interface and are never changed.
enum class ExitCode : int {
  kDone = 0,
  kFailed = 1,
  kUsage = 2,
  kIncompatible = 3,
  kAuthentication = 4,
  kNetwork = 5,  ///< Or temporary: run it again.
  kData = 6,     ///< Data differs, or the image is corrupt.
  kCancelled = 7,
  kInDoubt = 8,        ///< Released and not confirmed: `resolve` ends that.
  kInterrupted = 130,  ///< Ctrl-C, or SIGTERM.
};

ExitCode exit_code_of(transfer::FailureClass failure_class);

/// For what goes wrong on this host, outside a transfer: a file or an image.
ExitCode exit_code_of(const Error& error);

}  // namespace vhdxm::tools
