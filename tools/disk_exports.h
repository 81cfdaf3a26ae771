// The movers of this host's disks: started, found again, watched.
//
// Each disk has a process of its own, nbdkit with our plugin, that lives as long as somebody may
// use the disk, whatever becomes of the service. A lock in the run folder says that it lives; a
// socket there is how it is spoken to (docs/mover.md). So a service that is started again adopts
// what it finds, and starts only what is missing.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "migration/disk_registry.h"
#include "tools/service_log.h"

namespace vhdxm::tools {

struct ExportStatus {
  enum class State : std::uint8_t {
    kStarting,  ///< Its mover is being started, or found.
    kExported,  ///< Clients can connect.
    kFailed,    ///< It could not be started, for `problem`; it is tried again from time to time.
    kReleased,  ///< Another host owns the disk, or will: clients that are there may read.
  };
  State state = State::kStarting;
  std::string problem;
  std::string advice;
  std::string socket;  ///< Where NBD clients connect.
  std::uint64_t virtual_bytes = 0;
  bool differencing = false;
  std::uint64_t clients = 0;
  std::int64_t mover_pid = 0;
  bool adopted = false;  ///< The mover was there when this service was started.
};
const char* to_string(ExportStatus::State state);

/// Thread safety: all members may be called from any thread.
class DiskExports {
 public:
  struct Setting {
    std::string run_folder;    ///< The folders `disks` (NBD sockets) and `movers` are there.
    std::string state_folder;  ///< For movers that move their disk.
    /// Whether this host may write to a disk that no mover has: asked before one is started. May
    /// block. Errors: migration::Errc::kNotOwner if another host owns it.
    std::function<Result<void>(const migration::RegisteredDisk&)> may_write;
  };
  /// Lifetime: `log` outlives this.
  DiskExports(Setting setting, ServiceLog& log);
  /// Movers go on.
  ~DiskExports();
  DiskExports(const DiskExports&) = delete;
  DiskExports& operator=(const DiskExports&) = delete;

  /// Begins to export a disk, or takes over the mover that does. Returns at once.
  void begin(const migration::RegisteredDisk& disk);
  /// Waits until it is known whether begin() succeeded, and asks its mover how it is. Nothing if
  /// the disk was not begun.
  std::optional<ExportStatus> settled(const std::string& name);
  /// As it is now; does not wait for a mover that is being started.
  std::optional<ExportStatus> status(const std::string& name);

  /// Has the mover close the disk, and waits for that. Nothing if it is closed, or was not begun.
  struct Refusal {
    bool in_use = false;  ///< There are clients, and `force` was not said.
    std::uint64_t clients = 0;
    std::string problem;  ///< Otherwise.
  };
  std::optional<Refusal> end(const std::string& name, bool force);
  /// Has the mover of a disk in use move it, as the record of job `id` says. Returns when the job
  /// has begun; why it has not, where its record does not say so.
  std::optional<std::string> move(const std::string& name, const std::string& id);
  /// Whether a mover of that disk lives, begun here or not.
  bool has_mover(const std::string& name) const;

  /// The longest name that a disk can have below this run folder: a socket's name is short.
  static std::string socket_problem(const std::string& run_folder, const std::string& name);

 private:
  class Watch;
  std::shared_ptr<Watch> find(const std::string& name);

  const Setting setting_;
  ServiceLog& log_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Watch>> watches_;  ///< Protected by mutex_.
};

}  // namespace vhdxm::tools
