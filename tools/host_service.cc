#include "tools/host_service.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <set>
#include <utility>

#include "migration/state_folder.h"
#include "tools/endpoint.h"
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
    std::error_code ec;
    const auto real = std::filesystem::canonical(settings.folder, ec);
    if (!ec) settings.folder = real;
  }
  std::unique_ptr<HostService> service(
      new HostService(std::move(settings), std::move(*lock), std::move(registry), log));
  HostService* const self = service.get();
  // First what may fail: nothing is started then.
  if (const auto failed = self->open_owner()) return *failed;
  if (self->settings_.incoming) {
    auto arrivals = HostArrivals::start(
        self->settings_, self->owner_->ownership(),
        {.on_offer = [self](const auto& places) { return self->expect_disks(places); },
         .on_take = [self](const auto& places) { return self->own_files(places); },
         .on_over =
             [self](const migration::Arrival& arrival) {
               if (!arrival.owns) return;
               for (const auto& place : arrival.disks) self->take_over_disk(path_of(place));
             }},
        log);
    if (arrivals.has_error()) return arrivals.error();
    self->arrivals_ = std::move(*arrivals);
  }
  if (const auto failed = self->open_jobs()) return *failed;
  for (const std::string& path : self->arrived_) self->take_over_disk(path);
  for (const RegisteredDisk& disk : self->registry_->list()) self->exports_.begin(disk);
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
  if (settings_.incoming) folders.insert(settings_.folder);
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
                                 return disk && exports_.has_mover(disk->name);
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
      {.cannot_move = [this](const std::string& disk) { return cannot_move(disk); },
       .move = [this](const ServiceJob& job) { return exports_.move(job.disk, job.id); },
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
      exports_({.run_folder = settings_.run_folder,
                .state_folder = settings_.state_folder,
                .may_write =
                    [this](const RegisteredDisk& disk) { return owner_->may_write(disk.path); }},
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
  if (const auto problem = DiskExports::socket_problem(settings_.run_folder, disk.name);
      !problem.empty()) {
    return usage_failure(problem, "Choose a shorter name.");
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
  VHDXM_COMMAND_TRY_VOID(registry_->add(disk));
  exports_.begin(disk);
  ExportStatus status = exports_.settled(disk.name).value_or(ExportStatus{});
  if (status.state == ExportStatus::State::kExported) {
    log_.notice(fmt::format("{}: registered, {}", disk.name, disk.path));
    return DiskView{.disk = std::move(disk), .exported = std::move(status)};
  }
  // What cannot be exported is not registered: who asked is told why, and tries again.
  exports_.end(disk.name, /*force=*/true);
  VHDXM_COMMAND_TRY_VOID(registry_->remove(disk.name));
  return CommandFailure{.message = status.problem,
                        .advice = status.advice,
                        .exit = ExitCode::kFailed,
                        .ownership = {}};
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

/// Disks are to arrive in place of copies that were released from here: whoever still reads one of
/// those is in the way.
Result<void> HostService::expect_disks(const std::vector<migration::DiskPlace>& places) {
  for (const migration::DiskPlace& place : places) {
    const auto disk = registry_->find_path(path_of(place));
    if (!disk) continue;
    const auto status = exports_.status(disk->name);
    if (!status || status->state != ExportStatus::State::kReleased) continue;
    if (const auto refusal = exports_.end(disk->name, /*force=*/false)) {
      return Error{.code = transfer::Errc::kBusy,
                   .where = "clients still read the copy that was released from here",
                   .subject = disk->path};
    }
    exports_.begin(*disk);  // which says whose it is
  }
  return {};
}

/// This host owns the disk at `path`, which has arrived: exports it.
void HostService::take_over_disk(const std::string& path) {
  const std::lock_guard lock(disks_mutex_);
  auto disk = registry_->find_path(path);
  if (disk) {
    if (exports_.end(disk->name, /*force=*/true)) {
      log_.error(fmt::format("{}: the export of its old copy does not end", disk->name));
      return;
    }
  } else {
    const auto name = name_for(path);
    if (!name) {
      log_.warning(
          fmt::format("{} has arrived, and is not exported: register it under a name, "
                      "`vhdx-migrate disk add NAME {}`",
                      path, path));
      return;
    }
    disk = RegisteredDisk{.name = *name, .path = path};
    if (const auto added = registry_->add(*disk); added.has_error()) {
      log_.error(fmt::format("{}: {}", path, describe(added.error())));
      return;
    }
  }
  log_.notice(fmt::format("{}: this host owns it now, {}", disk->name, disk->path));
  exports_.begin(*disk);
}

/// Of a disk that has arrived: its file's, or that and a number.
std::optional<std::string> HostService::name_for(const std::string& path) const {
  const std::string stem = std::filesystem::path(path).stem();
  constexpr unsigned kTries = 100;
  for (unsigned i = 1; i <= kTries; ++i) {
    const std::string name = i == 1 ? stem : fmt::format("{}-{}", stem, i);
    if (!migration::is_disk_name(name) ||
        !DiskExports::socket_problem(settings_.run_folder, name).empty()) {
      return std::nullopt;
    }
    if (!registry_->find(name)) return name;
  }
  return std::nullopt;
}

HostService::Outcome<migration::ServiceJob> HostService::resolved(
    migration::ServiceJob wish) const {
  if (!wish.disk.empty()) {
    const auto disk = registry_->find(wish.disk);
    if (!disk) return no_such_disk(wish.disk);
    wish.path = disk->path;
  } else {
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
    wish.disk = disk->name;
    wish.path = disk->path;
  }
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

HostService::Outcome<JobView> HostService::move(migration::ServiceJob wish) {
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
    if (auto failure = cannot_move(job->disk)) return std::move(*failure);
  }
  return jobs_->submit(std::move(*job));
}

}  // namespace vhdxm::tools
