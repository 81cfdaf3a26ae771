// Moves disks in use to another host, ownership and all: what a mover runs.
//
// LiveMove is the source's end: the engine's passes (transfer/live_sender.h) and the hand-over
// (migration/handover_source.h) with this host's records. The destination's end is a
// transfer::Receiver whose options have cutover_target = arrivals(...).
//
// What is there: copying and passes of dynamic and fixed disks, several behind one gate; resuming;
// automatic and manual cutover within a pause; slowing guests down, and mirroring their writes;
// verifying before the cutover (docs/decisions/); cancel until the release; the hand-over with its
// records. What is not: differencing disks (refused by name), waiting for a guest's memory between
// Ready and Release.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "migration/handover_text.h"
#include "migration/host_ownership.h"
#include "migration/target_cutover.h"
#include "transfer/live_sender.h"

namespace vhdxm::migration {

struct LiveMoveOptions {
  /// Where to, and how: host, port, key, streams, limit, memory, mode.
  transfer::SenderOptions sender;
  struct Disk {
    std::shared_ptr<transfer::LiveDisk> disk;
    DiskPlace place;         ///< Of its file at this host: NAME.vhdx in a folder of the store.
    std::string name_there;  ///< Empty: the same.
    std::string folder_there = {};  ///< By its name there; empty: the usual.
  };
  std::vector<Disk> disks;  ///< Of one gate.
  /// In which they are registered here: the destination registers them in one of that name, if
  /// there is none. Empty: in none.
  std::string group = {};
  transfer::Convergence::Limits limits = {};
};

struct LiveMoveResult {
  HandoverEnd::Kind kind = HandoverEnd::Kind::kFailed;
  std::string owner_sentence;  ///< Who owns the disks now. Always there.
  int exit_code() const { return exit_code_of(kind); }
  /// Where it did not end well.
  std::optional<transfer::Failure> failure;
  /// Where it did.
  std::optional<transfer::JobReport> report;
  transfer::LiveProgress live;
  JobId job{};
};

/// One job. Thread safety: run() once, from any thread; the others from any thread, at any time.
class LiveMove {
 public:
  /// Called from the job's control thread, a few times a second and at every change; must not
  /// block.
  using Progress = transfer::LiveProgressFunction;

  LiveMove(HostOwnership& host, LiveMoveOptions options, Progress progress = {});
  ~LiveMove();
  LiveMove(const LiveMove&) = delete;
  LiveMove& operator=(const LiveMove&) = delete;

  /// Blocks until the job is over. Unless its kind is kUnconfirmed, and then says who, exactly one
  /// host owns the disks afterwards. If it is this one, guests' writes go ahead; otherwise they get
  /// EPERM, and the files here are NAME.vhdx.released.
  LiveMoveResult run();
  /// Ends the job soon, unless it is past the release.
  void cancel();
  /// With limits.hold_when_ready false: hand over as soon as it fits the pause.
  void cut_over();
  void set_max_pause(transfer::Convergence::Duration max_pause);
  /// Bytes a second on the wire; 0: no limit.
  void set_limit(std::uint64_t bytes_per_second);
  /// As transfer::LiveSender::set_mode().
  void set_mode(transfer::Mode mode);

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

/// For transfer::ReceiverOptions::cutover_target: disks that move while they are used arrive in
/// `folders`, which are those of the options, and `hooks` hear of each job. `host`: lives longer
/// than the receiver.
std::function<std::unique_ptr<transfer::CutoverTarget>(std::uint64_t)> arrivals(
    HostOwnership& host, transfer::FolderPaths folders, ArrivalHooks hooks = {});

}  // namespace vhdxm::migration
