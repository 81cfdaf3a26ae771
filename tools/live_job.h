// A job that moves the disks of a mover, ownership and all, whether guests use them or not.
//
// It runs in the disks' mover: it holds the job's lock as long as it runs, listens at the job's
// control socket, and writes down the end. docs/mover.md is what is said there.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tools/elsewhere_disk.h"
#include "transfer/forward_link.h"
#include "transfer/live_disk.h"

namespace vhdxm::tools {

class LiveJob {
 public:
  struct Setting {
    std::string state_folder;  ///< Of the service: the job's record, and those of ownership.
    std::string run_folder;
    std::string id;  ///< Of the job, whose record is there.
    struct Disk {
      std::shared_ptr<transfer::LiveDisk> disk;
      std::string path;  ///< Of its file.
      /// Takes what its clients are to be given when it was handed over; null: nothing. May be
      /// empty.
      std::function<void(std::shared_ptr<ElsewhereDisk>)> set_elsewhere = {};
    };
    std::vector<Disk> disks;  ///< Of one gate: those that its record names, all of them.
    bool in_use = false;      ///< As set_in_use() says.
    /// Makes what forwards requests to where a disk went; the job is not known yet. Empty: none can
    /// be forwarded.
    std::function<std::shared_ptr<ElsewhereDisk>(transfer::ForwardTarget)> make_elsewhere = {};
  };
  /// Hears once, from the job's thread, whether it has begun; if not, its record says why, where
  /// there is one.
  using Begun = std::function<void(bool begun)>;

  LiveJob(Setting setting, Begun begun);
  /// Cancels it, unless the disks are released, and waits for its end.
  ~LiveJob();
  LiveJob(const LiveJob&) = delete;
  LiveJob& operator=(const LiveJob&) = delete;

  const std::string& id() const;
  /// Whether clients use any of the disks from now on. As long as none does, and the job's record
  /// does not say how long writes may wait, they may wait for kMaxPauseMsMax: there are none.
  /// Thread safety: from any thread.
  void set_in_use(bool in_use);
  /// Its record is written, and its lock is free, or will be in a moment.
  bool over() const { return over_; }

 private:
  class Run;
  const std::unique_ptr<Run> run_;
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

}  // namespace vhdxm::tools
