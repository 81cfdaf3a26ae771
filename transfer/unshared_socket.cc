#include "transfer/unshared_socket.h"

#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/error.hpp>
#include <cerrno>

namespace vhdxm::transfer {
namespace {

error_code error_of_call() {
  return {errno, boost::system::system_category()};
}

// Takes `fd` over, or closes it.
template <class Socket>
error_code take_handle(Socket& socket, const tcp& protocol, int fd) {
  error_code ec;
  socket.assign(protocol, fd, ec);
  if (ec) ::close(fd);
  return ec;
}

template <class Socket>
error_code open_any(Socket& socket, const tcp& protocol) {
  const int fd = ::socket(protocol.family(), protocol.type() | SOCK_CLOEXEC, protocol.protocol());
  if (fd < 0) return error_of_call();
  return take_handle(socket, protocol, fd);
}

}  // namespace

error_code open_unshared(tcp::socket& socket, const tcp& protocol) {
  return open_any(socket, protocol);
}

error_code open_unshared(tcp::acceptor& acceptor, const tcp& protocol) {
  return open_any(acceptor, protocol);
}

error_code accept_unshared(tcp::acceptor& acceptor, tcp::socket& socket) {
  error_code ec;
  const tcp protocol = acceptor.local_endpoint(ec).protocol();
  if (ec) return ec;
  for (;;) {
    const int fd = ::accept4(acceptor.native_handle(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) return take_handle(socket, protocol, fd);
    // A connection that is gone before it is taken is no reason to wait for others.
    if (errno != EINTR && errno != ECONNABORTED && errno != EPROTO) return error_of_call();
  }
}

}  // namespace vhdxm::transfer
