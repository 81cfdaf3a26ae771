#include "migration/owner_check.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "base/directory.h"
#include "migration/errc.h"
#include "migration/job_record.h"
#include "migration/ownership_files.h"
#include "migration/ownership_record.h"
#include "migration/ownership_store.h"

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

/// What stands there of the job that the owner record names; nothing if the disk has arrived and is
/// this host's by now, or is somebody else's.
Result<std::optional<JobRecord>> arriving_by(DirectoryFiles& files, DirectoryFiles& jobs,
                                             const std::string& name) {
  VHDXM_TRY(const auto bytes, files.read(name + kOwnerEnding, kOwnershipRecordBytes));
  if (!bytes) return std::optional<JobRecord>();
  VHDXM_TRY(const auto record, decode_ownership(*bytes));
  if (record.state != OwnershipState::kReceiving && record.state != OwnershipState::kIncoming) {
    return std::optional<JobRecord>();
  }
  VHDXM_TRY(const auto found,
            jobs.read(OwnershipStore::record_name(record.job), kJobRecordBytesMax));
  if (!found) return std::optional<JobRecord>();
  VHDXM_TRY(auto job, decode_job(*found));
  const bool is_of = std::any_of(job.disks.begin(), job.disks.end(), [&](const JobDisk& disk) {
    return disk.place.name == name && disk.terms.id == record.id;
  });
  if (job.job != record.job || !is_of) return std::optional<JobRecord>();
  return std::optional(std::move(job));
}

}  // namespace

Result<void> check_taken_record(const std::string& path, const std::string& state_folder) {
  const std::filesystem::path whole(path);
  VHDXM_TRY(auto folder, Directory::open(whole.parent_path()));
  VHDXM_TRY(auto state, Directory::open(state_folder + "/handover"));
  DirectoryFiles files(std::move(folder));
  DirectoryFiles jobs(std::move(state));
  // Both are replaced as a whole. The owner record is put right before that of the job goes: if it
  // was, the second look sees it.
  VHDXM_TRY(const auto job, arriving_by(files, jobs, whole.filename()));
  if (job && job->state == JobState::kOwned) return {};
  return check_owner_record(path);
}

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
