// Drives a HandoverTarget for the engine: its actions become records and messages.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "migration/handover_target.h"
#include "migration/host_ownership.h"
#include "transfer/cutover.h"

namespace vhdxm::migration {

/// What became of a job that brought disks.
struct Arrival {
  JobId job{};
  bool owns = false;                  ///< This host owns the disks, and they have their names.
  std::vector<DiskPlace> disks = {};  ///< In the order of the job.
  std::string owner_sentence = {};    ///< Who owns them, as far as this side knows.
};
/// Called from a thread of the receiver when the job is over; may block for a while.
using ArrivalFunction = std::function<void(const Arrival&)>;

/// Of one job. Thread safety: as transfer::CutoverTarget.
class TargetCutover final : public transfer::CutoverTarget {
 public:
  /// Disks arrive in `folder`, as the receiver's options name it.
  TargetCutover(HostOwnership& host, std::string folder, ArrivalFunction on_over = {});

  Result<transfer::HandoverBody> begin(const JobId& job_id,
                                       const std::vector<transfer::OfferDisk>& disks,
                                       std::span<const std::byte> introduction) override;
  Step on_message(std::span<const std::byte> body,
                  const std::vector<transfer::PassLedger>& ledgers) override;
  Step on_closed() override;
  void end() override;

 private:
  Step drain();
  void act(HandoverTarget::Begin& action);
  void act(HandoverTarget::Send& action);
  void act(HandoverTarget::Seal& action);
  void act(HandoverTarget::Write& action);
  void act(HandoverTarget::Take& action);
  void act(HandoverTarget::TakeOver& action);
  void act(HandoverTarget::Settle& action);
  void act(HandoverTarget::Finish& action);

  HostOwnership& host_;
  const std::string folder_;
  const ArrivalFunction on_over_;
  std::optional<HandoverTarget> handover_;
  std::vector<Hash128> ledgers_;
  std::optional<JobRecord> to_take_;    ///< Released to this host; the files are not closed yet.
  std::optional<JobRecord> to_settle_;  ///< Put off until the source knows.
  std::vector<transfer::HandoverBody> messages_;
  std::string problem_;
};

}  // namespace vhdxm::migration
