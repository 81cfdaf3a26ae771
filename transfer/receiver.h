// Receives disks into a folder, or several, from several senders at once.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/buffer_pool.h"
#include "base/result.h"
#include "transfer/cutover.h"
#include "transfer/errc.h"
#include "transfer/forward_door.h"
#include "transfer/pairing_key.h"
#include "transfer/progress.h"
#include "transfer/sender.h"
#include "transfer/timeouts.h"

namespace vhdxm::transfer {

struct ReceiverOptions {
  std::string into;  ///< An existing folder.
  /// Further ones, by name: disks whose sender names one arrive there. There is no other way to put
  /// anything outside `into`.
  std::map<std::string, std::string> folders = {};
  std::string listen_address = {};    ///< Empty: every address of the host, IPv6 and IPv4.
  std::uint16_t port = kDefaultPort;  ///< 0: a free one.
  PairingKey key;
  bool once = false;                                 ///< Stop after the first job that ends well.
  std::uint64_t memory_bytes = kDefaultMemoryBytes;  ///< Divided among the jobs.
  bool plaintext_data = false;  ///< Let senders that ask for it send payload without TLS.
  /// A further sender is told that the host is busy. Fewer if memory_bytes is short of one stream
  /// for each.
  unsigned jobs_max = 8;
  std::optional<std::uint32_t> owner_uid = {};  ///< Of disks that arrive.
  std::optional<std::uint32_t> owner_gid = {};
  std::uint32_t file_mode = 0600;
  Timeouts timeouts = {};
  /// Who takes over disks that are moved while they are used, for each such job, by its number
  /// (ReceiverEvent::job); called on the control thread. Empty: none are taken.
  std::function<std::unique_ptr<CutoverTarget>(std::uint64_t job)> cutover_target = {};
  /// Where requests go that a host forwards for disks that it handed over to this one; called on a
  /// worker. Empty: none are taken.
  ForwardFunction forward = {};
};

/// What happened at a receiver, for a log, a screen or a program.
struct ReceiverEvent {
  enum class Type : std::uint8_t {
    kJobStarted,     ///< A sender was authenticated and accepted.
    kProgress,       ///< `progress` of a running job.
    kDiskResumed,    ///< `disk` goes on where an earlier job ended; `resumed_bytes` may be here.
    kDiskArrived,    ///< `disk` has its name and is durable.
    kDiskIdentical,  ///< `disk` was here already.
    kJobDone,
    kMeasured,     ///< A sender asked how long a move would take; nothing was to be kept.
    kJobFailed,    ///< `failure` says why, and `kept` what is left of the unfinished disk.
    kPeerRefused,  ///< A peer that was not authenticated, or broke the protocol, was turned away.
  };
  Type type = Type::kJobStarted;
  std::uint64_t job = 0;  ///< Counted from 1; 0 for kPeerRefused.
  std::string peer;       ///< Address and port.
  std::string disk;       ///< Its name, as text_of_place().
  std::uint64_t virtual_bytes = 0;
  std::uint64_t resumed_bytes = 0;
  bool kept = false;  ///< kJobFailed: its partial stays, for a later job to go on with.
  std::uint64_t peak_buffer_bytes = 0;        ///< High water of the job's buffer pool so far.
  BufferPool::StageBytes buffer_stages = {};  ///< What was done so far with payload in that pool.
  std::optional<Failure> failure;
  std::optional<Progress> progress;
};
const char* to_string(ReceiverEvent::Type type);
/// Called from the receiver's control thread; must not block.
using ReceiverEventFunction = std::function<void(const ReceiverEvent&)>;

/// Thread safety: run() once; stop() from any thread, at any time.
class Receiver {
 public:
  /// Opens the folders and binds the port. Errors: the system's, with the folder or address;
  /// BaseErrc::kInvalidArgument for a name of a folder that cannot be one.
  static Result<std::unique_ptr<Receiver>> bind(ReceiverOptions options,
                                                ReceiverEventFunction on_event = {});
  ~Receiver();

  /// "127.0.0.1:6600" or "[::]:6600", with the port that was really bound.
  const std::string& address() const;
  std::uint16_t port() const;

  /// Serves until stop(), or until one job ended well if `once`. Blocks.
  /// Returns the failure of the last job when `once` was asked for and stop() came before a good
  /// end.
  std::optional<Failure> run();
  /// Cancels running jobs (their senders are told) and ends run().
  void stop();

 private:
  struct Impl;
  explicit Receiver(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vhdxm::transfer
