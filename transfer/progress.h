// What a running job tells about itself.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/buffer_pool.h"
#include "transfer/mode_control.h"

namespace vhdxm::transfer {

enum class Phase : std::uint8_t {
  kConnecting,  ///< Until the other side is authenticated.
  kPlanning,    ///< Offer, room, reading the maps.
  kComparing,   ///< Both sides read a disk that the destination has already.
  kCopying,
  kSealing,    ///< The destination makes the disk durable.
  kVerifying,  ///< Both sides read the disk again (--verify).
  kCommitting,
  kDone,
};
const char* to_string(Phase phase);

/// What holds a job back at the moment.
enum class Bottleneck : std::uint8_t {
  kUnknown,  ///< Too early to tell, or nothing flows.
  kLink,     ///< The network, or --limit.
  kSourceDisk,
  kSourceProcessor,
  kDestinationDisk,
  kDestinationProcessor,
};
const char* to_string(Bottleneck bottleneck);

/// How payload travels, and why.
struct ModeReport {
  Mode asked = Mode::kAuto;
  ModeMix mix = {};
  double gaining = 1;  ///< Of what was lately to be compressed, the share that gained by it.
  Bottleneck bottleneck = Bottleneck::kUnknown;
};

/// How the payload of a whole job travelled.
struct CompressionReport {
  Mode asked = Mode::kAuto;
  bool supported = true;           ///< The receiver takes compressed payload.
  std::uint64_t packed_bytes = 0;  ///< Payload that travelled compressed; as long as it was before.
  std::optional<int> level = {};   ///< At which most of that was compressed.
  std::uint64_t processor_ns = 0;  ///< Of compression, at this host.
  Bottleneck bottleneck = Bottleneck::kUnknown;  ///< For most of the time.
};

/// Units: bytes. All counters are of the whole job and never go back.
struct Progress {
  Phase phase = Phase::kConnecting;
  std::string disk;              ///< The disk being worked on, its name at the destination.
  std::uint32_t disk_index = 0;  ///< From 0.
  std::uint32_t disk_count = 0;
  std::uint64_t bytes_total = 0;        ///< Payload that the maps say there is (phase kCopying).
  std::uint64_t bytes_done = 0;         ///< Of bytes_total: read and sent, zeros found included.
  std::uint64_t phase_bytes_total = 0;  ///< Of this phase: comparing and verifying read again.
  std::uint64_t phase_bytes_done = 0;
  std::uint64_t wire_bytes = 0;         ///< Frames, headers included, TLS records not.
  std::uint64_t zero_bytes = 0;         ///< Payload that was all zero and was not sent.
  std::uint64_t unallocated_bytes = 0;  ///< Of the virtual size: what the maps say is not there.
  std::uint64_t resumed_bytes = 0;      ///< That partials of earlier jobs hold, as far as is known.
  std::uint64_t same_bytes = 0;         ///< Payload that the destination had: compared, not sent.
  std::uint32_t partials_replaced = 0;  ///< Disks whose partial did not fit: they start anew.
  std::uint64_t compressed_bytes = 0;   ///< Payload that compression took off the wire.
  std::optional<ModeReport> mode;       ///< How payload travels at the moment; a sender knows.
  std::uint64_t written_bytes = 0;      ///< Acknowledged as written.
  std::uint64_t durable_bytes = 0;      ///< Acknowledged as durable.
  std::chrono::steady_clock::duration elapsed{};
  unsigned streams = 0;  ///< Data streams that are up.
};

struct DiskReport {
  enum class Outcome : std::uint8_t {
    kSent,
    kIdentical,  ///< The destination had it already; nothing was sent.
  };
  std::string name;
  std::string source_path;
  Outcome outcome = Outcome::kSent;
  std::uint64_t virtual_bytes = 0;
  std::uint64_t payload_bytes = 0;  ///< What the map said there is.
  std::string ledger;               ///< Hex; empty for kIdentical.
  bool verified = false;            ///< Both sides were read again and agree.
  bool resumed = false;             ///< It went on with what an earlier job had left.
  std::uint64_t same_bytes = 0;     ///< Payload that the destination had already.
};

struct JobReport {
  std::vector<DiskReport> disks;  ///< Parents first.
  Progress totals;
  std::string peer;    ///< Address, port and software of the other side.
  std::string cipher;  ///< Of control; "TLS_AES_128_GCM_SHA256".
  bool plaintext_data = false;
  std::uint64_t frames = 0;
  std::uint64_t streams_replaced = 0;
  std::uint64_t resent_bytes = 0;  ///< Sent again over other streams after one broke.
  CompressionReport compression;
  std::uint64_t peak_buffer_bytes = 0;        ///< High water of the buffer pool.
  BufferPool::StageBytes buffer_stages = {};  ///< What was done with payload in that pool.
  std::uint64_t peak_credit_bytes = 0;        ///< Most payload that was ever under way.
  std::uint64_t peak_frames_under_way = 0;    ///< Most frames that ever awaited acknowledgement.
};

/// Called from a thread of the job, a few times a second and at every change of phase; must not
/// block.
using ProgressFunction = std::function<void(const Progress&)>;

}  // namespace vhdxm::transfer
