// A client of an NBD server of which several threads ask things at once.
//
// libnbd's calls that wait serve one thread at a time; here one thread does what is to be done on
// the connection, and those who ask wait for their own answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace vhdxm::tools {

/// Thread safety: all members may be called from any thread.
/// Errors of the requests: the errno that the server answered; ENOTCONN when the connection ended
/// before there was an answer: whether it was done is not known then.
class NbdPipe {
 public:
  /// Speaks NBD through `socket`, which it takes, whatever comes of it. Blocks until the server has
  /// answered, and it is not asked by anybody else; a server that says nothing is for whoever holds
  /// the other end of the socket to end.
  static Result<std::unique_ptr<NbdPipe>> connect(int socket, const std::string& export_name);
  /// Ends the connection. Requires: no request is under way.
  ~NbdPipe();
  NbdPipe(const NbdPipe&) = delete;
  NbdPipe& operator=(const NbdPipe&) = delete;

  std::uint64_t size_bytes() const;

  Result<void> read(std::uint64_t offset, std::span<std::byte> out);
  Result<void> write(std::uint64_t offset, std::span<const std::byte> bytes,
                     bool force_unit_access);
  Result<void> zero(std::uint64_t offset, std::uint64_t length, bool may_trim,
                    bool force_unit_access);
  Result<void> trim(std::uint64_t offset, std::uint64_t length, bool force_unit_access);
  Result<void> flush();

  /// Requests under way, and all later ones, fail with ENOTCONN.
  void stop();

 private:
  struct Impl;
  explicit NbdPipe(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace vhdxm::tools
