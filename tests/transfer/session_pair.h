// A SenderSession and a ReceiverSession that talk to each other in memory.
//
// Local work (digests, plans, copying, sealing, ...) is answered at once. Every event is a step; a
// test can make something go wrong at each of them.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "transfer/receiver_session.h"
#include "transfer/sender_session.h"

namespace vhdxm::transfer {

class SessionPair {
 public:
  struct Options {
    std::size_t disks = 1;
    bool verify = false;  ///< Of a live job: after its second pass, by two ranges.
    std::vector<OfferAction> actions = {};  ///< Empty: send all.
    /// What the receiver holds of each disk; the hashes it says are (cell, 1).
    std::vector<HeldRange> held = {};
    std::uint64_t sender_features = 0;
    std::uint64_t receiver_features = 0;
    /// After the first: then the disks are handed over. 0: a job of kind kCopy.
    std::uint32_t live_passes = 0;
  };
  /// What can go wrong at a step.
  enum class Fault {
    kNone,
    kSenderError,
    kReceiverError,
    kSenderCancel,
    kReceiverCancel,
    kConnectionLost,
    kSenderSaysNonsense,    ///< The receiver gets a message that only receivers send.
    kReceiverSaysNonsense,  ///< The sender gets a message that only senders send.
    kStreamLost,            ///< Not fatal: stream 0 breaks.
  };

  explicit SessionPair(const Options& options);

  /// Runs until nothing happens any more; `fault` strikes before step `fault_at`.
  void run(Fault fault = Fault::kNone, std::size_t fault_at = ~std::size_t{0});
  std::size_t steps() const { return steps_; }
  /// The step after which data streams are open.
  std::size_t streams_open_at() const { return streams_open_at_; }

  SenderSession sender;
  ReceiverSession receiver;
  std::vector<std::string> log;  ///< "S>Hello", "R:SealDisk", ...

  // What became of the two.
  bool sender_finished = false;
  bool receiver_finished = false;
  std::optional<SenderSession::Abort> sender_abort;
  std::optional<ReceiverSession::Abort> receiver_abort;
  std::vector<std::uint32_t> committed;  ///< By the receiver.
  std::vector<std::uint32_t> identical;  ///< As the sender was told.
  std::vector<std::uint64_t> cells;      ///< Whose hashes the sender was given.
  std::vector<std::string> handed_over;  ///< What each side was told by the other, in order.
  std::vector<std::uint32_t> done;       ///< As the sender was told, identical ones included.

 private:
  void strike(Fault fault);
  bool step();
  void go_on();
  void on(SenderSession::Action& action);
  void on(ReceiverSession::Action& action);

  const Options options_;
  std::deque<Message> to_sender_;
  std::deque<Message> to_receiver_;
  std::size_t steps_ = 0;
  std::size_t streams_open_at_ = 0;
  std::uint32_t copying_ = 0;
  std::uint32_t pass_ = 0;           ///< Live: the last that is done.
  std::uint64_t cells_owed_ = 0;     ///< Of the disk that is copied.
  std::vector<HeldRange> unhashed_;  ///< What the receiver did not hash yet.
  bool cut_ = false;
};

/// The disk that SessionPair offers as number `disk`.
OfferDisk example_disk(std::uint32_t disk);

}  // namespace vhdxm::transfer
