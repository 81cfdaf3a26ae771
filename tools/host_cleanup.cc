// How the host's service removes what jobs left: what arrived of a disk, and copies that were given
// away.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "tools/host_service.h"
#include "tools/printable_text.h"
#include "transfer/partials.h"

namespace vhdxm::tools {
namespace {

/// What arrived of a disk.
struct ArrivedPartial {
  std::shared_ptr<Directory> folder;
  transfer::Partial partial;
};

Result<std::vector<ArrivedPartial>> partials_at(const std::set<migration::DiskPlace>& places) {
  std::vector<ArrivedPartial> all;
  std::set<std::string> folders;
  for (const migration::DiskPlace& place : places) folders.insert(place.folder);
  for (const std::string& path : folders) {
    VHDXM_TRY(std::shared_ptr<Directory> folder, Directory::open(path));
    VHDXM_TRY(auto partials, transfer::list_partials(*folder));
    for (transfer::Partial& one : partials) {
      if (places.contains({path, one.name})) all.push_back({folder, std::move(one)});
    }
  }
  return all;
}

}  // namespace

HostService::Outcome<bool> HostService::remove_arrived(const migration::PlaceThere& what) {
  const std::lock_guard resolving(resolve_mutex_);
  const std::string name = transfer::text_of_place(what.folder, what.name);
  const std::vector<migration::DiskPlace> meant = places_meant(what);
  std::set<migration::DiskPlace> places;  // all disks of the job: they go together
  std::set<transfer::JobId> jobs;
  migration::OwnershipStore& store = owner_->ownership().store;
  std::vector<ArrivedPartial> partials;
  {
    const std::lock_guard lock(owner_->ownership().mutex);
    for (const migration::DiskPlace& place : meant) {
      const auto sidecar = store.sidecar(place);
      if (sidecar.has_error()) return failure_of(sidecar.error());
      const bool arrives =
          *sidecar && ((*sidecar)->state == migration::OwnershipState::kReceiving ||
                       (*sidecar)->state == migration::OwnershipState::kIncoming);
      if (!arrives) continue;
      places.insert(place);
      jobs.insert((*sidecar)->job);
    }
    if (places.empty()) return false;
    if (jobs.size() > 1) {
      HostOwner::Paths paths;
      for (const migration::DiskPlace& place : places) paths.push_back(path_of(place));
      return in_several_folders(name, paths);
    }
    const std::set<migration::DiskPlace> named = places;
    const auto job = store.job(*jobs.begin());
    if (job.has_value() && *job) {
      for (const migration::JobDisk& disk : (*job)->disks) places.insert(disk.place);
    }
    auto found = partials_at(places);
    if (found.has_error()) return failure_of(found.error());
    partials = std::move(*found);
    for (const ArrivedPartial& one : partials) {
      if (!one.partial.in_use) continue;
      return CommandFailure{.message = fmt::format("{} is being received now", one.partial.name),
                            .advice = "Cancel the job at its source.",
                            .exit = ExitCode::kNetwork,
                            .ownership = {}};
    }
    const auto cleaned = store.cleanup(*jobs.begin());
    if (cleaned.has_error()) return failure_of(cleaned.error());
    // Not what another job has since.
    std::erase_if(places, [&](const migration::DiskPlace& one) {
      if (named.contains(one)) return false;
      const auto now = store.sidecar(one);
      return now.has_error() || now->has_value();
    });
  }
  for (const ArrivedPartial& one : partials) {
    if (!places.contains({one.folder->path(), one.partial.name})) continue;
    const auto removed = transfer::remove_partial(*one.folder, one.partial);  // its journal
    if (removed.has_error()) return failure_of(removed.error());
  }
  return true;
}

/// The files that were released from here, of those that somebody may mean by `what`.
HostService::Outcome<HostOwner::Paths> HostService::released_meant(const std::string& what) {
  HostOwner::Paths meant = paths_meant(what, std::nullopt);
  // Those that did not arrive here may lie in any folder.
  for (const migration::RegisteredDisk& disk : registry_->list()) {
    const bool is_named = std::filesystem::path(disk.path).filename() == what;
    if (is_named && std::find(meant.begin(), meant.end(), disk.path) == meant.end()) {
      meant.push_back(disk.path);
    }
  }
  HostOwner::Paths released;
  const std::lock_guard lock(owner_->ownership().mutex);
  for (const std::string& path : meant) {
    const auto sidecar = owner_->ownership().store.sidecar(place_of(path));
    if (sidecar.has_error()) return failure_of(sidecar.error());
    if (*sidecar && (*sidecar)->state == migration::OwnershipState::kReleased) {
      released.push_back(path);
    }
  }
  return released;
}

HostService::Outcome<bool> HostService::remove_released(const std::string& what) {
  const std::lock_guard resolving(resolve_mutex_);
  const std::lock_guard lock(disks_mutex_);
  const auto meant = released_meant(what);
  if (meant.has_error()) return meant.error();
  if (meant->empty()) return false;
  if (meant->size() > 1) return in_several_folders(what, *meant);
  const std::string& path = meant->front();
  migration::OwnershipStore& store = owner_->ownership().store;
  migration::JobRecord record;
  {
    const std::lock_guard owning(owner_->ownership().mutex);
    VHDXM_COMMAND_TRY(const auto sidecar, store.sidecar(place_of(path)));
    VHDXM_COMMAND_TRY(const auto job, store.job(sidecar ? sidecar->job : transfer::JobId{}));
    if (!job || job->state != migration::JobState::kConfirmed) {
      return CommandFailure{
          .message = fmt::format("{} was released, and this host was not told that the other one "
                                 "owns it",
                                 path),
          .advice = fmt::format("`vhdx-migrate resolve {}` asks that host. Until then the copy is "
                                "all that there may be.",
                                shell_word(what)),
          .exit = ExitCode::kInDoubt,
          .ownership = {}};
    }
    record = *job;
  }
  // All disks of the job, which one mover has: who still reads one of the copies is in the way.
  MoverSet copies;
  for (const std::string& one : paths_in(record)) {
    if (auto disk = registry_->find_path(one)) copies.push_back(std::move(*disk));
  }
  for (const migration::RegisteredDisk& disk : copies) {
    const auto refusal = exports_.end_set(disk.name, /*force=*/false);
    if (!refusal) continue;
    return CommandFailure{
        .message = refusal->in_use ? fmt::format("{} client{} of {} still read{} what was released",
                                                 refusal->clients, refusal->clients == 1 ? "" : "s",
                                                 disk.name, refusal->clients == 1 ? "s" : "")
                                   : fmt::format("{}: {}", disk.name, refusal->problem),
        .advice = "Disconnect its clients, and run it again.",
        .exit = ExitCode::kNetwork,
        .ownership = {}};
  }
  Result<void> cleaned;
  {
    const std::lock_guard owning(owner_->ownership().mutex);
    cleaned = store.cleanup(record.job);
  }
  if (cleaned.has_error()) {
    for (const migration::RegisteredDisk& disk : copies) exports_.begin(set_of(disk));
    return failure_of(cleaned.error());
  }
  for (const migration::RegisteredDisk& disk : copies) {
    VHDXM_COMMAND_TRY_VOID(registry_->remove(disk.name));
    log_.notice(fmt::format("{}: the copy that was released is removed; not registered any more",
                            disk.name));
  }
  return true;
}

}  // namespace vhdxm::tools
