// Sends a disk, with its parents, to a receiver on another host.
//
// The source stays the owner and is not changed by a byte: its log is replayed in memory.
#pragma once

#include <boost/system/result.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "transfer/errc.h"
#include "transfer/mode_control.h"
#include "transfer/pairing_key.h"
#include "transfer/progress.h"
#include "transfer/timeouts.h"

namespace vhdxm::transfer {

inline constexpr std::uint16_t kDefaultPort = 6600;
inline constexpr std::uint64_t kDefaultMemoryBytes = 64ull * 1024 * 1024;
inline constexpr unsigned kDefaultStreams = 4;
inline constexpr int kDefaultLevel = 1;

struct SenderOptions {
  std::string disk_path;
  std::string host;  ///< Name or address.
  std::uint16_t port = kDefaultPort;
  PairingKey key;
  std::string name = {};    ///< At the destination; empty: the file's own name.
  std::string folder = {};  ///< Of the destination, by its name; empty: the usual. Of all parents.
  unsigned streams = 0;     ///< 0: the default. At most kStreamsMax.
  std::uint64_t limit_bytes_per_second = 0;  ///< Bytes on the wire; 0: none.
  std::uint64_t memory_bytes = kDefaultMemoryBytes;
  Mode mode = Mode::kAuto;
  int level = kDefaultLevel;  ///< Mode::kCompress: compression::kLevelMin to kLevelMax.
  /// What compression may take of this host's processors. Percent of all that the process may use,
  /// 1 to 100; what does not fit goes uncompressed.
  unsigned cpu_share_percent = 100;
  /// A disk at the destination, by its plain name in the folder there, to take from what it has in
  /// common with this one; empty: none.
  std::string seed_from = {};
  bool flatten = false;            ///< Send a chain as one dynamic disk.
  bool verify = false;             ///< Read both sides again before the disk gets its name.
  bool plaintext_data = false;     ///< The receiver must ask for it too.
  std::uint32_t extent_bytes = 0;  ///< 0: the default. A multiple of 256 KiB, at most 4 MiB.
  Timeouts timeouts = {};
};

/// A JobReport or a Failure.
class [[nodiscard]] SendResult : public boost::system::result<JobReport, Failure> {
 public:
  using boost::system::result<JobReport, Failure>::result;
};
[[noreturn]] void throw_exception_from_error(const Failure& failure, const boost::source_location&);

/// One job. Thread safety: run() once, from any thread; cancel() from any other, at any time.
class Sender {
 public:
  explicit Sender(SenderOptions options, ProgressFunction progress = {});
  ~Sender();
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;

  /// Runs the job to its end. Blocks. Uses threads of its own: one for control, one a data stream.
  SendResult run();
  /// Ends the job soon: run() returns a Failure of class kCancelled. The destination is told, and
  /// keeps what it has for the next job of this disk. Not to be called from a signal handler.
  void cancel();
  /// Bytes a second on the wire; 0: no limit. From any thread, at any time.
  void set_limit(std::uint64_t bytes_per_second);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vhdxm::transfer
