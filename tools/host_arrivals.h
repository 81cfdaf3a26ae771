// What other hosts send here, while the service takes it.
#pragma once

#include <boost/json/object.hpp>
#include <boost/system/result.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "migration/host_settings.h"
#include "migration/live_move.h"
#include "tools/command_failure.h"
#include "tools/progress_sample.h"
#include "tools/service_log.h"
#include "transfer/receiver.h"

namespace vhdxm::tools {

/// A job that somebody sends, as this host sees it.
struct ArrivalView {
  enum class State : std::uint8_t { kRunning, kDone, kFailed };
  std::string id;  ///< "arrival-3"; counted anew by each service.
  State state = State::kRunning;
  std::string peer;
  std::vector<std::string> disks;  ///< That are complete here.
  std::string created;
  std::string ended;
  std::int64_t exit = 0;
  std::string message;
  std::string advice;
  std::string ownership;
  boost::json::object progress;
  std::uint64_t revision = 1;
};
const char* to_string(ArrivalView::State state);

/// Thread safety: all members may be called from any thread.
class HostArrivals {
 public:
  /// Listens. Failures: the key file's; the port's. Lifetime: `log` outlives this.
  /// `ownership`, `hooks`: of disks that move while they are used; see migration/live_move.h.
  /// `forward`: as transfer::ReceiverOptions has it.
  static boost::system::result<std::unique_ptr<HostArrivals>, CommandFailure> start(
      const migration::HostSettings& settings, migration::HostOwnership& ownership,
      migration::ArrivalHooks hooks, transfer::ForwardFunction forward, ServiceLog& log);
  /// Ends what is arriving: its sender resumes it when this host listens again.
  ~HostArrivals();

  const std::string& address() const { return receiver_->address(); }
  std::uint16_t port() const { return receiver_->port(); }

  /// Those that run, and the last ones that are over; the oldest first.
  std::vector<ArrivalView> list() const;
  std::optional<ArrivalView> find(const std::string& id) const;

  struct Counts {
    std::uint64_t done = 0;
    std::uint64_t failed = 0;
    std::uint64_t refused = 0;  ///< Peers that were turned away.
  };
  Counts counts() const;

 private:
  explicit HostArrivals(ServiceLog& log) : log_(log) {}
  void note(const transfer::ReceiverEvent& event);
  void note_owner(const migration::Arrival& arrival);
  void note_end(ArrivalView& arrival, const transfer::ReceiverEvent& event);

  ServiceLog& log_;
  std::unique_ptr<transfer::Receiver> receiver_;
  mutable std::mutex mutex_;
  // Protected by mutex_:
  std::map<std::uint64_t, ArrivalView> arrivals_;  ///< By the receiver's number.
  std::map<std::uint64_t, Pace> paces_;
  std::map<std::uint64_t, std::string> owners_;  ///< Of live jobs: a sentence, until they are over.
  Counts counts_;

  std::thread thread_;
};

}  // namespace vhdxm::tools
