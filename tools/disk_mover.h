// What the mover of a disk tells the host's service about itself, and lets it do: docs/mover.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "tools/live_job.h"
#include "tools/mover_server.h"
#include "transfer/live_disk.h"

namespace vhdxm::tools {

/// Thread safety: all members may be called from any thread.
class DiskMover {
 public:
  struct About {
    std::string name;  ///< In the service's list of disks.
    std::string path;
    bool read_only = false;
    std::uint64_t virtual_bytes = 0;
    // What a move of the disk needs:
    std::shared_ptr<transfer::LiveDisk> disk = nullptr;  ///< Null: it cannot be moved.
    std::string state_folder = {};                       ///< Of the service.
    std::string run_folder = {};
  };

  /// Listens at `socket`. `end`: called when the service wants the disk closed and no client is in
  /// the way, or it said "force"; must not block.
  static Result<std::unique_ptr<DiskMover>> start(const std::string& socket, About about,
                                                  std::function<void()> end);

  /// Ends a job that moves the disk, unless the disk is released by then, and waits for that.
  void end_job();

  ~DiskMover() { end_job(); }
  DiskMover(const DiskMover&) = delete;
  DiskMover& operator=(const DiskMover&) = delete;

  /// A client wants the disk. False: it is being closed.
  bool client_opens();
  void client_closes();
  /// Tells who waits for it that the disk was closed; its log is empty if that went `well`.
  void closed(bool well);

 private:
  DiskMover(About about, std::function<void()> end)
      : about_(std::move(about)), end_(std::move(end)) {}

  MoverAnswer answer(const std::string& op, const boost::json::object& request);
  MoverAnswer describe();
  MoverAnswer end(const boost::json::object& request);
  MoverAnswer move(const boost::json::object& request);
  /// A job is under way. Requires: mutex_ is held.
  bool moves() const { return job_ != nullptr && !job_->over(); }

  const About about_;
  const std::function<void()> end_;
  std::mutex mutex_;
  // Protected by mutex_:
  std::uint64_t clients_ = 0;
  bool ending_ = false;
  std::unique_ptr<LiveJob> job_;  ///< That moves the disk, or did last.

  std::unique_ptr<MoverServer> server_;  // Last: its thread uses the others.
};

}  // namespace vhdxm::tools
