// One message on a connection that is no control connection.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "transfer/messages.h"
#include "transfer/secure_socket.h"

namespace vhdxm::transfer {

/// Not a byte more than the message is taken: what follows may be anything. Its body has
/// kEarlyBodyBytesMax at most. Throws TransferError: kPeerClosed, kTimeout, kProtocol.
asio::awaitable<Message> read_early_message(SecureSocket& socket);
asio::awaitable<void> write_early_message(SecureSocket& socket, Message message);

}  // namespace vhdxm::transfer
