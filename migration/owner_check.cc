#include "migration/owner_check.h"

#include <filesystem>
#include <memory>
#include <string_view>
#include <utility>

#include "base/directory.h"
#include "migration/errc.h"
#include "migration/ownership_files.h"
#include "migration/ownership_record.h"

namespace vhdxm::migration {
namespace {

Error not_ours(Errc errc, const char* where, const std::string& path) {
  return Error{.code = errc, .where = where, .subject = path};
}

/// The disk's name, whatever its file is called meanwhile.
std::string name_of_disk(std::string name) {
  for (const std::string_view ending : {".partial", ".released"}) {
    if (name.ends_with(ending)) name.resize(name.size() - ending.size());
  }
  return name;
}

}  // namespace

Result<void> check_owner_record(const std::string& path) {
  const std::filesystem::path whole(path);
  const std::filesystem::path folder = whole.has_parent_path() ? whole.parent_path() : ".";
  VHDXM_TRY(auto directory, Directory::open(folder));
  DirectoryFiles files(std::move(directory));
  const std::string name = name_of_disk(whole.filename());
  const auto bytes = files.read(name + kOwnerEnding, kOwnershipRecordBytes);
  if (bytes.has_value() && !*bytes) return {};
  const auto record = bytes.has_value() ? decode_ownership(**bytes) : bytes.error();
  if (record.has_error()) return not_ours(Errc::kInDoubt, "its owner record cannot be read", path);
  switch (record->state) {
    case OwnershipState::kOwned:
      if (name == whole.filename()) return {};
      return not_ours(Errc::kNotOwner, "it is not the disk that this host owns", path);
    case OwnershipState::kHandover:
      return not_ours(Errc::kInHandover, "a job is handing it over", path);
    case OwnershipState::kReleased:
      return not_ours(Errc::kNotOwner, "it was released to another host", path);
    case OwnershipState::kReceiving:
    case OwnershipState::kIncoming:
      return not_ours(Errc::kNotOwner, "it has not arrived completely", path);
  }
  return {};
}

}  // namespace vhdxm::migration
