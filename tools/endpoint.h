// HOST, HOST:PORT and [ADDRESS]:PORT as people write them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vhdxm::tools {

struct Endpoint {
  std::string host;  ///< Without brackets.
  std::optional<std::uint16_t> port;

  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

/// Of "web", "web:6600", "10.0.0.5:6600", "[fe80::1%eth0]:6600", "[::1]", and a bare IPv6 address,
/// whose colons cannot be told from a port's: it has none. nullopt: none of these, an empty host,
/// or a port that is not 0-65535.
std::optional<Endpoint> parse_endpoint(std::string_view text);

/// As parse_endpoint(), but the host may be empty: ":6600" is every address.
std::optional<Endpoint> parse_listen_endpoint(std::string_view text);

/// "web:6600" or "[::1]:6600".
std::string to_text(std::string_view host, std::uint16_t port);

}  // namespace vhdxm::tools
