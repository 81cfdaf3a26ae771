// How NBD clients are told where a disk is.
#pragma once

#include <string>

namespace vhdxm::tools {

/// "nbd+unix:///?socket=/run/web01.sock", or "nbd+unix:///web01?socket=..." of the export "web01",
/// as nbdkit, libnbd and QEMU take it.
std::string nbd_uri(const std::string& socket, const std::string& export_name = {});

}  // namespace vhdxm::tools
