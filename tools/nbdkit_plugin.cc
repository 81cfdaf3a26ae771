// VHDX disks as a plugin of nbdkit: what NBD clients ask for, put to a LiveDisk.
//
// The file is called nbdkit-vhdx-plugin.so, as nbdkit names its own: in nbdkit's plugin folder (or
// linked from there) `nbdkit vhdx DISK` finds it. `vhdx-migrate serve` names it by its full path.
//
// A disk is opened once and shared by all connections: that is what makes a flush on one of them
// good for all. `vhdx-migrate serve` names it, and it is opened before nbdkit makes its socket; a
// mover of the host's service is told later which disks to open (tools/disk_mover.h). No exception
// leaves a function that nbdkit calls.
// Interface: nbdkit-plugin(3), version 2.
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/signal_free_thread.h"
#include "migration/owner_check.h"
#include "tools/client_sockets.h"
#include "tools/disk_forwarder.h"
#include "tools/disk_mover.h"
#include "transfer/live_disk.h"
#include "vhdx/errc.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

namespace vhdxm::tools {
namespace {

using transfer::LiveDisk;

constexpr std::uint32_t kPreferredBytes = 4096;       // a page of the dirty map
constexpr std::uint32_t kRequestBytesMax = 32 << 20;  // what NBD promises to any client
constexpr std::size_t kExtentsAtOnce = 4096;

struct Config {
  std::string disk;
  bool read_only = false;
  bool tracking = false;
  /// One end of a socket pair, or -1. Told 'R' when clients can connect, 'C' when the disk was
  /// closed well. When its peer says 'Q', or goes away, the server ends.
  int control_fd = -1;
  /// What a mover of the host's service has instead: the socket that the service finds it by. It
  /// goes on when the service ends.
  std::string control_socket;
  bool group = false;    ///< Several disks, each by its name.
  std::string waits_at;  ///< As DiskMover::About.
  std::string serves_at;
  int life_fd = -1;
  std::string state_folder;  ///< Of the service: for moves of the disk while it is in use.
  std::string run_folder;
  int ready_fd = -1;  ///< Told 'R', and closed, when clients and the service can connect.
};

/// nbdkit has one plugin a process, and hands its functions nothing of its own.
struct Plugin {
  Config config;
  std::shared_ptr<MoverDisk> disk;   ///< Null where there is a service.
  std::unique_ptr<DiskMover> mover;  ///< Null where there is none.
  std::thread control;
  std::mutex mutex;
  std::condition_variable changed;
  // Protected by mutex:
  bool end_asked = false;  ///< By the service.
  bool is_ended = false;   ///< No client is left.
};
Plugin& plugin() {
  static Plugin one;
  return one;
}

/// What an NBD client can be told; nbdkit makes EINVAL of anything else.
int errno_of(const Error& error) {
  const auto& category = error.code.category();
  if (error.code == BaseErrc::kInvalidArgument || error.code == BaseErrc::kOutOfRange) {
    return EINVAL;
  }
  if (error.code == vhdx::make_error_code(vhdx::Errc::kClosed)) return ESHUTDOWN;
  if (category != boost::system::system_category() &&
      category != boost::system::generic_category()) {
    return EIO;
  }
  switch (const int value = error.code.value()) {
    case EPERM:
    case EOPNOTSUPP:
    case EROFS:
    case ENOMEM:
    case ENOSPC:
      return value;
    case EDQUOT:
    case EFBIG:
      return ENOSPC;
    default:
      return EIO;
  }
}

int failed(int error_number, const std::string& message) {
  // A client of a fenced disk may go on trying: that is no news, nor is what cannot be done fast.
  if (error_number != EPERM && error_number != EOPNOTSUPP) nbdkit_error("%s", message.c_str());
  nbdkit_set_error(error_number);
  return -1;
}

/// Calls `body`, which gives a Result; 0 or -1 with the error set, as nbdkit wants it.
template <class Body>
int guarded(Body body) noexcept {
  try {
    const auto result = body();
    if (!result.has_error()) return 0;
    return failed(errno_of(result.error()), describe(result.error()));
  } catch (const std::bad_alloc&) {
    nbdkit_error("there is too little memory");
    nbdkit_set_error(ENOMEM);
  } catch (const std::exception& error) {
    nbdkit_error("unexpected failure: %s", error.what());
    nbdkit_set_error(EIO);
  }
  return -1;
}

/// One connection. Lifetime: from open to close.
struct Client {
  std::shared_ptr<MoverDisk> disk;
  /// Of DiskMover::forwarded(), where it is the host that the disk came from.
  std::optional<std::uint64_t> session;
};

/// Writes to a disk that is arriving: it is another host's until it has.
Result<void> refuse_yet(const ArrivingDisk& /*disk*/) {
  errno = EPERM;
  return errno_error("write to a disk that is arriving");
}

/// guarded() for what changes or reads the disk, which may be closed while its clients are here, or
/// may not have arrived: `until_then` is asked instead.
template <class Body, class UntilThen>
int asked(void* handle, Body body, UntilThen until_then) noexcept {
  MoverDisk& disk = *static_cast<Client*>(handle)->disk;
  const MoverDisk::Request request(disk);
  if (!request.may_go_on()) {
    nbdkit_set_error(ESHUTDOWN);
    return -1;
  }
  if (const ArrivingDisk* const arriving = disk.arriving()) {
    return guarded([&] { return until_then(*arriving); });
  }
  return guarded([&] { return body(*disk.live()); });
}

/// The same for what is asked of the disk's content: by the host that has it now, if it was handed
/// over and clients are to go on.
template <class Body, class UntilThen>
int asked_wherever_it_is(void* handle, Body body, UntilThen until_then) noexcept {
  MoverDisk& disk = *static_cast<Client*>(handle)->disk;
  const auto here_or_there = [&](LiveDisk& live) -> Result<void> {
    if (const auto there = disk.elsewhere()) return body(*there);
    auto result = body(live);
    // It may have waited at the gate until the disk was another host's.
    const bool refused =
        result.has_error() && result.error().code == boost::system::errc::operation_not_permitted;
    const auto there = refused ? disk.elsewhere() : nullptr;
    return there == nullptr ? result : body(*there);
  };
  return asked(handle, here_or_there, until_then);
}

/// Writes, whatever the request is called: as asked_wherever_it_is(), if the client may write.
template <class Body>
int asked_to_write(void* handle, Body body) noexcept {
  const auto admitted = [&](auto& disk) -> Result<void> {
    DiskMover* const mover = plugin().mover.get();
    if (mover == nullptr) return body(disk);
    const auto session = static_cast<Client*>(handle)->session;
    if (!session) {
      mover->forwarded().write_here();
      return body(disk);
    }
    const ForwardedWrites::Pass pass(mover->forwarded(), *session);
    errno = EPERM;
    return pass.admitted() ? body(disk) : errno_error("write for a host whose time is over");
  };
  return asked_wherever_it_is(handle, admitted, refuse_yet);
}

Error not_fast() {
  errno = EOPNOTSUPP;
  return errno_error("zero fast");
}

LiveDisk::Durability durability(std::uint32_t flags) {
  return (flags & NBDKIT_FLAG_FUA) != 0 ? LiveDisk::Durability::kNow
                                        : LiveDisk::Durability::kAtFlush;
}

LiveDisk::Zeroing zeroing(std::uint32_t flags) {
  return (flags & NBDKIT_FLAG_MAY_TRIM) != 0 ? LiveDisk::Zeroing::kMayTrim
                                             : LiveDisk::Zeroing::kKeepRoom;
}

void tell(char what) {
  const int fd = plugin().config.control_fd;
  // Who asked may be gone; nobody else wants to know.
  if (fd >= 0 && ::write(fd, &what, 1) != 1) nbdkit_debug("nobody reads control-fd");
}

/// nbdkit takes no new clients from here on, and those that it has, or takes at this moment, are
/// sent away. `lock`: of the plugin's mutex.
void end_server(std::unique_lock<std::mutex>& lock) {
  Plugin& self = plugin();
  if (!self.is_ended) nbdkit_shutdown();
  while (!self.is_ended) {
    end_client_connections(self.config.control_socket);
    self.changed.wait_for(lock, std::chrono::milliseconds(20));
  }
}

/// Ends the server when the peer of control_fd wants it, or has gone.
void obey() {
  Plugin& self = plugin();
  char said = 0;
  while (::read(self.config.control_fd, &said, 1) < 0 && errno == EINTR) {
  }
  std::unique_lock lock(self.mutex);
  end_server(lock);
}

/// The same for the service, whose going away means nothing.
void obey_service() {
  Plugin& self = plugin();
  std::unique_lock lock(self.mutex);
  self.changed.wait(lock, [&] { return self.end_asked || self.is_ended; });
  end_server(lock);
}

/// Starts `body`, which obeys somebody. Signals are nbdkit's, so its own threads get them.
Result<void> start_obeying(void (*body)()) {
  plugin().control = signal_free_thread(body);
  return {};
}

void stop_obeying() {
  Plugin& self = plugin();
  if (!self.control.joinable()) return;
  {
    const std::lock_guard lock(self.mutex);
    self.is_ended = true;
    self.changed.notify_all();
  }
  if (self.config.control_fd >= 0)
    ::shutdown(self.config.control_fd, SHUT_RD);  // it may wait there
  self.control.join();
}

std::shared_ptr<ElsewhereDisk> make_forwarder(transfer::ForwardTarget target) {
  return std::make_shared<DiskForwarder>(std::move(target));
}

Result<void> start_mover() {
  Plugin& self = plugin();
  // nbdkit in the foreground asks to be ended with its parent (1.32 does so unasked). This is the
  // thread that asked.
  if (::prctl(PR_SET_PDEATHSIG, 0) != 0) return errno_error("outlive the service");
  VHDXM_TRY_VOID(start_obeying(obey_service));
  VHDXM_TRY(self.mover, DiskMover::start(self.config.control_socket,
                                         {.group = self.config.group,
                                          .state_folder = self.config.state_folder,
                                          .run_folder = self.config.run_folder,
                                          .waits_at = self.config.waits_at,
                                          .serves_at = self.config.serves_at,
                                          .life_fd = self.config.life_fd,
                                          .make_elsewhere = make_forwarder},
                                         [] {
                                           const std::lock_guard lock(plugin().mutex);
                                           plugin().end_asked = true;
                                           plugin().changed.notify_all();
                                         }));
  if (const int fd = std::exchange(self.config.ready_fd, -1); fd >= 0) {
    [[maybe_unused]] const ssize_t told = ::write(fd, "R", 1);
    ::close(fd);
  }
  return {};
}

// --- configuration and life --------------------------------------------------------------------

int parse_switch(const char* value, bool& out) {
  const int parsed = nbdkit_parse_bool(value);
  if (parsed < 0) return -1;
  out = parsed != 0;
  return 0;
}

int on_config(const char* key, const char* value) {
  Config& config = plugin().config;
  for (const auto& [name, text] :
       {std::pair("disk", &config.disk), std::pair("waits-at", &config.waits_at),
        std::pair("serves-at", &config.serves_at), std::pair("state-folder", &config.state_folder),
        std::pair("run-folder", &config.run_folder),
        std::pair("control-socket", &config.control_socket)}) {
    if (std::strcmp(key, name) != 0) continue;
    return guarded([text = text, value]() -> Result<void> {
      *text = value;
      return {};
    });
  }
  if (std::strcmp(key, "readonly") == 0) return parse_switch(value, config.read_only);
  if (std::strcmp(key, "tracking") == 0) return parse_switch(value, config.tracking);
  if (std::strcmp(key, "control-fd") == 0) {
    return nbdkit_parse_int("control-fd", value, &config.control_fd);
  }
  if (std::strcmp(key, "group") == 0) return parse_switch(value, config.group);
  if (std::strcmp(key, "life-fd") == 0) {
    return nbdkit_parse_int("life-fd", value, &config.life_fd);
  }
  if (std::strcmp(key, "ready-fd") == 0) {
    return nbdkit_parse_int("ready-fd", value, &config.ready_fd);
  }
  nbdkit_error(
      "there is no parameter '%s'; there are disk, readonly, tracking, control-fd, "
      "control-socket, group, waits-at, serves-at, state-folder, run-folder, life-fd, ready-fd",
      key);
  return -1;
}

int on_config_complete() {
  const Config& config = plugin().config;
  // A mover is told over its control socket.
  if (config.disk.empty() != config.control_socket.empty()) return 0;
  nbdkit_error("one of disk=FILE, which is to be served, and control-socket must be there");
  return -1;
}

int on_get_ready() {
  return guarded([]() -> Result<void> {
    Plugin& self = plugin();
    const Config& config = self.config;
    if (config.disk.empty()) return {};
    if (!config.read_only) VHDXM_TRY_VOID(migration::check_owner_record(config.disk));
    const auto gate = std::make_shared<transfer::SharedGate>();
    VHDXM_TRY(auto live, LiveDisk::open(config.disk, gate, {.read_only = config.read_only}));
    self.disk = std::make_shared<MoverDisk>("", config.disk, config.read_only, std::move(live));
    if (config.tracking) gate->start_tracking();
    return {};
  });
}

int on_after_fork() {
  if (!plugin().config.control_socket.empty()) return guarded(start_mover);
  if (plugin().config.control_fd < 0) return 0;
  if (guarded([] { return start_obeying(obey); }) != 0) return -1;
  tell('R');
  return 0;
}

// All connections are closed.
void on_cleanup() {
  stop_obeying();
  if (plugin().mover != nullptr) {
    plugin().mover->end_job();
    plugin().mover->close_all();
    plugin().mover.reset();
  }
  if (plugin().disk == nullptr) return;
  if (guarded([] { return plugin().disk->close(); }) == 0) tell('C');
}

void on_unload() {
  plugin().disk.reset();
}

// --- what the disk is --------------------------------------------------------------------------

DiskMover::Opened disk_meant() {
  if (plugin().mover == nullptr) return {.disk = plugin().disk, .session = std::nullopt};
  const char* const name = nbdkit_export_name();
  return plugin().mover->client_opens(name == nullptr ? "" : name);
}

void* on_open(int /*readonly*/) {
  void* client = nullptr;
  const int failed = guarded([&]() -> Result<void> {
    auto made = std::make_unique<Client>();
    DiskMover::Opened opened = disk_meant();
    made->disk = std::move(opened.disk);
    made->session = opened.session;
    if (made->disk != nullptr) client = made.release();
    return {};
  });
  if (failed == 0 && client == nullptr)
    nbdkit_error("there is no such disk, or nothing of it yet, or it is being closed");
  return client;
}

void on_close(void* handle) {
  const std::unique_ptr<Client> client(static_cast<Client*>(handle));
  if (plugin().mover != nullptr) plugin().mover->client_closes(*client->disk);
}

int on_list_exports(int /*readonly*/, int /*is_tls*/, nbdkit_exports* exports) {
  if (plugin().mover == nullptr || !plugin().mover->disks().is_group()) {
    return nbdkit_add_export(exports, "", nullptr);
  }
  for (const MoverDisks::View& view : plugin().mover->disks().list()) {
    if (nbdkit_add_export(exports, view.disk->name().c_str(), nullptr) != 0) return -1;
  }
  for (const std::string& name : plugin().mover->disks().expected()) {
    if (nbdkit_add_export(exports, name.c_str(), "arriving") != 0) return -1;
  }
  return 0;
}

/// A client that names none: of a group that is nothing.
const char* on_default_export(int /*readonly*/, int /*is_tls*/) {
  return "";
}

std::int64_t on_get_size(void* handle) {
  std::int64_t bytes = -1;
  const auto tell_size = [&](const auto& disk) -> Result<void> {
    bytes = static_cast<std::int64_t>(disk.size_bytes());
    return {};
  };
  asked(handle, tell_size, tell_size);
  return bytes;
}

int on_block_size(void* handle, std::uint32_t* minimum, std::uint32_t* preferred,
                  std::uint32_t* maximum) {
  const auto tell_sizes = [&](const auto& disk) -> Result<void> {
    *minimum = disk.geometry().logical_sector_bytes;
    *preferred = std::max(kPreferredBytes, *minimum);
    *maximum = kRequestBytesMax;
    return {};
  };
  return asked(handle, tell_sizes, tell_sizes);
}

int on_can_write(void* handle) {
  return static_cast<Client*>(handle)->disk->read_only() ? 0 : 1;
}

int yes(void* /*handle*/) {
  return 1;
}

int on_can_fua(void* /*handle*/) {
  return NBDKIT_FUA_NATIVE;
}

// --- requests ----------------------------------------------------------------------------------

int on_pread(void* handle, void* buffer, std::uint32_t count, std::uint64_t offset,
             std::uint32_t /*flags*/) {
  const auto read = [&](auto& disk) {
    return disk.read(offset, std::span(static_cast<std::byte*>(buffer), count));
  };
  return asked_wherever_it_is(handle, read, read);
}

int on_pwrite(void* handle, const void* buffer, std::uint32_t count, std::uint64_t offset,
              std::uint32_t flags) {
  return asked_to_write(handle, [&](auto& disk) {
    return disk.write(offset, std::span(static_cast<const std::byte*>(buffer), count),
                      durability(flags));
  });
}

int on_zero(void* handle, std::uint32_t count, std::uint64_t offset, std::uint32_t flags) {
  return asked_to_write(handle, [&](auto& disk) -> Result<void> {
    if ((flags & NBDKIT_FLAG_FAST_ZERO) != 0 && !disk.zeroes_fast(zeroing(flags))) {
      return not_fast();  // the client asked only if this is fast
    }
    return disk.write_zeroes(offset, count, zeroing(flags), durability(flags));
  });
}

int on_trim(void* handle, std::uint32_t count, std::uint64_t offset, std::uint32_t flags) {
  return asked_to_write(handle,
                        [&](auto& disk) { return disk.trim(offset, count, durability(flags)); });
}

int on_flush(void* handle, std::uint32_t /*flags*/) {
  // Nothing was written yet to a disk that is arriving.
  return asked_wherever_it_is(
      handle, [](auto& disk) { return disk.flush(); },
      [](const ArrivingDisk&) { return Result<void>{}; });
}

/// A ZERO block is zero and has no room, one without data too: both are holes to an NBD client.
std::uint32_t extent_type(vhdx::ExtentKind kind) {
  if (kind == vhdx::ExtentKind::kData) return 0;
  return NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO;
}

Result<void> add_extents(LiveDisk& disk, std::uint32_t count, std::uint64_t offset,
                         std::uint32_t flags, nbdkit_extents* extents) {
  const std::uint64_t sector = disk.geometry().logical_sector_bytes;
  const std::uint64_t end = (offset + count + sector - 1) / sector * sector;
  const bool only_one = (flags & NBDKIT_FLAG_REQ_ONE) != 0;
  std::vector<vhdx::Extent> found;
  // Begins at a whole sector: nbdkit cuts off what was not asked for.
  for (std::uint64_t at = offset / sector * sector; at < end;) {
    found.clear();
    VHDXM_TRY(at, disk.map(at, end - at, found, only_one ? 1 : kExtentsAtOnce));
    for (const vhdx::Extent& extent : found) {
      if (nbdkit_add_extent(extents, extent.virtual_offset, extent.length,
                            extent_type(extent.kind)) != 0) {
        return errno_error("nbdkit_add_extent", offset);
      }
    }
    if (only_one) break;
  }
  return {};
}

int on_extents(void* handle, std::uint32_t count, std::uint64_t offset, std::uint32_t flags,
               nbdkit_extents* extents) {
  // Of a disk that is elsewhere, or on its way here: that is always right.
  const auto all_data = [&](const auto&) -> Result<void> {
    if (nbdkit_add_extent(extents, offset, count, 0) == 0) return {};
    return errno_error("nbdkit_add_extent", offset);
  };
  const auto described = [&](LiveDisk& disk) -> Result<void> {
    const auto there = static_cast<Client*>(handle)->disk->elsewhere();
    return there != nullptr ? all_data(*there) : add_extents(disk, count, offset, flags, extents);
  };
  return asked(handle, described, all_data);
}

nbdkit_plugin described() {
  nbdkit_plugin me{};
  me.name = "vhdx";
  me.longname = "VHDX Migrate: a VHDX disk in use";
  me.version = VHDXM_VERSION;
  me.description = "Serves a VHDX disk, fixed, dynamic or differencing, for reading and writing.";
  me.config = on_config;
  me.config_complete = on_config_complete;
  me.magic_config_key = "disk";
  me.config_help =
      "disk=<FILE>         the VHDX file\n"
      "readonly=<BOOL>     the file is not touched; others may read it too\n"
      "tracking=<BOOL>     keep a map of what is written, as during a live move\n"
      "control-fd=<FD>     a socket: R when clients can connect, C when the disk was closed; Q "
      "ends\n"
      "control-socket=<PATH>  of vhdx-migrated: where it finds this server\n"
      "group=<BOOL>        of vhdx-migrated: several disks, by their names\n"
      "waits-at=<PATH>     of vhdx-migrated: nbdkit's socket until there is a disk\n"
      "serves-at=<PATH>    of vhdx-migrated: and then\n"
      "state-folder=<PATH>  of vhdx-migrated: its records\n"
      "run-folder=<PATH>   of vhdx-migrated: its sockets\n"
      "life-fd=<FD>        of vhdx-migrated: closed, a server without a disk ends\n"
      "ready-fd=<FD>       of vhdx-migrated: R when it listens";
  me.get_ready = on_get_ready;
  me.after_fork = on_after_fork;
  me.cleanup = on_cleanup;
  me.unload = on_unload;
  me.list_exports = on_list_exports;
  me.default_export = on_default_export;
  me.open = on_open;
  me.close = on_close;
  me.get_size = on_get_size;
  me.block_size = on_block_size;
  me.can_write = on_can_write;
  me.can_flush = yes;
  me.can_trim = yes;
  me.can_zero = yes;
  me.can_fast_zero = yes;
  me.can_fua = on_can_fua;
  me.can_multi_conn = yes;
  me.can_extents = yes;
  me.pread = on_pread;
  me.pwrite = on_pwrite;
  me.flush = on_flush;
  me.trim = on_trim;
  me.zero = on_zero;
  me.extents = on_extents;
  return me;
}

nbdkit_plugin registered = described();

}  // namespace
}  // namespace vhdxm::tools

extern "C" NBDKIT_DLL_PUBLIC nbdkit_plugin* plugin_init();
extern "C" nbdkit_plugin* plugin_init() {
  auto& me = vhdxm::tools::registered;
  me._struct_size = sizeof me;
  me._api_version = NBDKIT_API_VERSION;
  me._thread_model = THREAD_MODEL;
  return &me;
}
