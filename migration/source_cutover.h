// Drives a HandoverSource for the engine: its actions become records, the gate and messages.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "migration/handover_source.h"
#include "migration/host_ownership.h"
#include "transfer/cutover.h"
#include "transfer/shared_gate.h"

namespace vhdxm::migration {

/// Of one job. Thread safety: as transfer::CutoverSource; the rest after the job is over.
class SourceCutover final : public transfer::CutoverSource {
 public:
  /// `disks`: in the order of the job, each with its id and the epoch that this host owns. `group`:
  /// in which they are registered here; empty: in none.
  SourceCutover(HostOwnership& host, transfer::SharedGate& gate, std::vector<JobDisk> disks,
                std::string group = {});

  transfer::HandoverBody introduce(const JobId& job_id) override;
  Step start(std::span<const std::byte> answer) override;
  Step begin(const Held& held) override;
  Step on_message(std::span<const std::byte> body) override;
  void get_ready() override;
  Step give_up() override;
  State end(bool well) override;

  /// How it ended, once it is over: of an orderly end, and of one that is not known.
  const std::optional<HandoverEnd>& ended() const { return ended_; }
  std::string owner_sentence() const;
  const JobRecord& record() const { return handover_ ? handover_->record() : record_; }

 private:
  Step drain();
  State state() const;
  void act(HandoverSource::Begin& action);
  void act(HandoverSource::Send& action);
  void act(HandoverSource::LetGo& action);
  void act(HandoverSource::Ready& action);
  void act(HandoverSource::Release& action);
  void act(HandoverSource::Settle& action);
  void act(HandoverSource::Confirm& action);
  void act(HandoverSource::Withdraw& action);
  void act(HandoverSource::Yield& action);
  void act(HandoverSource::Take& action);
  void act(HandoverSource::Finish& action);
  void settle_now();

  HostOwnership& host_;
  transfer::SharedGate& gate_;
  const std::string group_;
  JobRecord record_;
  std::optional<HandoverSource> handover_;
  bool attempting_ = false;
  bool voiding_ = false;
  std::vector<transfer::HandoverBody> messages_;
  std::string problem_;
  /// Put off until the other side knows: nobody waits for names.
  std::optional<JobRecord> to_settle_;
  std::optional<HandoverEnd> ended_;
};

}  // namespace vhdxm::migration
