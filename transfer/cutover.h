// What the engine of a live move asks of whoever hands ownership over, at both ends.
//
// The engine moves bytes: it holds writes, sends the last pass, and carries messages. Who owns the
// disks is decided behind these interfaces (migration/), which write it down and may block for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "transfer/messages.h"

namespace vhdxm::transfer {

using HandoverBody = std::vector<std::byte>;

/// The source's end. The engine calls one member at a time, from threads of its own that may be
/// blocked; none after the job is over.
class CutoverSource {
 public:
  enum class State : std::uint8_t {
    kWaiting,   ///< The attempt goes on: a message from the other side is awaited.
    kVoiding,   ///< The attempt is dead: writes go ahead, but no data before the other side knows.
    kVoid,      ///< The attempt is dead, and both sides know: passes go on.
    kReleased,  ///< The commit point is behind: writes are refused, the other side must confirm.
    kOwned,     ///< The other side confirmed that it owns the disks.
    kBlocked,   ///< Whether the disks are released is not known: writes stay held, the job is over.
  };
  struct Step {
    State state = State::kWaiting;
    std::vector<HandoverBody> messages = {};  ///< For the other side, in order.
    std::string problem = {};                 ///< kVoid, kBlocked: why, in words.
  };
  /// What was agreed on under a hold of the gate.
  struct Held {
    JobId job_id{};
    std::uint64_t hold = 0;           ///< SharedGate::hold()'s number, for fence().
    std::vector<PassLedger> ledgers;  ///< Of every disk: both sides have the same.
  };

  virtual ~CutoverSource() = default;

  /// What the other side is told with the offer; at most kHandoverBytesMax.
  virtual HandoverBody introduce(const JobId& job_id) = 0;
  /// What it answered. Nothing is copied yet. kVoid with a problem: nothing can be handed over.
  virtual Step start(std::span<const std::byte> answer) = 0;
  /// Writes are held, none is under way, and the destination has everything, durably.
  virtual Step begin(const Held& held) = 0;
  virtual Step on_message(std::span<const std::byte> body) = 0;
  /// After begin(), when its messages are on their way: time to do what of the release can be done
  /// before the answer comes.
  virtual void get_ready() {}
  /// The deadline passed: makes the attempt void, if that is possible still.
  virtual Step give_up() = 0;
  /// The job is over, `well` or not, and so is the connection: nothing more comes of it. An attempt
  /// that was not released is void. What then is true of the disks: kVoid, or kReleased, kOwned or
  /// kBlocked, when writes must not go ahead.
  virtual State end(bool well) = 0;
};

/// The destination's end, of one job. Called as CutoverSource is.
class CutoverTarget {
 public:
  enum class State : std::uint8_t {
    kReceiving,  ///< What is here is a copy, and may be thrown away.
    kPrepared,   ///< It may be released to this host at any moment: not a byte is thrown away.
    kReleased,   ///< It was released to this host: the files are closed, then on_closed() called.
    kOwned,      ///< This host owns the disks, and that is written down.
    kFailed,     ///< It cannot go on. What was prepared stays so.
  };
  struct Step {
    State state = State::kReceiving;
    std::vector<HandoverBody> messages = {};
    std::string problem = {};  ///< kFailed: in words.
  };

  virtual ~CutoverTarget() = default;

  /// What was offered and may begin to arrive, and what the source's end said with it. Returns the
  /// answer, at most kHandoverBytesMax. Errors end the job before anything is made.
  virtual Result<HandoverBody> begin(const JobId& job_id, const std::vector<OfferDisk>& disks,
                                     std::span<const std::byte> introduction) = 0;
  /// Before begin(): what if `message` is no introduction, but a word about a hand-over that an
  /// earlier connection of this job began (transfer/handover_call.h)? Then the answer to it, and
  /// nothing else is called. Nothing: it is none.
  virtual std::optional<Result<HandoverBody>> meet(const JobId& /*job_id*/,
                                                   std::span<const std::byte> /*message*/) {
    return std::nullopt;
  }
  /// `ledgers`: what this side applied and made durable, of every disk.
  virtual Step on_message(std::span<const std::byte> body,
                          const std::vector<PassLedger>& ledgers) = 0;
  /// After kPrepared, when the source was told: time to do what of on_closed() can be done before
  /// it releases. Returns whether what was prepared still is: a message in between may have made it
  /// void.
  virtual bool get_ready() = 0;
  /// After kReleased: the files of all disks are whole, durable and closed. Writes down that this
  /// host owns them, and gives them their names.
  virtual Step on_closed() = 0;
  /// After on_closed(), where this host owns the disks: nobody else has their files open, and
  /// whoever serves them may open them. The source hears of it when this has returned.
  virtual void on_free() {}
  /// The job is over, well or not, and so is the connection. Whatever is prepared stays so.
  virtual void end() = 0;
};

}  // namespace vhdxm::transfer
