// Two hosts, a guest that writes all the time, and everything that can go wrong between them: one
// run, from a seed.
//
// Played are the hand-over's objects, OwnershipStore, WriteGate and DirtyMap as they are; a model
// are folders, disks, the copier, the network and the guest. After each step: no two hosts that
// would let a guest write; when a release is committed, and when a host takes over: everything that
// was acknowledged is durable at the destination. At the end, when both hosts can be reached:
// exactly one owner, with every write that was acknowledged and flushed, and no file that nobody
// needs.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/sim/copy_model.h"
#include "tests/sim/model_host.h"

namespace vhdxm::sim {

struct Options {
  std::uint64_t seed = 0;
  Planted planted = Planted::kNone;
  bool trace = false;
};

/// What is scripted instead of being left to chance.
struct Script {
  std::optional<std::size_t> dies = {};  ///< Host 0 or 1 dies ...
  std::uint64_t dies_at = 0;             ///< ... at this step of its folders, ...
  test::StepFaults::Moment moment = test::StepFaults::Moment::kBefore;
  bool loses_power = false;
  std::optional<std::uint64_t> lost_message = {};     ///< The n-th that is sent does not arrive.
  std::optional<std::uint64_t> doubled_message = {};  ///< It arrives twice, the second time last.
};

struct Outcome {
  std::string failure;  ///< Empty: all promises were kept.
  std::vector<std::string> trace;
  std::uint64_t steps = 0;
  // What happened, to see that the runs are worth something.
  unsigned releases = 0;
  unsigned takeovers = 0;
  unsigned deaths = 0;
  unsigned voided = 0;
  unsigned doubts = 0;
  unsigned forced = 0;
  unsigned moves_back = 0;
  unsigned acknowledged = 0;
  unsigned mirrored = 0;  ///< Of these, when both sides had them.
  // Of a scripted run: how much there is to go through.
  std::uint64_t folder_steps[2] = {0, 0};
  std::uint64_t messages = 0;
};

class Simulation {
 public:
  explicit Simulation(const Options& options);

  Outcome run_random();
  Outcome run_script(const Script& script);

 private:
  struct Failure {
    std::string what;
  };
  struct Message {
    std::size_t to = 0;
    migration::HandoverMessage message = {};
  };
  struct Write {
    enum class Stage : std::uint8_t { kAtGate, kAdmitted, kLanded, kWaiting, kMirrored };
    std::uint64_t number = 0;
    std::uint32_t disk = 0;
    std::uint32_t page = 0;
    std::uint64_t value = 0;
    std::size_t host = 0;
    transfer::WriteGate::Verdict verdict = transfer::WriteGate::Verdict::kWait;
    Stage stage = Stage::kAtGate;
  };

  // simulation.cc
  void random_step();
  void random_fault();
  void start_some_job();
  void check_step();
  Outcome finish(std::string failure);
  template <class... Args>
  void note(const char* format, const Args&... args);
  [[noreturn]] void fail(std::string what);
  std::uint64_t pick(std::uint64_t count) { return random_() % count; }
  bool chance(unsigned percent) { return pick(100) < percent; }

  // job_events.cc: what the driver of the objects does.
  void start_job(std::size_t from);
  migration::JobRecord make_record(std::size_t from);
  void pump(std::size_t host);
  void act(std::size_t host, const migration::HandoverSource::Action& action);
  void act(std::size_t host, const migration::HandoverTarget::Action& action);
  void get_ready(ModelHost& host, const std::optional<migration::JobRecord>& next);
  void commit_release(std::size_t host, const migration::HandoverSource::Release& action);
  void seal(std::size_t host);
  void take_over(std::size_t host);
  void answer_later(std::size_t host, std::function<void()> answer);
  bool answer(std::size_t host);
  void send(std::size_t from, const migration::HandoverMessage& message);
  void deliver(std::size_t index);
  void answer_from_folders(std::size_t host, const migration::HandoverMessage& message);
  bool hold();
  bool attempt();
  bool permit();
  bool deadline(std::size_t host);
  void slip_a_write_through();
  void end_tracking(std::size_t host);
  void drop_finished(std::size_t host);

  // host_events.cc
  void die(std::size_t host, bool loses_power);
  bool start(std::size_t host);
  void cut();
  bool connect();
  void reconcile_jobs();
  void lose_record(std::size_t host);
  void destroy(std::size_t host);
  void owns_after_all();
  bool owns_all(std::size_t host);
  template <class Work>
  void in_process(std::size_t host, Work work);

  // guest_events.cc
  void new_write();
  bool advance_write(Write& write);
  bool advance_some_write();
  void land(Write& write);
  void acknowledge(const Write& write);
  void end_write(std::uint64_t number);
  void take_mirror_answers();
  bool mirrors() const;
  void lose_patience();
  void flush();
  bool copy_something();
  bool copy_all_once();

  // end_checks.cc
  void settle_everything(bool complete);
  bool settle_once(bool complete);
  bool settled() const;
  void resolve_by_hand();
  void restart_the_stuck();
  void check_end();
  void check_content(std::size_t owner, const std::vector<std::uint64_t>& floor);
  void check_files(std::size_t owner);
  void force_survivor(std::size_t host);

  std::size_t slot(std::uint32_t disk, std::uint32_t page) const { return disk * kPages + page; }

  const Options options_;
  std::mt19937_64 random_;
  std::size_t disk_count_ = 1;
  std::vector<migration::OwnershipId> ids_;
  ModelHost hosts_[2];
  CopyModel copy_;
  Script script_;
  bool scripted_ = false;
  bool faults_ = true;
  bool with_guest_memory_ = false;  ///< The guest moves along; otherwise clients reconnect.
  bool mirror_ = false;

  std::size_t from_ = 0;  ///< The source of the job, or of the last one.
  unsigned jobs_ = 0;
  bool linked_ = false;
  std::vector<Message> network_;
  std::optional<Message> twice_;
  std::optional<Message> stale_;  ///< With that fault planted: the last Prepared.
  migration::Prepare prepare_;    ///< The last that was sent.

  std::vector<Write> writes_;
  std::uint64_t serial_ = 0;
  std::vector<std::uint64_t> floor_;           ///< What the owner must have at least, page by page.
  std::vector<std::uint64_t> flushed_;         ///< The same, after a power loss.
  std::vector<std::uint64_t> attempt_floor_;   ///< As it was when the attempt began.
  std::vector<std::uint64_t> prepared_floor_;  ///< The same, of what the destination prepared.
  std::uint64_t epoch_ = 1;
  bool record_lost_ = false;
  bool released_lost_power_ = false;  ///< The source of a release that stands.
  std::uint64_t fault_permille_ = 0;  ///< Of steps.
  bool released_ = false;             ///< The last job's release is committed.
  bool stands_ = false;               ///< And known to be so.
  std::size_t home_ = 0;              ///< Where the guest's writes went last.
  bool taken_ = false;                ///< The last job's destination took over.
  Outcome outcome_;
};

}  // namespace vhdxm::sim
