// Steers the mode of one job: turns what its streams and its receiver tell into samples for
// auto_mode.h, and what that decides into orders for the streams.
#pragma once

#include <map>
#include <optional>

#include "transfer/auto_mode.h"
#include "transfer/memory_budget.h"
#include "transfer/messages.h"
#include "transfer/mode_control.h"
#include "transfer/progress.h"
#include "transfer/send_stream.h"
#include "transfer/sender.h"

namespace vhdxm::transfer {

/// Thread safety: none, the job's control thread; but control() is for the streams.
class ModeSteering {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  ModeSteering(const SenderOptions& options, const SenderBudget::Shares& shares);

  ModeControl& control() { return control_; }
  Mode mode() const { return mode_; }
  /// From the next extent on; kAuto goes on from what it is now. Requires: where `mode` compresses,
  /// that the job began with one that does, so that there are compressors, and of which level.
  void set_mode(Mode mode);

  /// What all streams did so far, together, and sent. To be called a few times in a tenth of a
  /// second.
  void steer(const SendStream::Work& work, std::uint64_t wire_bytes, TimePoint now);
  void note(const Load& load);

  ModeMix mix() const { return control_.mix(); }
  double gaining() const { return control_.gaining(); }
  Bottleneck bottleneck() const { return auto_.bottleneck(); }
  CompressionReport summary() const;

 private:
  Mode mode_;
  const int level_;  ///< Of kCompress.
  ModeControl control_;
  AutoMode auto_;
  std::optional<TimePoint> steered_at_;
  SendStream::Work before_;
  std::uint64_t wire_bytes_before_ = 0;
  Load load_before_;
  std::optional<AutoMode::Sample::Receiver> receiver_;
  std::map<Bottleneck, double> seconds_;  ///< How long each of them held the job back.
};

}  // namespace vhdxm::transfer
