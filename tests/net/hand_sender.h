// A sender driven step by step, over a real connection to a Receiver.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/net/hand_connection.h"
#include "transfer/ledger.h"
#include "vhdx/block_plan.h"

namespace vhdxm::transfer {

/// A disk that nobody has: 4 blocks of 1 MiB, of which the first two have content.
struct HandDisk {
  explicit HandDisk(const std::string& name);
  OfferDisk offer;
  vhdx::BlockPlan plan;
};

class HandSender {
 public:
  HandSender(std::uint16_t port, const PairingKey& key);

  // Each step does what a sender does, and expects what a receiver answers.
  void connect();
  Welcome hello();
  void offer(const std::vector<OfferDisk>& disks);
  void begin(std::uint32_t disk, const vhdx::BlockPlan& plan);
  std::vector<StreamGrant> request_streams(std::uint16_t count);
  HandConnection join(const StreamGrant& grant);
  /// All of them: returns a stream on which frames of `disk` may be sent.
  HandConnection start(const HandDisk& disk);

  /// A data connection that has preamble and TLS behind it, but not Join.
  HandConnection open_data(const JobId& job_id);
  Join join_message(const StreamGrant& grant) const;
  /// A frame whose hash is right.
  FrameHeader data_frame(std::uint64_t offset, std::span<const std::byte> payload) const;
  static FrameHeader range_frame(FrameKind kind, std::uint64_t offset, std::uint64_t length);
  /// Sends the frame and counts it in the ledger.
  void send(HandConnection& stream, const FrameHeader& frame,
            std::span<const std::byte> payload = {});
  /// The four frames that bring all of a HandDisk.
  void send_all(HandConnection& stream);
  /// Reads until Written has acknowledged `frames` frames of stream 0.
  void wait_written(std::uint64_t frames);
  EndDisk end_of(std::uint32_t disk) const;
  /// Reads until Fail comes, and closes.
  Fail expect_fail();

  const PairingKey key;
  const std::uint16_t port;
  Hello hello_message;  ///< May be changed before hello().
  Preamble preamble;
  HandConnection control{-1};
  Welcome welcome;
  Ledger ledger{0};  ///< Has the job's seed after hello().
};

/// 1 MiB of bytes that are not zero.
std::vector<std::byte> payload_of(std::uint8_t fill, std::size_t bytes = 1 << 20);

}  // namespace vhdxm::transfer
