// What the mover of one disk, or of a group of them, tells the host's service about itself, and
// lets it do: docs/mover.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tools/forwarded_writes.h"
#include "tools/live_job.h"
#include "tools/mover_disks.h"
#include "tools/mover_server.h"

namespace vhdxm::tools {

/// Thread safety: all members may be called from any thread.
class DiskMover {
 public:
  struct About {
    bool group = false;             ///< As MoverDisks says.
    std::string state_folder = {};  ///< Of the service: for a move.
    std::string run_folder = {};
    /// Where the NBD server listens until it is known which disk it is for, and then: clients find
    /// nobody before.
    /// Empty: it is never renamed.
    std::string waits_at = {};
    std::string serves_at = {};
    /// The other end of a tools::LifeLine, or -1: as long as no disk was opened, the mover ends
    /// when that is closed. Becomes this object's.
    int life_fd = -1;
    /// As LiveJob::Setting says.
    std::function<std::shared_ptr<ElsewhereDisk>(transfer::ForwardTarget)> make_elsewhere = {};
  };

  /// Listens at `socket`. `end`: called when the service wants the disks closed and no client is
  /// in the way, or it said "force", or it has gone before there was a disk; must not block.
  static Result<std::unique_ptr<DiskMover>> start(const std::string& socket, About about,
                                                  std::function<void()> end);

  /// Ends a job that moves the disks, unless they are released by then, and waits for that.
  void end_job();

  ~DiskMover();
  DiskMover(const DiskMover&) = delete;
  DiskMover& operator=(const DiskMover&) = delete;

  /// One that is open, behind disks().gate().
  void add(std::shared_ptr<MoverDisk> disk) { disks_.add(std::move(disk)); }
  const MoverDisks& disks() const { return disks_; }

  struct Opened {
    std::shared_ptr<MoverDisk> disk;  ///< Null: there is none, or it is being closed.
    /// Of forwarded(), where the client is the host that the disk came from.
    std::optional<std::uint64_t> session;
  };
  /// A client wants the disk that it calls `export_name`.
  Opened client_opens(const std::string& export_name);
  void client_closes(MoverDisk& disk);
  /// Closes all disks, and tells who waits for it. Requires: no client asks for anything.
  void close_all();
  /// To be asked before a client's write.
  ForwardedWrites& forwarded() { return forwarded_; }

 private:
  DiskMover(About about, std::function<void()> end)
      : about_(std::move(about)), end_(std::move(end)), disks_(about_.group) {}

  MoverAnswer answer(const std::string& op, const boost::json::object& request);
  MoverAnswer describe();
  MoverAnswer expect(const boost::json::object& request);
  MoverAnswer open(const boost::json::object& request);
  MoverAnswer close(const boost::json::object& request);
  MoverAnswer end(const boost::json::object& request);
  MoverAnswer move(const boost::json::object& request);
  MoverAnswer forward(const boost::json::object& request);
  Result<void> show(const std::vector<MoverDisks::Wish>& disks);
  void watch_life();
  /// A job is under way. Requires: mutex_ is held.
  bool moves() const { return job_ != nullptr && !job_->over(); }
  void note_clients();

  const About about_;
  const std::function<void()> end_;
  MoverDisks disks_;
  ForwardedWrites forwarded_;
  std::thread life_;
  std::mutex mutex_;
  // Protected by mutex_:
  bool ending_ = false;
  bool opening_ = false;          ///< Disks are being opened.
  bool orphan_ = false;           ///< The service has gone.
  std::unique_ptr<LiveJob> job_;  ///< That moves the disks, or did last.

  std::unique_ptr<MoverServer> server_;  // Last: its thread uses the others.
};

}  // namespace vhdxm::tools
