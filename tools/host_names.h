// What this host is called by others.
#pragma once

#include <string>
#include <vector>

namespace vhdxm::tools {

/// The host's name as it knows it itself; "localhost" where it has none.
std::string own_host_name();

/// Addresses of interfaces that are up, without loopback and link-local ones; IPv4 first.
std::vector<std::string> own_addresses();

}  // namespace vhdxm::tools
