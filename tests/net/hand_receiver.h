// A receiver driven step by step, for a real Sender that runs in a thread.
#pragma once

#include <cstdint>
#include <future>
#include <string>
#include <vector>

#include "tests/net/hand_connection.h"
#include "transfer/ledger.h"
#include "transfer/sender.h"

namespace vhdxm::transfer {

class HandReceiver {
 public:
  explicit HandReceiver(const PairingKey& pairing_key) : key(pairing_key) {}

  // Each step expects what a sender says, and answers as a receiver does.
  /// Connection, preamble, TLS and Hello.
  void accept_control();
  /// Welcome and the offer; answers with kSend for each disk. `handover`: of a live job.
  std::vector<OfferDisk> take_offer(const std::vector<std::byte>& handover = {});
  /// The plan, up to and with DiskReady.
  void take_plan(std::uint32_t disk);
  /// One stream whatever is asked for; accepts its connection.
  HandConnection take_stream();
  /// All of them.
  HandConnection start();

  struct Frame {
    FrameHeader header;
    std::vector<std::byte> payload;
  };
  /// The next frame of a stream, counted in the ledger; kEnd when the stream ends.
  Frame take_frame(HandConnection& stream);
  /// Frames until all of the first disk is there, acknowledged as they come. Returns their count.
  std::uint64_t take_disk(HandConnection& stream);

  const PairingKey key;
  HandListener listener;
  HandConnection control{-1};
  Preamble preamble;
  Hello hello;
  Welcome welcome{.extent_bytes_max = 1 << 20,
                  .streams_max = 4,
                  .credit_bytes = 32 << 20,
                  .nonce = 23,
                  .software = "by hand"};
  std::vector<OfferDisk> disks;
  Ledger ledger{0};  ///< Has the job's seed after accept_control().
};

/// A Sender at work in a thread.
class RunningSender {
 public:
  explicit RunningSender(const SenderOptions& options, ProgressFunction progress = {});
  ~RunningSender();
  RunningSender(const RunningSender&) = delete;
  RunningSender& operator=(const RunningSender&) = delete;

  void cancel() { sender_->cancel(); }
  /// Waits for the end.
  SendResult result() { return result_.get(); }

 private:
  std::unique_ptr<Sender> sender_;
  std::future<SendResult> result_;
};

}  // namespace vhdxm::transfer
