// Asks the host that a disk was handed over to, in place of clients that are still connected here.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "tools/elsewhere_disk.h"
#include "tools/nbd_pipe.h"
#include "transfer/forward_link.h"

namespace vhdxm::tools {

/// Connects when it is first asked for something, and again when the connection was lost: what was
/// not answered is asked again then. That is what a client would do whose connection broke, and as
/// safe: the other host lets nothing in any more that came by the lost one.
/// Not so if the program that has the disk there was started anew: what it had acknowledged and not
/// made durable is lost, so everything fails from there on.
class DiskForwarder final : public ElsewhereDisk {
 public:
  using Patience = std::chrono::steady_clock::duration;
  /// How long a request is tried for, from its beginning.
  static constexpr std::chrono::seconds kPatience{30};

  /// `target`: without the job.
  explicit DiskForwarder(transfer::ForwardTarget target, Patience patience = kPatience);
  /// Requires: no call is under way.
  ~DiskForwarder() override;

  void handed_over(const transfer::JobId& job) override;
  void rest() override;
  void stop() override;
  Result<void> read(std::uint64_t offset, std::span<std::byte> out) override;
  Result<void> write(std::uint64_t offset, std::span<const std::byte> bytes,
                     transfer::LiveDisk::Durability durability) override;
  Result<void> write_zeroes(std::uint64_t offset, std::uint64_t length,
                            transfer::LiveDisk::Zeroing zeroing,
                            transfer::LiveDisk::Durability durability) override;
  Result<void> trim(std::uint64_t offset, std::uint64_t length,
                    transfer::LiveDisk::Durability durability) override;
  Result<void> flush() override;

 private:
  /// The link first: what speaks through it ends before.
  struct Connection {
    std::unique_ptr<transfer::ForwardLink> link;
    std::unique_ptr<NbdPipe> pipe;
  };
  using Clock = std::chrono::steady_clock;

  template <class Ask>
  Result<void> ask(Ask ask);
  Result<std::shared_ptr<Connection>> connected(Clock::time_point deadline);
  void connect(std::unique_lock<std::mutex>& lock);
  static boost::system::result<std::shared_ptr<Connection>, transfer::Failure> connection_to(
      const transfer::ForwardTarget& target);
  void lose(const std::shared_ptr<Connection>& connection);
  Error failure(const char* where) const;

  const Patience patience_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // Protected by mutex_:
  transfer::ForwardTarget target_;
  bool is_there_ = false;
  bool stopped_ = false;
  bool connecting_ = false;
  std::shared_ptr<Connection> connection_;
  std::optional<std::uint64_t> instance_;  ///< Of the program there.
  std::string problem_;                    ///< Why it was not connected last.
  bool for_good_ = false;                  ///< Nor will be.
};

}  // namespace vhdxm::tools
