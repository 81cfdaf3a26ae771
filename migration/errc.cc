#include "migration/errc.h"

#include <string>

namespace vhdxm::migration {
namespace {

class MigrationCategory final : public boost::system::error_category {
 public:
  const char* name() const noexcept override { return "vhdx-migrate hand-over"; }
  std::string message(int value) const override {
    switch (static_cast<Errc>(value)) {
      case Errc::kRecord:
        return "the record breaks the rules of its form";
      case Errc::kChecksum:
        return "the record's bytes are not those that were written";
      case Errc::kVersion:
        return "the record is of another version of vhdx-migrate";
      case Errc::kInDoubt:
        return "it is in doubt who owns the disk: see vhdx-migrate resolve";
      case Errc::kNotOwner:
        return "this host does not own the disk";
      case Errc::kInHandover:
        return "a job is handing the disk over";
      case Errc::kEpoch:
        return "the other host's ownership is not the one that follows from what is here";
      case Errc::kUnconfirmed:
        return "the other host has not confirmed that it owns the disk";
      case Errc::kMismatch:
        return "what the other host says is not what was agreed";
      case Errc::kNameTaken:
        return "another disk has that name here";
      case Errc::kState:
        return "the job is not in a state that allows this";
      case Errc::kNotHeld:
        return "a write was let through since the copies were compared";
    }
    return "unknown error";
  }
};

}  // namespace

error_code make_error_code(Errc errc) {
  static const MigrationCategory category;
  return {static_cast<int>(errc), category};
}

}  // namespace vhdxm::migration
