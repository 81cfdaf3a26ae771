// The jobs of this host's service: queued, started, found again, watched, ended on request.
//
// Each job that runs has a process of its own (tools/job_runner.h), which goes on when the service
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
  boost::json::object progress;  ///< The last that its process told; empty before.
  std::uint64_t revision = 0;    ///< Grows whenever something of the above changes.
};

/// Thread safety: all members may be called from any thread.
class JobDesk {
 public:
  template <class T>
  using Outcome = boost::system::result<T, CommandFailure>;

  /// What a job of a registered disk needs: nobody else may hold the disk while it is read.
  struct DiskHooks {
    /// Has the disk closed. Failures: clients use it.
    std::function<std::optional<CommandFailure>(const std::string& name)> take;
    /// Exports it again.
    std::function<void(const std::string& name)> give_back;
  };
  struct Places {
    std::string program;  ///< vhdx-migrated: what a job's process runs.
    std::string state_folder;
    std::string run_folder;
    unsigned jobs_max = 1;  ///< That run at a time.
  };

  /// Reads the records of earlier services. Call start() when the hooks can be called.
  static Outcome<std::unique_ptr<JobDesk>> open(Places places, DiskHooks hooks, ServiceLog& log);
  /// Processes of jobs go on.
  ~JobDesk();
  JobDesk(const JobDesk&) = delete;
  JobDesk& operator=(const JobDesk&) = delete;

  /// Adopts the processes that live, and starts what waits.
  void start();
  /// Whether a job that is not over has that disk in hand now.
  bool holds_disk(const std::string& name) const;

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
  /// Removes the record of one that is over.
  Outcome<JobView> forget(const std::string& id);

 private:
  struct Entry;
  class Watch;

  JobDesk(Places places, DiskHooks hooks, std::unique_ptr<migration::ServiceJobStore> store,
          ServiceLog& log);
  JobView view_of(const Entry& entry) const;
  Outcome<JobView> found_now(const std::string& id) const;
  Outcome<JobView> ask_to_end(const std::string& id, const char* op);
  /// Writes the record, and tells of it. `mutex_` is held.
  Outcome<JobView> change(Entry& entry, const migration::ServiceJob& job);
  void pump();
  void begin(Entry& entry);
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
  std::vector<std::unique_ptr<Watch>> retired_;  ///< Of processes that have ended.
  bool stopping_ = false;
};

}  // namespace vhdxm::tools
