// The control socket of a mover: the process that exports a disk, or runs a job, tells the host's
// service about itself there, and is told what to do. docs/mover.md is the protocol.
//
// One JSON object a line, both ways. The service may go and come again; nothing here ends with it.
#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace vhdxm::tools {

/// Of the protocol. A mover outlives its service, so a service may meet an older one.
inline constexpr int kMoverProtocol = 2;
inline constexpr std::size_t kMoverLineBytesMax = 64 * 1024;

struct MoverAnswer {
  boost::json::object fields;
  bool subscribes = false;  ///< The one who asked gets what is published from now on.
};

/// An answer that says no: {"error":code,"message":...}.
MoverAnswer mover_error(const std::string& code, const std::string& message);

/// Thread safety: publish() from any thread.
class MoverServer {
 public:
  /// Answers one request: its members but `version`, which was checked, and `op`. Called from the
  /// server's one thread: must not block.
  using Handler =
      std::function<MoverAnswer(const std::string& op, const boost::json::object& request)>;

  /// Listens at `path`, in place of what is there. Signals are blocked in its thread.
  static Result<std::unique_ptr<MoverServer>> start(const std::string& path, Handler handler);
  /// Sends what was published, as far as it can be sent at once; takes the socket away.
  ~MoverServer();
  MoverServer(const MoverServer&) = delete;
  MoverServer& operator=(const MoverServer&) = delete;

  /// To all who subscribed. One who does not read is left behind: disconnected.
  void publish(const boost::json::object& event);

 private:
  struct Impl;
  explicit MoverServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vhdxm::tools
