// The service's side of one mover: it is started, found again, told what to open, watched.
//
// A mover is nbdkit with our plugin, and lives as long as somebody may use its disks, whatever
// becomes of the service. A lock in the run folder says that it lives; a socket there is how it is
// spoken to (docs/mover.md). It holds one disk, or those of a group.
//
// For disks that are arriving a mover is started beforehand, and clients may connect to it: opening
// the disks is all that is left to do when this host owns them.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "migration/disk_registry.h"
#include "tools/command_failure.h"
#include "tools/detached_process.h"
#include "tools/mover_client.h"
#include "tools/mover_files.h"
#include "tools/service_log.h"
#include "transfer/forward_door.h"

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
  std::string socket;       ///< Where NBD clients connect.
  std::string export_name;  ///< That they ask for; empty: any is the disk.
  std::uint64_t virtual_bytes = 0;
  bool differencing = false;
  std::uint64_t clients = 0;
  std::int64_t mover_pid = 0;
  bool adopted = false;  ///< The mover was there when this service was started.
};
const char* to_string(ExportStatus::State state);

/// Thread safety: all members may be called from any thread.
class MoverWatch {
 public:
  struct Setting {
    std::string run_folder;    ///< The folders `disks` (NBD sockets) and `movers` are there.
    std::string state_folder;  ///< For movers that move their disks.
    /// Whether this host may write to disks that no mover has: asked before one opens them. May
    /// block. Errors: migration::Errc::kNotOwner if another host owns one of them.
    std::function<Result<void>(const std::vector<std::string>& paths)> may_write;
  };
  struct Refusal {
    bool in_use = false;  ///< There are clients, and `force` was not said.
    std::uint64_t clients = 0;
    std::string problem;  ///< Otherwise.
  };
  enum class Purpose : std::uint8_t {
    kServe,   ///< This host's disks.
    kExpect,  ///< They are arriving: clients may connect, and nothing is opened until taken().
  };

  /// `disks`: of one group, or one of none. Lifetime: `setting` and `log` outlive this.
  MoverWatch(const Setting& setting, std::vector<migration::RegisteredDisk> disks, Purpose purpose,
             ServiceLog& log);
  /// The mover goes on, unless it has no disk.
  ~MoverWatch();
  MoverWatch(const MoverWatch&) = delete;
  MoverWatch& operator=(const MoverWatch&) = delete;

  /// Of the mover's files: mover_places().
  static std::string key_of(const migration::RegisteredDisk& disk);
  std::vector<migration::RegisteredDisk> disks() const;
  bool has(const std::string& name) const;

  /// Waits until it is known whether the disks are exported, and asks their mover.
  ExportStatus settled(const std::string& name);
  /// As it is now; does not wait for a mover that is being started.
  ExportStatus status(const std::string& name);

  /// Has the mover open one more disk, of its group. Why it has not.
  std::optional<CommandFailure> add(const migration::RegisteredDisk& disk);
  /// Has the mover close one of several disks.
  std::optional<Refusal> close(const std::string& name, bool force);
  /// Has the mover close all disks, and waits for its end.
  std::optional<Refusal> end(bool force);
  /// Has the mover run job `id`, as its record says. Returns when the job has begun; why it has
  /// not, where its record does not say so.
  std::optional<std::string> move(const std::string& id);
  /// Where requests go that the host forwards which handed the disk over by `job`. Errors:
  /// transfer::Errc::kBusy for what may be different in a moment, kRefused for good.
  Result<transfer::ForwardDoor> forward(const std::string& name, const std::string& job);
  /// Watches no more.
  void stop();

  /// kExpect: this host owns the disks since now, and its records say so. They came by `job`.
  void taken(const std::string& job);
  /// Returns when the mover has opened what was taken, or after `patience`.
  void await_open(std::chrono::milliseconds patience);
  /// kExpect: nothing else is to be done about their arrival: they are this host's as others are.
  void confirm();
  bool expects() const;

 private:
  struct Details {
    std::uint64_t virtual_bytes = 0;
    bool differencing = false;
  };
  using Answer = boost::json::object;

  static Answer wish_of(const std::vector<migration::RegisteredDisk>& disks);
  void run();
  void watch(MoverClient& client);
  std::optional<MoverClient> find_or_start();
  std::optional<MoverClient> adopt(MoverClient client, bool& goes_away);
  std::optional<MoverClient> start(const ProcessLock& lock);
  bool launch(const ProcessLock& lock, LifeLine& life);
  bool expect_disks(MoverClient& client);
  bool wait_until_taken();
  bool may_write();
  bool open_disks(MoverClient& client, const std::vector<migration::RegisteredDisk>& disks);
  bool close_strangers(MoverClient& client, const Answer& status);
  void note_exported(const Answer& status, bool adopted);
  void note_released(const CommandFailure& failure);
  ExportStatus status_of(const std::string& name) const;
  Result<MoverClient> connect_patiently() const;
  std::optional<Refusal> end_without_mover();
  void expect_end(bool expected);
  bool is_alive() const;
  bool end_was_expected();
  bool is_stopping() const;
  void set_state(ExportStatus::State state, const CommandFailure& failure);
  void fail(const CommandFailure& failure);
  void fail(std::string message, std::string advice);
  std::string names() const;

  const Setting& setting_;
  const std::string key_;
  const bool group_;
  const MoverPlaces places_;
  ServiceLog& log_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Protected by mutex_:
  std::vector<migration::RegisteredDisk> disks_;
  std::map<std::string, Details> details_;
  ExportStatus status_;  ///< Of the mover; `socket` and what is of one disk is not filled in.
  bool expects_;
  bool taken_ = false;
  std::string taken_by_;  ///< The job by which, until a mover knows it.
  bool open_ = false;     ///< A mover that was started here has opened the disks.
  bool stopping_ = false;
  bool end_expected_ = false;  ///< Somebody has asked the mover to end.
  MoverClient* watched_ = nullptr;

  std::thread thread_;
};

}  // namespace vhdxm::tools
