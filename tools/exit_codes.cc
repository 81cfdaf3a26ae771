#include "tools/exit_codes.h"

#include "migration/errc.h"
#include "vhdx/errc.h"

namespace vhdxm::tools {
namespace {

/// An image can be refused without being damaged: then it is not "corrupt" to a script.
bool refused_but_sound(vhdx::Errc errc) {
  switch (errc) {
    case vhdx::Errc::kUnsupportedVersion:
    case vhdx::Errc::kUnsupportedLogVersion:
    case vhdx::Errc::kUnknownRequiredRegion:
    case vhdx::Errc::kUnknownRequiredItem:
    case vhdx::Errc::kUnknownParentType:
    case vhdx::Errc::kMetadataTooLarge:
    case vhdx::Errc::kParentNotFound:
    case vhdx::Errc::kChainTooDeep:
    case vhdx::Errc::kReadOnly:
    case vhdx::Errc::kBadBackup:
    case vhdx::Errc::kBackupMismatch:
    case vhdx::Errc::kInUse:
    case vhdx::Errc::kClosed:
      return true;
    default:
      return false;
  }
}

}  // namespace

ExitCode exit_code_of(transfer::FailureClass failure_class) {
  using enum transfer::FailureClass;
  switch (failure_class) {
    case kUsage:
      return ExitCode::kUsage;
    case kIncompatible:
      return ExitCode::kIncompatible;
    case kAuthentication:
      return ExitCode::kAuthentication;
    case kNetwork:
      return ExitCode::kNetwork;
    case kData:
      return ExitCode::kData;
    case kCancelled:
      return ExitCode::kCancelled;
    case kFailed:
      break;
  }
  return ExitCode::kFailed;
}

ExitCode exit_code_of(const Error& error) {
  static const auto& vhdx_category = make_error_code(vhdx::Errc::kNotVhdx).category();
  if (error.code == BaseErrc::kCancelled) return ExitCode::kInterrupted;
  if (error.code == migration::make_error_code(migration::Errc::kInDoubt) ||
      error.code == migration::make_error_code(migration::Errc::kUnconfirmed)) {
    return ExitCode::kInDoubt;
  }
  if (error.code == BaseErrc::kShortRead) return ExitCode::kData;
  if (error.code.category() == vhdx_category) {
    const auto errc = static_cast<vhdx::Errc>(error.code.value());
    return refused_but_sound(errc) ? ExitCode::kFailed : ExitCode::kData;
  }
  return ExitCode::kFailed;
}

}  // namespace vhdxm::tools
