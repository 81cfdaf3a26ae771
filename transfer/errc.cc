#include "transfer/errc.h"

#include <boost/asio/error.hpp>
#include <cerrno>

#include "vhdx/errc.h"

namespace vhdxm::transfer {
namespace {

class TransferCategory final : public boost::system::error_category {
 public:
  const char* name() const noexcept override { return "vhdx-migrate transfer"; }
  std::string message(int value) const override {
    switch (static_cast<Errc>(value)) {
      case Errc::kNotOurProtocol:
        return "the peer does not speak the protocol of VHDX Migrate";
      case Errc::kVersion:
        return "the peer speaks another version of the protocol";
      case Errc::kAuthentication:
        return "the peer could not be authenticated";
      case Errc::kProtocol:
        return "the peer broke the protocol";
      case Errc::kTooLarge:
        return "a length above what is allowed";
      case Errc::kChecksum:
        return "the bytes that arrived are not those that were sent";
      case Errc::kLedgerMismatch:
        return "what arrived is not what was sent";
      case Errc::kNameTaken:
        return "another disk has that name at the destination";
      case Errc::kNoSpace:
        return "the destination has too little room";
      case Errc::kSourceChanged:
        return "the disk was changed while it was sent";
      case Errc::kPeerFailed:
        return "the peer gave up";
      case Errc::kPeerClosed:
        return "the peer closed the connection before the job was over";
      case Errc::kTimeout:
        return "the peer was silent for too long";
      case Errc::kRefused:
        return "the peer does not allow it";
      case Errc::kBusy:
        return "in use, or busy, at the moment";
      case Errc::kIncompatible:
        return "the destination cannot hold this disk";
      case Errc::kDestinationIo:
        return "the destination could not write";
      case Errc::kVerifyMismatch:
        return "reading both disks again found a difference";
      case Errc::kNotConverging:
        return "disks in use are written faster than they can be sent";
      case Errc::kSourceInUse:
        return "a program has the disk open for writing";
    }
    return "unknown error";
  }
};

FailureClass class_of(Errc errc) {
  switch (errc) {
    case Errc::kAuthentication:
    case Errc::kRefused:
      return FailureClass::kAuthentication;
    case Errc::kVersion:
    case Errc::kNameTaken:
    case Errc::kNoSpace:
    case Errc::kIncompatible:
      return FailureClass::kIncompatible;
    case Errc::kChecksum:
    case Errc::kLedgerMismatch:
    case Errc::kVerifyMismatch:
      return FailureClass::kData;
    case Errc::kPeerClosed:
    case Errc::kTimeout:
    case Errc::kBusy:
      return FailureClass::kNetwork;
    case Errc::kNotOurProtocol:
    case Errc::kProtocol:
    case Errc::kTooLarge:
    case Errc::kSourceChanged:
    case Errc::kSourceInUse:
    case Errc::kNotConverging:
    case Errc::kPeerFailed:
    case Errc::kDestinationIo:
      return FailureClass::kFailed;
  }
  return FailureClass::kFailed;
}

FailureClass class_of(BaseErrc errc) {
  switch (errc) {
    case BaseErrc::kCancelled:
      return FailureClass::kCancelled;
    case BaseErrc::kInvalidArgument:
      return FailureClass::kUsage;
    case BaseErrc::kShortRead:
    case BaseErrc::kOutOfRange:
      return FailureClass::kData;
    case BaseErrc::kInjected:
      return FailureClass::kFailed;
  }
  return FailureClass::kFailed;
}

FailureClass class_of(vhdx::Errc errc) {
  switch (errc) {
    // A disk of its format that this program does not know.
    case vhdx::Errc::kUnsupportedVersion:
    case vhdx::Errc::kUnsupportedLogVersion:
    case vhdx::Errc::kUnknownRequiredRegion:
    case vhdx::Errc::kUnknownRequiredItem:
    case vhdx::Errc::kUnknownParentType:
    case vhdx::Errc::kMetadataTooLarge:
    case vhdx::Errc::kChainTooDeep:
      return FailureClass::kIncompatible;
    case vhdx::Errc::kParentNotFound:
    case vhdx::Errc::kReadOnly:
      return FailureClass::kFailed;
    default:
      return FailureClass::kData;
  }
}

/// Whether an errno can be of a connection only, never of a file.
bool is_of_network(int number) {
  switch (number) {
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENETUNREACH:
    case ENETDOWN:
    case ENETRESET:
    case ENOTCONN:
    case EPIPE:
      return true;
    default:
      return false;
  }
}

}  // namespace

error_code make_error_code(Errc errc) {
  static const TransferCategory category;
  return {static_cast<int>(errc), category};
}

FailureClass classify(const Error& error) {
  const error_code& code = error.code;
  const auto& category = code.category();
  if (category == make_error_code(Errc::kProtocol).category()) {
    return class_of(static_cast<Errc>(code.value()));
  }
  if (category == make_error_code(BaseErrc::kCancelled).category()) {
    return class_of(static_cast<BaseErrc>(code.value()));
  }
  if (category == boost::system::system_category() ||
      category == boost::system::generic_category()) {
    return is_of_network(code.value()) ? FailureClass::kNetwork : FailureClass::kFailed;
  }
  if (category == boost::asio::error::get_misc_category() ||
      category == boost::asio::error::get_netdb_category() ||
      category == boost::asio::error::get_addrinfo_category()) {
    return FailureClass::kNetwork;
  }
  if (category == vhdx::make_error_code(vhdx::Errc::kNotVhdx).category()) {
    return class_of(static_cast<vhdx::Errc>(code.value()));
  }
  return FailureClass::kFailed;
}

std::uint16_t fail_code(const Error& error) {
  const auto& category = error.code.category();
  const int value = error.code.value();
  Errc errc = Errc::kPeerFailed;
  if (category == make_error_code(Errc::kProtocol).category()) errc = static_cast<Errc>(value);
  if (category == boost::system::system_category()) {
    errc = value == ENOSPC || value == EDQUOT ? Errc::kNoSpace : Errc::kDestinationIo;
  }
  return static_cast<std::uint16_t>(errc);
}

}  // namespace vhdxm::transfer
