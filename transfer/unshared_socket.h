// Sockets that no program inherits which this process starts meanwhile.
//
// A library cannot know when the program that it is part of starts another, perhaps in another
// thread: a connection that lives on there is never seen to end by the peer, and a port stays
// taken. Asio opens and accepts without the flag, so it is handed sockets that have it from the
// beginning.
#pragma once

#include <boost/asio/ip/tcp.hpp>

#include "base/error.h"

namespace vhdxm::transfer {

using boost::asio::ip::tcp;

/// Return why they could not; nothing if they could. Require: the socket is closed.
error_code open_unshared(tcp::socket& socket, const tcp& protocol);
error_code open_unshared(tcp::acceptor& acceptor, const tcp& protocol);

/// Accepts a connection that waits; would_block if there is none.
/// Requires: `acceptor` does not block (native_non_blocking()), `socket` is closed.
error_code accept_unshared(tcp::acceptor& acceptor, tcp::socket& socket);

}  // namespace vhdxm::transfer
