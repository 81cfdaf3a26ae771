#include "tools/endpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace vhdxm::tools {
namespace {

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  if (text.empty() || error != std::errc{} || stop != end) return std::nullopt;
  return port;
}

/// What no host name or address has: spaces, control characters, and what marks the other parts.
bool can_be_host(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f || c == '[' || c == ']' || c == '/';
  });
}

}  // namespace

std::optional<Endpoint> parse_listen_endpoint(std::string_view text) {
  Endpoint endpoint;
  std::string_view port;
  bool has_port = false;
  if (text.starts_with('[')) {
    const auto close = text.find(']');
    if (close == std::string_view::npos || close == 1) return std::nullopt;
    endpoint.host = text.substr(1, close - 1);
    const std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && rest[0] != ':') return std::nullopt;
    has_port = !rest.empty();
    if (has_port) port = rest.substr(1);
  } else if (std::count(text.begin(), text.end(), ':') > 1) {
    endpoint.host = text;
  } else {
    const auto colon = text.find(':');
    endpoint.host = text.substr(0, colon);
    has_port = colon != std::string_view::npos;
    if (has_port) port = text.substr(colon + 1);
  }
  if (!can_be_host(endpoint.host) || (endpoint.host.empty() && !has_port)) return std::nullopt;
  if (has_port) {
    endpoint.port = parse_port(port);
    if (!endpoint.port) return std::nullopt;
  }
  return endpoint;
}

std::optional<Endpoint> parse_endpoint(std::string_view text) {
  auto endpoint = parse_listen_endpoint(text);
  if (endpoint && endpoint->host.empty()) return std::nullopt;
  return endpoint;
}

std::string to_text(std::string_view host, std::uint16_t port) {
  if (host.find(':') != std::string_view::npos) return fmt::format("[{}]:{}", host, port);
  return fmt::format("{}:{}", host, port);
}

}  // namespace vhdxm::tools
