// What the mover of a disk tells the host's service about itself, and lets it do: docs/mover.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "tools/mover_server.h"

namespace vhdxm::tools {

/// Thread safety: all members may be called from any thread.
class DiskMover {
 public:
  struct About {
    std::string name;  ///< In the service's list of disks.
    std::string path;
    bool read_only = false;
    std::uint64_t virtual_bytes = 0;
  };

  /// Listens at `socket`. `end`: called when the service wants the disk closed and no client is in
  /// the way, or it said "force"; must not block.
  static Result<std::unique_ptr<DiskMover>> start(const std::string& socket, About about,
                                                  std::function<void()> end);

  /// A client wants the disk. False: it is being closed.
  bool client_opens();
  void client_closes();
  /// Tells who waits for it that the disk was closed; its log is empty if that went `well`.
  void closed(bool well);

 private:
  DiskMover(About about, std::function<void()> end)
      : about_(std::move(about)), end_(std::move(end)) {}

  MoverAnswer answer(const std::string& op, const boost::json::object& request);
  MoverAnswer describe();
  MoverAnswer end(const boost::json::object& request);

  const About about_;
  const std::function<void()> end_;
  std::mutex mutex_;
  // Protected by mutex_:
  std::uint64_t clients_ = 0;
  bool ending_ = false;

  std::unique_ptr<MoverServer> server_;  // Last: its thread uses the others.
};

}  // namespace vhdxm::tools
