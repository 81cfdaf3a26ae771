// How the host's service gets disks that arrive: their mover waits for them, and they are
// registered.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>
#include <utility>

#include "base/directory.h"
#include "tools/host_service.h"

namespace vhdxm::tools {

using migration::RegisteredDisk;

namespace {

/// A mover that does not open the disks at once holds nobody up for longer.
constexpr std::chrono::milliseconds kOpenFirst{250};

}  // namespace

bool HostService::is_expected(const std::string& name) const {
  const std::lock_guard lock(expected_mutex_);
  for (const auto& [number, set] : expected_) {
    for (const RegisteredDisk& disk : set) {
      if (disk.name == name) return true;
    }
  }
  return false;
}

/// Disks are to arrive in place of copies that were released from here: whoever still reads one of
/// those is in the way, and so is a disk that has its mover in common with one and stays away.
Result<void> HostService::make_way(const std::vector<migration::DiskPlace>& places) {
  std::set<std::string> paths;
  for (const migration::DiskPlace& place : places) paths.insert(path_of(place));
  for (const std::string& path : paths) {
    const auto disk = registry_->find_path(path);
    if (!disk) continue;
    for (const RegisteredDisk& other : set_of(*disk)) {
      if (paths.contains(other.path)) continue;
      return Error{.code = transfer::Errc::kBusy,
                   .where =
                       "it is registered here in a group with a disk that does not come with "
                       "it: vhdx-migrate disk remove it there",
                   .subject = disk->path};
    }
    const auto status = exports_.status(disk->name);
    if (!status || status->state != ExportStatus::State::kReleased) continue;
    if (const auto refusal = exports_.end_set(disk->name, /*force=*/false)) {
      return Error{.code = transfer::Errc::kBusy,
                   .where = "clients still read the copy that was released from here",
                   .subject = disk->path};
    }
    exports_.begin(set_of(*disk));  // which says whose it is
  }
  return {};
}

/// How disks that arrive together are, or will be, registered: in their group, or in one of the
/// name that it has at their source. Nothing: they cannot be.
std::optional<MoverSet> HostService::set_for(const HostOwner::Paths& paths,
                                             const std::string& group_there) const {
  MoverSet set;
  std::string group;
  for (const std::string& path : paths) {
    auto disk = registry_->find_path(path);
    if (disk && group.empty()) group = disk->group;
    if (!disk) {
      const auto name = name_for(path, set);
      if (!name) return std::nullopt;
      disk = RegisteredDisk{.name = *name, .path = path};
    }
    set.push_back(std::move(*disk));
  }
  if (group.empty() && (set.size() > 1 || !group_there.empty())) {
    group = group_for(group_there.empty() ? set.front().name : group_there);
  }
  for (RegisteredDisk& disk : set) disk.group = group;
  if (!DiskExports::socket_problem(settings_.run_folder, MoverWatch::key_of(set.front())).empty()) {
    return std::nullopt;
  }
  return set;
}

/// Their mover is started, and waits: so that nothing else is left to do when they are owned.
void HostService::expect_disks(const migration::Arrival& arrival) {
  HostOwner::Paths paths;
  for (const auto& place : arrival.disks) paths.push_back(path_of(place));
  const std::lock_guard lock(disks_mutex_);
  const auto set = set_for(paths, arrival.group);
  if (!set) return;
  for (const RegisteredDisk& disk : *set) {
    // An earlier connection of the job, which has not ended yet, or disks of other jobs.
    if (is_expected(disk.name)) return;
    const auto old = registry_->find(disk.name);
    if (!old) continue;
    if (exports_.end_set(disk.name, /*force=*/false)) return;
  }
  {
    const std::lock_guard expecting(expected_mutex_);
    expected_[arrival.number] = *set;
  }
  exports_.expect(*set);
}

void HostService::open_disks(const migration::Arrival& arrival) {
  std::string name;
  {
    const std::lock_guard lock(expected_mutex_);
    const auto found = expected_.find(arrival.number);
    if (found == expected_.end()) return;
    name = found->second.front().name;
  }
  exports_.taken(name, transfer::hex_of(arrival.job));
  // What both hosts write down afterwards is not to be in the way of what guests wait for.
  exports_.await_open(name, kOpenFirst);
}

/// The host that disks came from still has clients.
Result<transfer::ForwardDoor> HostService::forward_to(const transfer::ForwardWish& wish) {
  const transfer::FolderPaths folders = settings_.arrival_folders();
  const std::string* const folder = folders.find(wish.folder);
  if (folder == nullptr || !Directory::is_plain_name(wish.name)) {
    return Error{.code = transfer::Errc::kRefused,
                 .where = "there is no such place here",
                 .subject = transfer::text_of_place(wish.folder, wish.name)};
  }
  return exports_.forward(path_of({.folder = *folder, .name = wish.name}),
                          transfer::hex_of(wish.job));
}

/// A job that brought disks is over.
void HostService::see_to_disks(const migration::Arrival& arrival) {
  std::optional<MoverSet> set;
  {
    const std::lock_guard lock(expected_mutex_);
    if (auto found = expected_.extract(arrival.number)) set = std::move(found.mapped());
  }
  if (arrival.owns) {
    HostOwner::Paths paths;
    for (const auto& place : arrival.disks) paths.push_back(path_of(place));
    return take_over_disks(paths, arrival.group, set);
  }
  if (!set) return;
  const std::lock_guard lock(disks_mutex_);
  exports_.dismiss(set->front().name);
  // Copies that were released from here are as they were before.
  for (const RegisteredDisk& disk : *set) {
    if (const auto registered = registry_->find(disk.name)) exports_.begin(set_of(*registered));
  }
}

/// This host owns the disks at `paths`, which have arrived: exports them. `expected`: as their
/// mover, which was told already, knows them.
void HostService::take_over_disks(const HostOwner::Paths& paths, const std::string& group_there,
                                  const std::optional<MoverSet>& expected) {
  const std::lock_guard lock(disks_mutex_);
  const auto set = expected ? expected : set_for(paths, group_there);
  if (!set) {
    log_.warning(
        fmt::format("{} has arrived, and is not exported: register it under a name, "
                    "`vhdx-migrate disk add NAME {}`",
                    fmt::join(paths, ", "), paths.front()));
    return;
  }
  for (const RegisteredDisk& disk : *set) {
    const auto registered = registry_->find(disk.name);
    if (registered && !expected && exports_.end_set(disk.name, /*force=*/true)) {
      log_.error(fmt::format("{}: the export of its old copy does not end", disk.name));
      return;
    }
    const auto written = !registered ? registry_->add(disk)
                         : registered->group != disk.group
                             ? registry_->set_group(disk.name, disk.group)
                             : Result<void>{};
    if (written.has_error()) {
      log_.error(fmt::format("{}: {}", disk.path, describe(written.error())));
      continue;
    }
    log_.notice(fmt::format("{}: this host owns it now, {}", disk.name, disk.path));
  }
  if (!expected || !exports_.confirm(set->front().name)) exports_.begin(*set);
}

/// Of a disk that has arrived: its file's, or that and a number. `others`: that arrived with it, of
/// the same file name perhaps, in other folders.
std::optional<std::string> HostService::name_for(const std::string& path,
                                                 const MoverSet& others) const {
  const std::string stem = std::filesystem::path(path).stem();
  constexpr unsigned kTries = 100;
  for (unsigned i = 1; i <= kTries; ++i) {
    const std::string name = i == 1 ? stem : fmt::format("{}-{}", stem, i);
    if (!migration::is_disk_name(name) ||
        !DiskExports::socket_problem(settings_.run_folder, name).empty()) {
      return std::nullopt;
    }
    const bool taken = std::any_of(others.begin(), others.end(),
                                   [&](const RegisteredDisk& other) { return other.name == name; });
    if (!taken && !registry_->find(name) && !is_expected(name)) return name;
  }
  return std::nullopt;
}

/// Of disks that have arrived together: that name, or that and a number.
std::string HostService::group_for(const std::string& name) const {
  std::string group = name;
  for (unsigned i = 2; !registry_->of_group(group).empty(); ++i) {
    group = fmt::format("{}-{}", name, i);
  }
  return group;
}

}  // namespace vhdxm::tools
