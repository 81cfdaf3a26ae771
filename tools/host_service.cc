#include "tools/host_service.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>
#include <utility>

#include "migration/state_folder.h"
#include "tools/endpoint.h"
#include "tools/host_config.h"
#include "tools/printable_text.h"
#include "transfer/pairing_key.h"

namespace vhdxm::tools {
namespace {

using migration::DiskRegistry;
using migration::HostSettings;
using migration::RegisteredDisk;
using migration::ServiceJob;

/// Of the folders in the run folder. That of NBD sockets can be entered by the folder's group.
constexpr mode_t kPrivateFolder = S_IRWXU;
constexpr mode_t kClientsFolder = S_IRWXU | S_IRGRP | S_IXGRP;

Result<void> make_run_folder(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0) {
    // Whatever the umask is.
    if (::chmod(path.c_str(), mode) == 0) return {};
  } else if (errno == EEXIST) {
    return {};
  }
  return errno_error("make the folder").about(path);
}

Result<void> make_run_folders(const std::string& run) {
  // systemd has made it, where systemd runs the service.
  VHDXM_TRY(const auto made, migration::StateFolder::open(run));
  VHDXM_TRY_VOID(make_run_folder(run + "/disks", kClientsFolder));
  VHDXM_TRY_VOID(make_run_folder(run + "/jobs", kPrivateFolder));
  return make_run_folder(run + "/movers", kPrivateFolder);
}

CommandFailure no_such_disk(const std::string& name) {
  return usage_failure(fmt::format("no disk is registered as '{}'", name),
                       "`vhdx-migrate disk list` shows those that are.");
}

}  // namespace

HostService::Outcome<std::unique_ptr<HostService>> HostService::start(HostSettings settings,
                                                                      ServiceLog& log) {
  VHDXM_COMMAND_TRY(const auto state, migration::StateFolder::open(settings.state_folder));
  VHDXM_COMMAND_TRY(auto lock, ProcessLock::take(settings.state_folder + "/service.lock"));
  if (!lock) {
    return CommandFailure{
        .message = fmt::format("another service has the state folder {}", settings.state_folder),
        .advice = "Stop it, or give this one a folder of its own (state_folder, run_folder).",
        .exit = ExitCode::kFailed,
        .ownership = {}};
  }
  VHDXM_COMMAND_TRY_VOID(make_run_folders(settings.run_folder));
  VHDXM_COMMAND_TRY(auto registry, DiskRegistry::open(settings.state_folder + "/disks"));
  if (settings.incoming) {
    // One name for each disk, as registered ones have it.
    if (auto failure = find_folders(settings)) return std::move(*failure);
  }
  std::unique_ptr<HostService> service(
      new HostService(std::move(settings), std::move(*lock), std::move(registry), log));
  HostService* const self = service.get();
  // First what may fail: nothing is started then.
  if (const auto failed = self->open_owner()) return *failed;
  if (self->settings_.incoming) {
    auto arrivals = HostArrivals::start(
        self->settings_, self->owner_->ownership(),
        {.on_offer = [self](const auto& places) { return self->make_way(places); },
         .on_begun = [self](const migration::Arrival& arrival) { self->expect_disks(arrival); },
         .on_owned = [self](const migration::Arrival& arrival) { self->open_disks(arrival); },
         .on_take = [self](const auto& places) { return self->own_files(places); },
         .on_over = [self](const migration::Arrival& arrival) { self->see_to_disks(arrival); }},
        [self](const transfer::ForwardWish& wish) { return self->forward_to(wish); }, log);
    if (arrivals.has_error()) return arrivals.error();
    self->arrivals_ = std::move(*arrivals);
  }
  if (const auto failed = self->open_jobs()) return *failed;
  for (const HostOwner::Start::Arrived& one : self->arrived_) {
    self->take_over_disks(one.paths, one.group, std::nullopt);
  }
  for (const MoverSet& set : mover_sets_of(self->registry_->list())) self->exports_.begin(set);
  self->blocked_ = std::make_unique<BlockedJobs>(
      RetrySchedule::Limits{.first = self->settings_.resolve_retry},
      [self](const std::string& id) { return self->ask_again(id); }, log);
  self->jobs_->start();
  for (const JobView& view : self->jobs_->list()) {
    if (view.job.state == ServiceJob::State::kBlocked) self->blocked_->add_at_once(view.job.id);
  }
  return service;
}

std::optional<CommandFailure> HostService::open_owner() {
  std::set<std::string> folders;
  if (settings_.incoming) {
    folders.insert(settings_.folder);
    for (const auto& one : settings_.folders) folders.insert(one.second);
  }
  for (const RegisteredDisk& disk : registry_->list()) {
    folders.insert(std::filesystem::path(disk.path).parent_path());
  }
  // One that is not mounted has nothing to be put right now; its disks are looked at when they
  // are exported.
  std::erase_if(folders, [](const std::string& folder) {
    std::error_code ignored;
    return !std::filesystem::is_directory(folder, ignored);
  });
  auto start = HostOwner::open(settings_.state_folder, {folders.begin(), folders.end()},
                               [this](const std::string& path) {
                                 const auto disk = registry_->find_path(path);
                                 return disk && exports_.has_mover(*disk);
                               });
  if (start.has_error()) return failure_of(start.error());
  owner_ = std::move(start->owner);
  arrived_ = std::move(start->arrived);
  for (const auto& doubt : start->doubts) {
    log_.error(fmt::format("{}: nobody may write to it: {}", path_of(doubt.place), doubt.why));
  }
  return std::nullopt;
}

std::optional<CommandFailure> HostService::open_jobs() {
  auto jobs = JobDesk::open(
      {.state_folder = settings_.state_folder,
       .run_folder = settings_.run_folder,
       .jobs_max = settings_.max_migrations},
      {.cannot_move = [this](const ServiceJob& job) { return cannot_move(job); },
       .move =
           [this](const ServiceJob& job) { return exports_.move(job.disks.front().name, job.id); },
       .judge = [this](ServiceJob& job) { owner_->judge(job); },
       .blocked = [this](const ServiceJob& job) { blocked_->add(job.id); }},
      log_);
  if (jobs.has_error()) return jobs.error();
  jobs_ = std::move(*jobs);
  return std::nullopt;
}

HostService::HostService(HostSettings settings, ProcessLock lock,
                         std::unique_ptr<DiskRegistry> registry, ServiceLog& log)
    : settings_(std::move(settings)),
      lock_(std::move(lock)),
      log_(log),
      registry_(std::move(registry)),
      exports_(
          {.run_folder = settings_.run_folder,
           .state_folder = settings_.state_folder,
           .may_write = [this](const HostOwner::Paths& paths) { return owner_->may_write(paths); }},
          log) {}

HostService::~HostService() {
  // First what uses the others from threads of its own.
  arrivals_.reset();
  if (blocked_) blocked_->stop();
  jobs_.reset();
}

HostService::Outcome<DiskView> HostService::add_disk(RegisteredDisk disk) {
  if (!migration::is_disk_name(disk.name)) {
    return usage_failure(fmt::format("'{}' cannot be the name of a disk", disk.name),
                         "Names are letters, digits, '-', '_' and '.', at most 64, and begin with "
                         "a letter or a digit.");
  }
  if (!disk.group.empty() && !migration::is_disk_name(disk.group)) {
    return usage_failure(fmt::format("'{}' cannot be the name of a group", disk.group),
                         "Its letters are those of a disk's name.");
  }
  for (const std::string& key : {disk.name, MoverWatch::key_of(disk)}) {
    const auto problem = DiskExports::socket_problem(settings_.run_folder, key);
    if (!problem.empty()) return usage_failure(problem, "Choose a shorter name.");
  }
  if (!disk.path.starts_with('/')) {
    return usage_failure(fmt::format("'{}' is no absolute path", disk.path),
                         "The service has a working folder of its own: give the whole path.");
  }
  // One name for a file, however it was asked for; links are resolved once, here.
  std::error_code ec;
  const auto real = std::filesystem::canonical(disk.path, ec);
  if (ec) {
    errno = ec.value();
    return failure_of(errno_error("find the disk").about(disk.path));
  }
  disk.path = real;
  const std::lock_guard lock(disks_mutex_);
  if (is_expected(disk.name)) {
    return CommandFailure{.message = fmt::format("a disk arrives that will be '{}'", disk.name),
                          .advice = "Choose another name; `vhdx-migrate list` shows what arrives.",
                          .exit = ExitCode::kFailed,
                          .ownership = {}};
  }
  const MoverSet group = registry_->of_group(disk.group);
  for (const RegisteredDisk& other : group) {
    if (other.read_only == disk.read_only) continue;
    return usage_failure(
        fmt::format("the disks of group {} are registered {}", disk.group,
                    other.read_only ? "for reading only" : "for writing"),
        "The disks of a group move together: register all for writing, or none of them.");
  }
  if (const auto job = group.empty() ? std::nullopt : jobs_->job_moving(group.front().name)) {
    return CommandFailure{
        .message = fmt::format("group {} is being moved by job {}", disk.group, *job),
        .advice = "Wait for its end, or choose another group.",
        .exit = ExitCode::kNetwork,
        .ownership = {}};
  }
  VHDXM_COMMAND_TRY_VOID(registry_->add(disk));
  if (auto failure = exports_.add(disk)) {
    // What cannot be exported is not registered: who asked is told why, and tries again.
    VHDXM_COMMAND_TRY_VOID(registry_->remove(disk.name));
    return std::move(*failure);
  }
  ExportStatus status = exports_.status(disk.name).value_or(ExportStatus{});
  log_.notice(fmt::format("{}: registered, {}", disk.name, disk.path));
  return DiskView{.disk = std::move(disk), .exported = std::move(status)};
}

HostService::Outcome<DiskView> HostService::remove_disk(const std::string& name, bool force) {
  const std::lock_guard lock(disks_mutex_);
  auto view = disk(name);
  if (!view) return no_such_disk(name);
  if (!view->job.empty()) {
    return CommandFailure{
        .message = fmt::format("{} is being moved by job {}", name, view->job),
        .advice = fmt::format("Cancel it first: vhdx-migrate cancel {}", view->job),
        .exit = ExitCode::kNetwork,
        .ownership = {}};
  }
  if (const auto refusal = exports_.end(name, force)) {
    if (refusal->in_use) {
      return CommandFailure{
          .message = fmt::format("{} is in use by {} client{}", name, refusal->clients,
                                 refusal->clients == 1 ? "" : "s"),
          .advice = "Disconnect them (stop the guest), or say --force: then they lose the disk.",
          .exit = ExitCode::kNetwork,
          .ownership = {}};
    }
    return CommandFailure{.message = fmt::format("{}: {}", name, refusal->problem),
                          .advice = "Look into the service's log, and run it again.",
                          .exit = ExitCode::kFailed,
                          .ownership = {}};
  }
  VHDXM_COMMAND_TRY_VOID(registry_->remove(name));
  log_.notice(
      fmt::format("{}: not registered any more; {} stays where it is", name, view->disk.path));
  return std::move(*view);
}

std::vector<DiskView> HostService::disks() {
  std::vector<DiskView> all;
  for (const RegisteredDisk& disk : registry_->list()) {
    if (auto view = this->disk(disk.name)) all.push_back(std::move(*view));
  }
  return all;
}

std::optional<DiskView> HostService::disk(const std::string& name) {
  auto found = registry_->find(name);
  if (!found) return std::nullopt;
  ExportStatus status = exports_.status(name).value_or(ExportStatus{});
  return DiskView{.disk = std::move(*found),
                  .exported = std::move(status),
                  .job = jobs_->job_moving(name).value_or("")};
}

/// Why a disk cannot be handed over now, whoever uses it.
std::optional<CommandFailure> HostService::cannot_move(const std::string& name) {
  const auto disk = registry_->find(name);
  if (!disk) return no_such_disk(name);
  const auto refused = [&](ExitCode exit, const std::string& why, std::string advice) {
    return CommandFailure{.message = fmt::format("{} ({}) {}", name, disk->path, why),
                          .advice = std::move(advice),
                          .exit = exit,
                          .ownership = {}};
  };
  if (disk->read_only) {
    return refused(ExitCode::kIncompatible,
                   "is registered for reading only: its ownership cannot be handed over",
                   fmt::format("Register it for writing (vhdx-migrate disk remove {0}, then disk "
                               "add {0} {1}), or copy it: vhdx-migrate send {1} HOST",
                               name, shell_word(disk->path)));
  }
  // One that is being started is not known yet.
  const ExportStatus status = exports_.settled(name).value_or(ExportStatus{});
  switch (status.state) {
    case ExportStatus::State::kExported:
      break;
    case ExportStatus::State::kReleased: {
      CommandFailure gone = refused(ExitCode::kFailed,
                                    "is not this host's to move: " + status.problem, status.advice);
      gone.ownership = fmt::format("This host does not own {}.", disk->path);
      return gone;
    }
    case ExportStatus::State::kStarting:
    case ExportStatus::State::kFailed:
      return refused(ExitCode::kFailed, "cannot be moved: it has no mover: " + status.problem,
                     status.advice.empty() ? "Look into the service's log." : status.advice);
  }
  if (status.differencing) {
    return refused(ExitCode::kIncompatible,
                   "is a differencing disk: it needs its parents, and cannot be handed over",
                   fmt::format("Copy it with its parents, or as one disk, when nobody uses it: "
                               "vhdx-migrate disk remove {}, then vhdx-migrate send {} HOST "
                               "[--flatten --as NAME.vhdx]",
                               name, shell_word(disk->path)));
  }
  return std::nullopt;
}

std::optional<CommandFailure> HostService::cannot_move(const ServiceJob& job) {
  std::vector<RegisteredDisk> disks;
  for (const migration::ServiceJobDisk& one : job.disks) {
    if (auto refused = cannot_move(one.name)) return refused;
    auto disk = registry_->find(one.name);
    if (!disk) return no_such_disk(one.name);
    disks.push_back(std::move(*disk));
  }
  return not_one_group(disks);
}

MoverSet HostService::set_of(const RegisteredDisk& disk) const {
  return disk.group.empty() ? MoverSet{disk} : registry_->of_group(disk.group);
}

/// That path, and those of disks that have their mover in common with it.
std::vector<std::string> HostService::paths_with(const std::string& path) const {
  std::vector<std::string> paths{path};
  const auto disk = registry_->find_path(path);
  if (!disk) return paths;
  for (const RegisteredDisk& other : set_of(*disk)) {
    if (other.path != path) paths.push_back(other.path);
  }
  return paths;
}

/// The disks of a wish, as they are registered.
HostService::Outcome<std::vector<RegisteredDisk>> HostService::disks_meant(
    const MoveWish& wish) const {
  std::vector<RegisteredDisk> disks;
  if (!wish.group.empty()) {
    disks = registry_->of_group(wish.group);
    if (!disks.empty()) return disks;
    return usage_failure(fmt::format("no disk is registered in group '{}'", wish.group),
                         "`vhdx-migrate disk list` shows the groups that there are.");
  }
  for (const std::string& name : wish.disks) {
    const auto disk = registry_->find(name);
    if (!disk) return no_such_disk(name);
    disks.push_back(*disk);
  }
  if (!wish.path.empty()) {
    // The folder alone: a disk that has moved is not there under its name any more.
    const std::filesystem::path given(wish.path);
    std::error_code ec;
    auto real = std::filesystem::canonical(given, ec);
    if (ec) real = std::filesystem::weakly_canonical(given.parent_path(), ec) / given.filename();
    const auto disk = registry_->find_path(real);
    if (!disk) {
      std::error_code ignored;
      if (!std::filesystem::exists(real, ignored)) {
        errno = ENOENT;
        return failure_of(errno_error("find the disk").about(wish.path));
      }
      return CommandFailure{
          .message = fmt::format("{} is not registered: this host's service does not hold it, and "
                                 "cannot hand it over",
                                 wish.path),
          .advice = fmt::format("Register it, vhdx-migrate disk add NAME {0}, and move it by that "
                                "name; or copy it: vhdx-migrate send {0} HOST",
                                shell_word(wish.path)),
          .exit = ExitCode::kIncompatible,
          .ownership = {}};
    }
    disks.push_back(*disk);
  }
  return disks;
}

/// One gate is over all disks of a group, so they change hands together; and of no others.
std::optional<CommandFailure> HostService::not_one_group(
    const std::vector<RegisteredDisk>& disks) const {
  const std::string& group = disks.front().group;
  std::set<std::string> named;
  for (const RegisteredDisk& disk : disks) {
    if (!named.insert(disk.name).second) {
      return usage_failure(fmt::format("{} is named twice", disk.name), "Name it once.");
    }
    if (disk.group == group && (!group.empty() || disks.size() == 1)) continue;
    return CommandFailure{
        .message = fmt::format("{} and {} are not of one group: they cannot change hands at the "
                               "same moment",
                               disks.front().name, disks.back().name),
        .advice =
            "Move each by a job of its own; or register them in one group: vhdx-migrate disk "
            "remove NAME, then disk add NAME FILE --group GROUP",
        .exit = ExitCode::kIncompatible,
        .ownership = {}};
  }
  for (const RegisteredDisk& other : registry_->of_group(group)) {
    if (named.contains(other.name)) continue;
    return CommandFailure{
        .message = fmt::format("{} is in group {} with {}: the disks of a group move together",
                               disks.front().name, group, other.name),
        .advice = fmt::format("Move all of it: vhdx-migrate move --group {} --to HOST", group),
        .exit = ExitCode::kIncompatible,
        .ownership = {}};
  }
  return std::nullopt;
}

/// With their places at the destination.
HostService::Outcome<std::vector<migration::ServiceJobDisk>> HostService::named_there(
    const MoveWish& wish, const std::vector<RegisteredDisk>& disks) const {
  if (wish.as && disks.size() != 1) {
    return usage_failure("one name at the destination cannot be that of several disks",
                         "Name each: --map DISK=NAME.vhdx");
  }
  std::vector<migration::ServiceJobDisk> all;
  std::set<std::string> files;
  for (const RegisteredDisk& disk : disks) {
    migration::PlaceThere there = wish.as.value_or(migration::PlaceThere{});
    if (const auto found = wish.places.find(disk.name); found != wish.places.end()) {
      there = found->second;
    }
    migration::ServiceJobDisk one{.name = disk.name,
                                  .path = disk.path,
                                  .name_there = std::move(there.name),
                                  .folder_there = std::move(there.folder)};
    if (!files.insert(one.place_there()).second) {
      return usage_failure(
          fmt::format("two of the disks would be {} at the destination", one.place_there()),
          "Give one of them another name or folder: --map DISK=NAME.vhdx, or "
          "DISK=FOLDER/NAME.vhdx");
    }
    all.push_back(std::move(one));
  }
  for (const auto& one : wish.places) {
    const std::string& name = one.first;
    const bool moves = std::any_of(disks.begin(), disks.end(),
                                   [&name](const auto& disk) { return disk.name == name; });
    if (moves) continue;
    return usage_failure(fmt::format("'{}' is none of the disks that are to move", name),
                         "--map takes the names under which the disks are registered here.");
  }
  return all;
}

HostService::Outcome<migration::ServiceJob> HostService::resolved(MoveWish asked) const {
  auto disks = disks_meant(asked);
  if (disks.has_error()) return disks.error();
  if (auto failure = not_one_group(*disks)) return std::move(*failure);
  auto named = named_there(asked, *disks);
  if (named.has_error()) return named.error();
  ServiceJob wish = std::move(asked.job);
  wish.disks = std::move(*named);
  wish.group = disks->front().group;
  if (const migration::HostPeer* peer = settings_.find_peer(wish.host)) {
    wish.host = peer->address.empty() ? peer->name : peer->address;
    wish.port = peer->port;
    if (wish.key_file.empty()) wish.key_file = peer->key_file;
  } else {
    const auto endpoint = parse_endpoint(wish.host);
    if (!endpoint || endpoint->port == std::uint16_t{0}) {
      return usage_failure(
          fmt::format("'{}' is neither a peer of the settings nor HOST, HOST:PORT or "
                      "[ADDRESS]:PORT",
                      wish.host),
          "For example newhost, newhost:6600 or [2001:db8::7]:6600.");
    }
    wish.host = endpoint->host;
    wish.port = endpoint->port.value_or(transfer::kDefaultPort);
  }
  if (wish.key_file.empty()) wish.key_file = settings_.key_file;
  if (wish.limit == 0 ||
      (settings_.bandwidth_limit != 0 && wish.limit > settings_.bandwidth_limit)) {
    wish.limit = settings_.bandwidth_limit;
  }
  if (wish.mode.empty()) wish.mode = transfer::to_string(settings_.performance);
  return wish;
}

HostService::Outcome<JobView> HostService::move(MoveWish wish) {
  if (!settings_.outgoing) {
    return CommandFailure{.message = "no disk may leave this host: outgoing is off",
                          .advice = "Switch it on in the service's settings (outgoing = true).",
                          .exit = ExitCode::kAuthentication,
                          .ownership = {}};
  }
  auto job = resolved(std::move(wish));
  if (job.has_error()) return job.error();
  if (job->key_file.empty()) {
    return usage_failure(fmt::format("no key is known for {}", job->host),
                         "Name one in the settings: key_file, or [peers.NAME] with a key_file.");
  }
  VHDXM_COMMAND_TRY_VOID(transfer::PairingKey::read_file(job->key_file));
  // One that is there already is that job, whatever became of the disk since.
  if (job->id.empty() || !jobs_->find(job->id)) {
    if (auto failure = cannot_move(*job)) return std::move(*failure);
  }
  return jobs_->submit(std::move(*job));
}

}  // namespace vhdxm::tools
