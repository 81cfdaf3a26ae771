// How NBD clients are told where a disk is.
#pragma once

#include <string>

namespace vhdxm::tools {

/// "nbd+unix:///?socket=/run/web01.sock", as nbdkit, libnbd and QEMU take it.
std::string nbd_uri(const std::string& socket);

}  // namespace vhdxm::tools
