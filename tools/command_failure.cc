#include "tools/command_failure.h"

#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "migration/errc.h"
#include "tools/printable_text.h"
#include "vhdx/errc.h"

namespace vhdxm::tools {
namespace {

std::string advice_for_errno(int value) {
  switch (value) {
    case ENOENT:
      return "Check the path.";
    case EACCES:
    case EPERM:
      return "Check the permissions, or run as a user who has them.";
    case EEXIST:
      return "Choose another name: an existing file is never overwritten.";
    case ENOSPC:
    case EDQUOT:
      return "Make room on that file system, or choose another one.";
    case EADDRINUSE:
      return "Another program has that port, a receiver perhaps: stop it, or choose another one "
             "with --listen.";
    case EADDRNOTAVAIL:
      return "This host has no such address: choose one of its own, or leave it out to listen on "
             "every address.";
    case EROFS:
      return "Choose a folder on a file system that can be written.";
    case ENOTDIR:
    case EISDIR:
      return "Check which part of the path is a folder.";
    case EIO:
      return "The storage failed: look into the kernel log (dmesg), and use another copy if there "
             "is one.";
    default:
      return "";
  }
}

std::string advice_for_image(vhdx::Errc errc, const std::string& subject) {
  using enum vhdx::Errc;
  switch (errc) {
    case kNotVhdx:
      return "Check that it is a VHDX file; a raw disk can be made into one with `vhdx-migrate "
             "import`.";
    case kParentNotFound:
      return "Put the parent beside its child under the name that the locator has (`vhdx-migrate "
             "info --no-parents` shows it).";
    case kParentMismatch:
      return "Use the parent that the child was made from: one that was changed since, or another "
             "copy, cannot show the right content.";
    case kParentCycle:
    case kChainTooDeep:
      return "Look at each disk of the chain with `vhdx-migrate info --no-parents`.";
    case kUnsupportedVersion:
    case kUnsupportedLogVersion:
    case kUnknownRequiredRegion:
    case kUnknownRequiredItem:
    case kUnknownParentType:
      return "The disk uses something that this version does not know; look for a newer one.";
    case kInUse:
      return "Stop the program that uses it (QEMU, vhdx-migrate serve), or wait until it ends.";
    case kIncompleteFile:
      return "Make the file again with the program that left it unfinished.";
    case kBadGeometry:
      return "Choose sizes that the format allows: at most 64 TiB, in whole sectors; blocks of 1 "
             "MiB to 256 MiB, a power of two; sectors of 512 or 4096 bytes.";
    default:
      return fmt::format("Run `vhdx-migrate check {}` to see every rule that is broken.",
                         subject.empty() ? "DISK" : shell_word(file_in_subject(subject)));
  }
}

std::string advice_for_transfer(transfer::Errc errc) {
  using enum transfer::Errc;
  switch (errc) {
    case kNameTaken:
      return "Send it under another name with --as NAME, or move the other disk away.";
    case kNoSpace:
      return "Make room at the destination, or receive into another folder.";
    case kBusy:
      return "Run it again when that is over.";
    case kVersion:
    case kNotOurProtocol:
      return "Check the port, and that both hosts have the same version of vhdx-migrate.";
    case kRefused:
      return "Both sides must ask for it, e.g. for --plaintext-data.";
    case kPeerFailed:
    case kDestinationIo:
      return "Look at what the receiver says on its host, then run it again.";
    default:
      return "";
  }
}

std::string advice_for_ownership(migration::Errc errc) {
  using enum migration::Errc;
  switch (errc) {
    case kNotOwner:
      return "Use it at the host that owns it; `vhdx-migrate move` there brings it back.";
    case kInDoubt:
    case kUnconfirmed:
      return "`vhdx-migrate resolve` asks the other host, and ends it.";
    case kInHandover:
      return "Wait for the job, or cancel it: `vhdx-migrate list` shows it.";
    case kNameTaken:
      return "Move the other disk away, or this one under another name.";
    default:
      return "";
  }
}

std::string advice_for(const Error& error) {
  static const auto& ownership_category = make_error_code(migration::Errc::kState).category();
  if (error.code.category() == ownership_category) {
    return advice_for_ownership(static_cast<migration::Errc>(error.code.value()));
  }
  static const auto& transfer_category = make_error_code(transfer::Errc::kBusy).category();
  if (error.code.category() == transfer_category) {
    return advice_for_transfer(static_cast<transfer::Errc>(error.code.value()));
  }
  static const auto& vhdx_category = make_error_code(vhdx::Errc::kNotVhdx).category();
  if (error.code.category() == vhdx_category) {
    return advice_for_image(static_cast<vhdx::Errc>(error.code.value()), error.subject);
  }
  if (error.code.category() == boost::system::system_category() ||
      error.code.category() == boost::system::generic_category()) {
    return advice_for_errno(error.code.value());
  }
  return "";
}

}  // namespace

void throw_exception_from_error(const CommandFailure& failure, const boost::source_location&) {
  throw std::runtime_error(failure.message);
}

std::string file_in_subject(const std::string& subject) {
  std::error_code ignored;
  std::string path = subject;
  while (!std::filesystem::exists(path, ignored)) {
    const auto comma = path.rfind(", ");
    if (comma == std::string::npos) return subject;
    path.resize(comma);
  }
  return path;
}

CommandFailure usage_failure(std::string message, std::string advice) {
  return {.message = std::move(message),
          .advice = std::move(advice),
          .exit = ExitCode::kUsage,
          .ownership = {}};
}

CommandFailure failure_of(const Error& error) {
  return {.message = describe(error),
          .advice = advice_for(error),
          .exit = exit_code_of(error),
          .ownership = {}};
}

CommandFailure failure_of(const transfer::Failure& failure) {
  return {.message = failure.message.empty() ? describe(failure.error) : failure.message,
          .advice = failure.advice.empty() ? advice_for(failure.error) : failure.advice,
          .exit = exit_code_of(failure.failure_class),
          .ownership = {}};
}

CommandFailure interrupted(std::string message, std::string advice) {
  return {.message = std::move(message),
          .advice = std::move(advice),
          .exit = ExitCode::kInterrupted,
          .ownership = {}};
}

}  // namespace vhdxm::tools
