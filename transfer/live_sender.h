// Moves disks to another host while guests use them, up to and through the cutover.
//
// Writes are tracked from the beginning; what was written meanwhile follows in passes, until what
// is left fits the pause that is allowed. Then writes are held, the last pass is sent, and whoever
// hands ownership over (transfer/cutover.h) does so. Until then the source owns the disks, and a
// guest sees nothing but slower writes and one short pause, however the job ends.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "transfer/convergence.h"
#include "transfer/cutover.h"
#include "transfer/live_progress.h"
#include "transfer/live_source.h"
#include "transfer/sender.h"

namespace vhdxm::transfer {

struct LiveSenderOptions {
  /// As of any job; what names or changes a disk there (disk_path, name, folder, seed_from,
  /// flatten) does not count. verify: both sides read again what was copied, before anything is
  /// handed over; what guests write meanwhile is left out.
  SenderOptions sender;
  std::vector<MovingDisk> disks;  ///< Of one gate.
  Convergence::Limits limits = {};
};

/// Called as ProgressFunction is.
using LiveProgressFunction = std::function<void(const Progress&, const LiveProgress&)>;

/// One job. Thread safety: run() once, from any thread; the others from any thread, at any time.
class LiveSender {
 public:
  /// `cutover`: lives longer.
  LiveSender(LiveSenderOptions options, CutoverSource& cutover, LiveProgressFunction progress = {});
  ~LiveSender();
  LiveSender(const LiveSender&) = delete;
  LiveSender& operator=(const LiveSender&) = delete;

  /// Runs the job to its end, as Sender::run(). Afterwards outcome() says what is true of the
  /// disks: a job may fail after they were released. Errors also: those of LiveSource::start();
  /// Errc::kNotConverging.
  SendResult run();
  /// Ends the job soon, unless the disks were released. The destination keeps what it has.
  void cancel();
  /// Hands over as soon as it fits, if limits.hold_when_ready was false.
  void cut_over();
  void set_max_pause(Convergence::Duration max_pause);
  /// Bytes a second on the wire; 0: no limit.
  void set_limit(std::uint64_t bytes_per_second);
  /// How the next extents travel. One that began as kPlain stays so: it has agreed with the
  /// destination that nothing is compressed.
  void set_mode(Mode mode);

  /// kVoid: the source owns them, and writes go ahead.
  CutoverSource::State outcome() const;
  LiveProgress live_progress() const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace vhdxm::transfer
