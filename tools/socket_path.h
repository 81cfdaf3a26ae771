// The Unix socket that a server is found at: made under another name, shown when the server is
// ready, and taken away at the end.
#pragma once

#include <sys/types.h>

#include <boost/system/result.hpp>
#include <string>

#include "tools/command_failure.h"

namespace vhdxm::tools {

class SocketPath {
 public:
  /// Sees to it that a server can listen at `path`. A socket that nobody listens at any more, left
  /// by a server that was killed, is removed. Failures: something else has the name, a server that
  /// listens among others; it is too long for a socket.
  static boost::system::result<SocketPath, CommandFailure> claim(const std::string& path);
  /// Removes the socket, under whichever name it has.
  ~SocketPath();
  SocketPath(SocketPath&& other) noexcept;
  SocketPath& operator=(SocketPath&&) = delete;

  const std::string& path() const { return path_; }
  /// Where the server is to make it.
  const std::string& hidden() const { return hidden_; }
  /// Gives it its name, without replacing anything. Errors: the system's, EEXIST among them.
  Result<void> show();

 private:
  explicit SocketPath(std::string path) : path_(std::move(path)), hidden_(path_ + "~") {}

  std::string path_;
  std::string hidden_;
  bool hidden_made_ = true;  ///< Perhaps.
  ino_t shown_inode_ = 0;    ///< Of the socket at path_; 0 if it is not ours.
};

}  // namespace vhdxm::tools
