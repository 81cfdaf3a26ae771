// How the host's service ends a hand-over that was cut short.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>
#include <utility>

#include "migration/handover_meeting.h"
#include "migration/handover_text.h"
#include "tools/host_service.h"
#include "tools/printable_text.h"
#include "transfer/handover_call.h"
#include "transfer/pairing_key.h"

namespace vhdxm::tools {
namespace {

using migration::HandoverEnd;
using migration::JobRecord;
using migration::MeetingEnd;
using migration::ServiceJob;

CommandFailure still_unclear(const std::string& message, const std::string& advice,
                             const std::string& ownership) {
  return {.message = message, .advice = advice, .exit = ExitCode::kInDoubt, .ownership = ownership};
}

}  // namespace

CommandFailure HostService::in_several_folders(const std::string& what,
                                               const HostOwner::Paths& paths) {
  return usage_failure(
      fmt::format("'{}' is in several folders: {}", what, fmt::join(paths, ", ")),
      fmt::format("Say which, by the folder's name in the settings: FOLDER/{}", shell_word(what)));
}

/// Of disks that are taken without the connection that brought them.
Result<void> HostService::own_files(const std::vector<migration::DiskPlace>& places) const {
  for (const migration::DiskPlace& place : places) {
    const std::string path =
        fmt::format("{}/{}", place.folder, migration::OwnershipStore::partial_name(place));
    const uid_t uid = settings_.owner_uid ? *settings_.owner_uid : static_cast<uid_t>(-1);
    const gid_t gid = settings_.owner_gid ? *settings_.owner_gid : static_cast<gid_t>(-1);
    if (::lchown(path.c_str(), uid, gid) != 0) return errno_error("set the owner").about(path);
    if (::chmod(path.c_str(), settings_.file_mode) != 0) {
      return errno_error("set the file mode").about(path);
    }
  }
  return {};
}

void HostService::export_again(const std::string& path) {
  const auto disk = registry_->find_path(path);
  if (!disk) return;
  exports_.end_set(disk->name, /*force=*/true);
  exports_.begin(set_of(*disk));
}

HostOwner::Paths HostService::paths_in(const JobRecord& record) {
  HostOwner::Paths paths;
  for (const migration::JobDisk& disk : record.disks) paths.push_back(path_of(disk.place));
  return paths;
}

/// Where a disk that somebody means by its file's name may be, of the folders that disks arrive in:
/// in the one that is named, or else in those that have an owner record of it; of several disks of
/// one job, the first. Where none has, in the usual one.
std::vector<migration::DiskPlace> HostService::places_meant(
    const migration::PlaceThere& what) const {
  const transfer::FolderPaths folders = settings_.arrival_folders();
  if (folders.into.empty() || what.name.empty()) return {};
  if (!what.folder.empty()) {
    const std::string* const folder = folders.find(what.folder);
    if (folder == nullptr) return {};
    return {{.folder = *folder, .name = what.name}};
  }
  std::vector<migration::DiskPlace> places;
  std::set<transfer::JobId> jobs;
  const auto add_if_known = [&](const std::string& folder) {
    const migration::DiskPlace place{.folder = folder, .name = what.name};
    const auto sidecar = owner_->ownership().store.sidecar(place);
    if (sidecar.has_value() && !*sidecar) return;
    const bool is_first = sidecar.has_error() || (*sidecar)->job == transfer::JobId{} ||
                          jobs.insert((*sidecar)->job).second;
    if (is_first) places.push_back(place);
  };
  const std::lock_guard lock(owner_->ownership().mutex);
  add_if_known(folders.into);
  for (const auto& one : folders.named) add_if_known(one.second);
  if (places.empty()) places.push_back({.folder = folders.into, .name = what.name});
  return places;
}

/// The files that somebody may mean by a job, a registered name, or the file's name of a disk that
/// arrives.
HostOwner::Paths HostService::paths_meant(const std::string& what,
                                          const std::optional<JobView>& job) const {
  if (job) return {job->job.disks.front().path};
  if (const auto disk = registry_->find(what)) return {disk->path};
  auto place = migration::PlaceThere::parse(what);
  if (!place) return {};
  if (!place->name.ends_with(".vhdx")) place->name += ".vhdx";
  HostOwner::Paths paths;
  for (const auto& one : places_meant(*place)) paths.push_back(path_of(one));
  return paths;
}

HostService::Outcome<OwnerSentence> HostService::resolve(const std::string& what, bool force) {
  const std::lock_guard resolving(resolve_mutex_);
  auto job = jobs_->find(what);
  if (!job) job = jobs_->find_blocked(what);
  const HostOwner::Paths paths = paths_meant(what, job);
  if (paths.empty()) {
    return usage_failure(fmt::format("there is neither a job nor a disk '{}'", what),
                         "`vhdx-migrate list` and `vhdx-migrate disk list` show all.");
  }
  if (paths.size() > 1) return in_several_folders(what, paths);
  const std::string& path = paths.front();
  VHDXM_COMMAND_TRY(const auto unclear, owner_->unclear(paths_with(path)));
  if (!unclear) {
    // What was put right since tells how it is.
    if (job && job->job.state == ServiceJob::State::kBlocked) {
      const std::string sentence = fmt::format("{}: this host, the source, owns it.", path);
      const auto over = jobs_->resolve(job->job.id, {.state = ServiceJob::State::kFailed,
                                                     .exit = ExitCode::kFailed,
                                                     .message = "it was not handed over",
                                                     .ownership = sentence});
      if (over.has_error()) return over.error();
      return OwnerSentence{sentence};
    }
    return usage_failure(fmt::format("there is nothing to resolve about '{}'", what),
                         "Jobs that are blocked can be resolved: `vhdx-migrate list` shows them.");
  }
  if (!migration::is_of_source(unclear->record.state)) {
    return resolve_here(path, unclear->record, force);
  }
  if (force) return take_back(path, *unclear, job);
  if (unclear->record.state == migration::JobState::kConfirmed &&
      !(job && job->job.state == ServiceJob::State::kBlocked)) {
    return OwnerSentence{migration::owner_sentence(unclear->record)};
  }
  if (!job) {
    return usage_failure(fmt::format("no job says which host {} went to", what),
                         "Only --force-owner-here --peer-destroyed is left, if that host is lost.");
  }
  return ask_destination(*unclear, *job);
}

/// By the service itself. Why the job is blocked as before; nothing: it is so no more.
std::optional<std::string> HostService::ask_again(const std::string& id) {
  const auto is_blocked = [&] {
    const auto job = jobs_->find(id);
    return job && job->job.state == ServiceJob::State::kBlocked;
  };
  if (!is_blocked()) return std::nullopt;
  const auto resolved = resolve(id, /*force=*/false);
  // Somebody else may have been faster.
  if (resolved.has_value() || !is_blocked()) return std::nullopt;
  return resolved.error().message;
}

/// At the destination, which prepared what it may take only when the source says so.
HostService::Outcome<OwnerSentence> HostService::resolve_here(const std::string& path,
                                                              const JobRecord& record, bool force) {
  if (record.state != migration::JobState::kPrepared) {
    return OwnerSentence{migration::owner_sentence(record)};
  }
  if (!force) {
    return still_unclear(fmt::format("{} waits for the word of its source", path),
                         "Run `vhdx-migrate resolve` at the source's host.",
                         migration::owner_sentence(record));
  }
  log_.warning(fmt::format("{}: made this host's by force. {}", path, migration::kForceWarning));
  VHDXM_COMMAND_TRY(const auto taken,
                    migration::take_by_force(owner_->ownership(), record,
                                             [this](const auto& all) { return own_files(all); }));
  take_over_disks(paths_in(taken), taken.group, std::nullopt);
  const std::lock_guard lock(owner_->ownership().mutex);
  VHDXM_COMMAND_TRY_VOID(owner_->ownership().store.drop(taken));
  return OwnerSentence{migration::owner_sentence(taken)};
}

/// At the source, by force.
HostService::Outcome<OwnerSentence> HostService::take_back(const std::string& path,
                                                           const HostOwner::Unclear& unclear,
                                                           const std::optional<JobView>& job) {
  const auto disk = registry_->find_path(path);
  if (disk) {
    // Its mover refuses writes for ever.
    if (const auto refusal = exports_.end_set(disk->name, /*force=*/true)) {
      return CommandFailure{.message = fmt::format("{}: {}", disk->name, refusal->problem),
                            .advice = "Look into the service's log, and run it again.",
                            .exit = ExitCode::kFailed,
                            .ownership = {}};
    }
  }
  log_.warning(fmt::format("{}: taken back by force. {}", path, migration::kForceWarning));
  auto taken = migration::take_back_by_force(owner_->ownership(), unclear.record, unclear.in_doubt);
  if (disk) exports_.begin(set_of(*disk));
  if (taken.has_error()) return failure_of(taken.error());
  if (job && job->job.state == ServiceJob::State::kBlocked) {
    const auto over =
        jobs_->resolve(job->job.id, {.state = ServiceJob::State::kFailed,
                                     .exit = ExitCode::kFailed,
                                     .message = "the source took the disk back by force",
                                     .ownership = *taken});
    if (over.has_error()) return over.error();
  }
  return OwnerSentence{std::move(*taken)};
}

/// At the source: its destination is asked.
HostService::Outcome<OwnerSentence> HostService::ask_destination(const HostOwner::Unclear& unclear,
                                                                 const JobView& view) {
  const ServiceJob& job = view.job;
  VHDXM_COMMAND_TRY(const auto key, transfer::PairingKey::read_file(job.key_file));
  const transfer::SenderOptions options{
      .disk_path = {}, .host = job.host, .port = job.port, .key = key};
  const migration::ServiceJobDisk& first = job.disks.front();
  const MeetingEnd met =
      migration::meet_destination(owner_->ownership(), unclear.record, unclear.in_doubt,
                                  [&](const transfer::HandoverBody& message) {
                                    return transfer::call_about_handover(
                                        options, unclear.record.job, first.file_there(), message);
                                  });
  if (!met.end) {
    const std::string why =
        met.failure ? failure_of(*met.failure).message : "what the two hosts know does not fit";
    return still_unclear(fmt::format("who owns {} is as unclear as before: {}", first.path, why),
                         "The service asks again by itself; or run it again when the other host's "
                         "service can be reached.",
                         met.owner_sentence);
  }
  blocked_->hurry();  // what could ask one host can ask the others
  const bool done = met.end->kind == HandoverEnd::Kind::kDone;
  // Where this host keeps the disk after all, its mover opens it anew.
  if (!done) export_again(first.path);
  if (job.state == ServiceJob::State::kBlocked) {
    const auto over = jobs_->resolve(
        job.id, {.state = done ? ServiceJob::State::kDone : ServiceJob::State::kFailed,
                 .exit = done ? ExitCode::kDone : ExitCode::kFailed,
                 .message = done ? "" : "the hand-over came to nothing",
                 .ownership = met.end->sentence});
    if (over.has_error()) return over.error();
  }
  return OwnerSentence{met.end->sentence};
}

}  // namespace vhdxm::tools
