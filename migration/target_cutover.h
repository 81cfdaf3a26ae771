// Drives a HandoverTarget for the engine: its actions become records and messages.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "migration/handover_target.h"
#include "migration/host_ownership.h"
#include "transfer/cutover.h"
#include "transfer/storage_folders.h"

namespace vhdxm::migration {

/// What became of a job that brought disks.
struct Arrival {
  std::uint64_t number = 0;  ///< Of the receiver: transfer::ReceiverEvent::job.
  JobId job{};
  bool owns = false;                  ///< This host owns the disks, and they have their names.
  std::vector<DiskPlace> disks = {};  ///< In the order of the job.
  std::string group = {};  ///< That they were in at the source; empty: in none, or it is not known.
  std::string owner_sentence = {};  ///< Who owns them, as far as this side knows.
};
/// Called from threads of the receiver; may block for a while.
struct ArrivalHooks {
  /// Disks are to arrive at these places, and nothing was changed yet: whoever still has open what
  /// was released from there must let go of it. An error refuses the job.
  std::function<Result<void>(const std::vector<DiskPlace>&)> on_offer = {};
  /// They begin to arrive: on_over will be called of this job.
  std::function<void(const Arrival&)> on_begun = {};
  /// This host owns them since now, its job's record says so, and they have their names: whoever
  /// serves them may open them. Their owner records follow before on_over is called. The source
  /// hears of it when this has returned.
  std::function<void(const Arrival&)> on_owned = {};
  /// Disks are taken that arrived by an earlier connection: gives their files, which are partials
  /// still, owner and mode. No connection brings them any more.
  std::function<Result<void>(const std::vector<DiskPlace>&)> on_take = {};
  /// The job is over, and what it left is durable. Where this host owns the disks, the job's record
  /// says so until this has returned.
  std::function<void(const Arrival&)> on_over = {};
};

/// Of one job. Thread safety: as transfer::CutoverTarget.
class TargetCutover final : public transfer::CutoverTarget {
 public:
  /// `folders`: those of the receiver's options.
  TargetCutover(HostOwnership& host, transfer::FolderPaths folders, ArrivalHooks hooks = {},
                std::uint64_t number = 0);

  Result<transfer::HandoverBody> begin(const JobId& job_id,
                                       const std::vector<transfer::OfferDisk>& disks,
                                       std::span<const std::byte> introduction) override;
  std::optional<Result<transfer::HandoverBody>> meet(const JobId& job_id,
                                                     std::span<const std::byte> message) override;
  Step on_message(std::span<const std::byte> body,
                  const std::vector<transfer::PassLedger>& ledgers) override;
  bool get_ready() override;
  Step on_closed() override;
  void on_free() override;
  void end() override;

 private:
  Arrival arrival_of(const JobRecord& record, std::string owner_sentence) const;
  void tell_over(const JobRecord& record, std::string owner_sentence) const;
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
  const transfer::FolderPaths folders_;
  const ArrivalHooks hooks_;
  const std::uint64_t number_;
  std::optional<HandoverTarget> handover_;
  std::vector<Hash128> ledgers_;
  std::optional<JobRecord> to_take_;    ///< Released to this host; the files are not closed yet.
  std::optional<JobRecord> to_settle_;  ///< Put off until the source knows.
  std::vector<transfer::HandoverBody> messages_;
  std::string problem_;
};

}  // namespace vhdxm::migration
