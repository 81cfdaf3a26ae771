#include "tools/disk_exports.h"

#include <fmt/format.h>
#include <sys/un.h>

#include <algorithm>
#include <utility>

namespace vhdxm::tools {

std::vector<MoverSet> mover_sets_of(const std::vector<migration::RegisteredDisk>& disks) {
  std::map<std::string, MoverSet> sets;
  for (const migration::RegisteredDisk& disk : disks) {
    sets[MoverWatch::key_of(disk)].push_back(disk);
  }
  std::vector<MoverSet> all;
  for (auto& [key, set] : sets) all.push_back(std::move(set));
  return all;
}

DiskExports::DiskExports(Setting setting, ServiceLog& log)
    : setting_(std::move(setting)), log_(log) {}

DiskExports::~DiskExports() {
  // All at once, then one by one.
  for (const auto& [key, watch] : watches_) watch->stop();
}

std::string DiskExports::socket_problem(const std::string& run_folder, const std::string& key) {
  const MoverPlaces places = mover_places(run_folder, key);
  const std::size_t longest =
      std::max({places.control.size(), places.clients.size(), places.waiting.size()});
  constexpr std::size_t kMost = sizeof(sockaddr_un{}.sun_path) - 1;
  if (longest <= kMost) return "";
  return fmt::format("the name '{}' is too long by {} characters: the disk's sockets are in {}",
                     key, longest - kMost, run_folder);
}

std::shared_ptr<MoverWatch> DiskExports::find(const std::string& name) {
  const std::lock_guard lock(mutex_);
  for (const auto& [key, watch] : watches_) {
    if (watch->has(name)) return watch;
  }
  return nullptr;
}

void DiskExports::put(const MoverSet& disks, MoverWatch::Purpose purpose) {
  const std::lock_guard lock(mutex_);
  const std::string key = MoverWatch::key_of(disks.front());
  if (watches_.contains(key)) return;
  watches_.emplace(key, std::make_shared<MoverWatch>(setting_, disks, purpose, log_));
}

void DiskExports::forget(const std::shared_ptr<MoverWatch>& watch) {
  const std::lock_guard lock(mutex_);
  std::erase_if(watches_, [&](const auto& one) { return one.second == watch; });
}

void DiskExports::begin(const MoverSet& disks) {
  put(disks, MoverWatch::Purpose::kServe);
}

std::optional<CommandFailure> DiskExports::add(const migration::RegisteredDisk& disk) {
  std::shared_ptr<MoverWatch> group;
  {
    const std::lock_guard lock(mutex_);
    const auto found = watches_.find(MoverWatch::key_of(disk));
    if (found != watches_.end()) group = found->second;
  }
  if (group != nullptr) return group->add(disk);
  begin({disk});
  const ExportStatus now = settled(disk.name).value_or(ExportStatus{});
  if (now.state == ExportStatus::State::kExported) return std::nullopt;
  end(disk.name, /*force=*/true);
  return CommandFailure{
      .message = now.problem, .advice = now.advice, .exit = ExitCode::kFailed, .ownership = {}};
}

std::optional<ExportStatus> DiskExports::settled(const std::string& name) {
  const auto watch = find(name);
  if (watch == nullptr) return std::nullopt;
  return watch->settled(name);
}

std::optional<ExportStatus> DiskExports::status(const std::string& name) {
  const auto watch = find(name);
  if (watch == nullptr) return std::nullopt;
  return watch->status(name);
}

std::optional<DiskExports::Refusal> DiskExports::end(const std::string& name, bool force) {
  const auto watch = find(name);
  if (watch == nullptr) return std::nullopt;
  if (watch->disks().size() > 1) return watch->close(name, force);
  return end_set(name, force);
}

std::optional<DiskExports::Refusal> DiskExports::end_set(const std::string& name, bool force) {
  const auto watch = find(name);
  if (watch == nullptr) return std::nullopt;
  if (auto refusal = watch->end(force)) return refusal;
  forget(watch);
  return std::nullopt;
}

std::optional<std::string> DiskExports::move(const std::string& name, const std::string& id) {
  const auto watch = find(name);
  if (watch == nullptr) return "the disk is not exported";
  return watch->move(id);
}

Result<transfer::ForwardDoor> DiskExports::forward(const std::string& path,
                                                   const std::string& job) {
  std::shared_ptr<MoverWatch> watch;
  std::string name;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, one] : watches_) {
      for (const migration::RegisteredDisk& disk : one->disks()) {
        if (disk.path != path) continue;
        watch = one;
        name = disk.name;
      }
    }
  }
  if (watch != nullptr) return watch->forward(name, job);
  return Error{.code = transfer::Errc::kBusy,
               .where = "it is not exported here, or not yet",
               .subject = path};
}

bool DiskExports::has_mover(const migration::RegisteredDisk& disk) const {
  const auto places = mover_places(setting_.run_folder, MoverWatch::key_of(disk));
  const auto lock = ProcessLock::take(places.lock);
  return lock.has_value() && !lock->has_value();
}

void DiskExports::expect(const MoverSet& disks) {
  put(disks, MoverWatch::Purpose::kExpect);
}

void DiskExports::taken(const std::string& name, const std::string& job) {
  const auto watch = find(name);
  if (watch != nullptr && watch->expects()) watch->taken(job);
}

void DiskExports::await_open(const std::string& name, std::chrono::milliseconds patience) {
  const auto watch = find(name);
  if (watch != nullptr && watch->expects()) watch->await_open(patience);
}

bool DiskExports::confirm(const std::string& name) {
  const auto watch = find(name);
  if (watch == nullptr || !watch->expects()) return false;
  watch->confirm();
  return true;
}

void DiskExports::dismiss(const std::string& name) {
  const auto watch = find(name);
  if (watch == nullptr || !watch->expects()) return;
  watch->stop();
  forget(watch);
}

}  // namespace vhdxm::tools
