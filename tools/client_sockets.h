// The connections that a server in this process has with its clients on a Unix socket.
#pragma once

#include <string>

namespace vhdxm::tools {

/// Makes every one of them end when what its client has sent is answered: the server reads the end
/// of the stream after it. nbdkit has no call for this, and would wait until its clients go.
/// Those that came in by the socket `except` go on.
void end_client_connections(const std::string& except);

}  // namespace vhdxm::tools
