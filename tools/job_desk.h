// The jobs of this host's service: queued, started, found again, watched, ended on request.
//
// A job that runs does so in its disk's mover (tools/live_job.h), which goes on when the service
// ends. Its record says how it ended.
#pragma once

#include <boost/json/object.hpp>
#include <boost/system/result.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "migration/service_job.h"
#include "tools/command_failure.h"
#include "tools/service_log.h"

namespace vhdxm::tools {

struct JobView {
  migration::ServiceJob job;
  boost::json::object progress;  ///< The last that its mover told; empty before.
  std::uint64_t revision = 0;    ///< Grows whenever something of the above changes.
};

/// Thread safety: all members may be called from any thread.
class JobDesk {
 public:
  template <class T>
  using Outcome = boost::system::result<T, CommandFailure>;

  /// What a job needs of its disks.
  struct DiskHooks {
    /// Why its disks cannot move now; nothing if they can. May wait for a mover that is being
    /// started.
    std::function<std::optional<CommandFailure>(const migration::ServiceJob& job)> cannot_move;
    /// Has the disks' mover run the job, whose record is there. Returns when it has begun; why it
    /// has not.
    std::function<std::optional<std::string>(const migration::ServiceJob& job)> move;
    /// The mover has ended without saying how the job did: puts in what is true of the disk by this
    /// host's records, state, exit, message, advice and ownership.
    std::function<void(migration::ServiceJob& job)> judge;
    /// A job is blocked since now. Must not block, nor call this.
    std::function<void(const migration::ServiceJob& job)> blocked;
  };
  struct Places {
    std::string state_folder;
    std::string run_folder;
    unsigned jobs_max = 1;  ///< That run at a time.
  };

  /// Reads the records of earlier services. Call start() when the hooks can be called.
  static Outcome<std::unique_ptr<JobDesk>> open(Places places, DiskHooks hooks, ServiceLog& log);
  /// Jobs go on.
  ~JobDesk();
  JobDesk(const JobDesk&) = delete;
  JobDesk& operator=(const JobDesk&) = delete;

  /// Adopts the jobs that run, and starts what waits.
  void start();
  /// The job that moves that disk now.
  std::optional<std::string> job_moving(const std::string& disk) const;

  /// Queues the job, and starts it if there is room. A job of the same id that asks for the same is
  /// that job. Failures: of usage if it asks for something else.
  Outcome<JobView> submit(migration::ServiceJob job);
  std::optional<JobView> find(const std::string& id) const;
  /// The oldest first.
  std::vector<JobView> list() const;

  /// Failures, of all: of usage if there is no such job; kNetwork if it is in no state for that.
  Outcome<JobView> pause(const std::string& id);
  Outcome<JobView> resume(const std::string& id);
  Outcome<JobView> cancel(const std::string& id);
  /// A job that waits for somebody to say so hands over as soon as it fits.
  Outcome<JobView> cut_over(const std::string& id);
  struct Wishes {
    std::optional<std::uint64_t> limit;  ///< Bytes a second on the wire; 0: none.
    std::optional<std::uint64_t> max_pause_ms;
    std::optional<std::string> mode;
  };
  /// Of one that is not over: now, and for the next time that it runs.
  Outcome<JobView> set(const std::string& id, const Wishes& wishes);
  /// The last job that is blocked with that disk.
  std::optional<JobView> find_blocked(const std::string& disk) const;
  /// A job that is blocked is so no more.
  struct Resolution {
    migration::ServiceJob::State state = migration::ServiceJob::State::kDone;
    ExitCode exit = ExitCode::kDone;
    std::string message;
    std::string ownership;
  };
  Outcome<JobView> resolve(const std::string& id, const Resolution& resolution);
  /// Removes the record of one that is over.
  Outcome<JobView> forget(const std::string& id);

 private:
  struct Entry;
  class Watch;

  JobDesk(Places places, DiskHooks hooks, std::unique_ptr<migration::ServiceJobStore> store,
          ServiceLog& log);
  JobView view_of(const Entry& entry) const;
  Outcome<JobView> found_now(const std::string& id) const;
  Outcome<JobView> ask_mover_of(const std::string& id, const char* op,
                                boost::json::object fields = {});
  /// Writes the record, and tells of it. `mutex_` is held.
  Outcome<JobView> change(Entry& entry, const migration::ServiceJob& job);
  void pump();
  void begin(Entry& entry);
  void interrupt(migration::ServiceJob& job) const;
  void listen_to(Entry& entry);
  void fail(Entry& entry, const CommandFailure& failure);
  void ended(const std::string& id);

  const Places places_;
  const DiskHooks hooks_;
  const std::unique_ptr<migration::ServiceJobStore> store_;
  ServiceLog& log_;
  std::mutex pump_mutex_;  ///< One at a time starts jobs; taken before mutex_.
  mutable std::mutex mutex_;
  // Protected by mutex_:
  std::map<std::string, std::unique_ptr<Entry>> entries_;
  std::vector<std::unique_ptr<Watch>> retired_;  ///< Of jobs that have ended.
  bool stopping_ = false;
};

}  // namespace vhdxm::tools
