// A job of the host's service, which hands disks over: what was asked for, and how it ended. What
// survives the service.
//
//   queued -> running -> done | failed | cancelled
//               |  ^
//               v  |
//            paused | interrupted      (resume; what has arrived is compared, not sent again)
//
//   running -> blocked -> done | failed         (resolve)
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "migration/state_folder.h"

namespace vhdxm::migration {

/// One disk of a job.
struct ServiceJobDisk {
  std::string name;               ///< Registered at this host.
  std::string path;               ///< Absolute.
  std::string name_there;         ///< Of its file at the destination; empty: the file's own.
  std::string folder_there = {};  ///< There, by its name; empty: the usual one.

  std::string file_there() const;
  /// With the folder: transfer::text_of_place().
  std::string place_there() const;
  friend bool operator==(const ServiceJobDisk&, const ServiceJobDisk&) = default;
};

/// Where somebody wants a disk at the destination.
struct PlaceThere {
  std::string folder = {};  ///< A storage folder there, by its name; empty: the usual one.
  std::string name = {};    ///< A plain name of a file; empty: the file's own.
  /// "NAME.vhdx", "FOLDER/NAME.vhdx" or "FOLDER/". Nothing: it is none of these.
  static std::optional<PlaceThere> parse(const std::string& text);
};

struct ServiceJob {
  enum class State : std::uint8_t {
    kQueued,       ///< Waits for others to end.
    kRunning,      ///< Its disk's mover works on it.
    kPaused,       ///< Somebody asked for that.
    kInterrupted,  ///< Its mover ended without saying how.
    kBlocked,  ///< The disk was released, and the destination has not confirmed that it owns it.
    kDone,
    kFailed,
    kCancelled,
  };

  static constexpr std::uint64_t kMaxPauseMsMax = 60'000;

  std::string id;  ///< is_job_id().
  // What was asked for.
  std::vector<ServiceJobDisk> disks;  ///< At least one; several are of one group, all of it.
  std::string group;                  ///< Their group; empty: they are in none.
  std::string host;
  std::uint16_t port = 0;
  std::string key_file;
  std::string mode = "auto";
  std::uint64_t streams = 0;       ///< 0: the default.
  std::uint64_t limit = 0;         ///< Bytes a second on the wire; 0: none.
  std::uint64_t max_pause_ms = 0;  ///< 0: the default.
  std::string cutover = "auto";    ///< Or "manual": when somebody says so.
  std::string mirror = "auto";     ///< Or "always", "never": Convergence::Mirror.
  std::string after = "fence";     ///< Or "forward": what clients here are served then.
  bool verify = false;             ///< Both sides read again before anything is handed over.
  // How it is.
  State state = State::kQueued;
  std::string created;  ///< RFC 3339; so are the others. Empty: not yet.
  std::string started;
  std::string ended;
  std::int64_t exit = 0;  ///< As the command's, when it has ended.
  std::string message;    ///< Why it failed.
  std::string advice;
  std::string ownership;            ///< Who owns the disk now, in one sentence.
  boost::json::object report = {};  ///< Of one that is done.

  /// Nothing will happen to it any more.
  bool is_over() const {
    return state == State::kDone || state == State::kFailed || state == State::kCancelled;
  }
  bool has_disk(const std::string& name) const;
  bool has_path(const std::string& path) const;
  /// "web01", or "web01, web02".
  std::string disk_names() const;
  /// Whether the same was asked for: two with one id are one.
  bool asks_the_same(const ServiceJob& other) const;
};
const char* to_string(ServiceJob::State state);

/// As of a disk's name: it is part of the names of files and sockets.
bool is_job_id(const std::string& id);
/// A new one: the disk's name, cut, and random digits.
std::string new_job_id(const std::string& disk_name);

/// Every member, in the order of ServiceJob.
boost::json::object json_of(const ServiceJob& job);
std::string encode(const ServiceJob& job);
/// Strict. Errors: BaseErrc::kInvalidArgument, naming the file and the member.
Result<ServiceJob> decode_service_job(const std::string& text, const std::string& file);

/// The records of all jobs, a file a job. One process at a time writes a job's: its own while it
/// runs, else the service.
/// Thread safety: as StateFolder.
class ServiceJobStore {
 public:
  static Result<std::unique_ptr<ServiceJobStore>> open(const std::string& folder);

  /// Durable when it returns.
  Result<void> write(const ServiceJob& job) const;
  /// Errors: ENOENT; those of decode_service_job().
  Result<ServiceJob> read(const std::string& id) const;
  Result<void> remove(const std::string& id) const;
  /// By id. Errors: of a record that cannot be read.
  Result<std::vector<ServiceJob>> list() const;

 private:
  explicit ServiceJobStore(std::unique_ptr<StateFolder> folder) : folder_(std::move(folder)) {}
  const std::unique_ptr<StateFolder> folder_;
};

}  // namespace vhdxm::migration
