#include "tools/nbd_uri.h"

#include <fmt/format.h>

#include <string_view>

namespace vhdxm::tools {

namespace {

/// As in a URI; `plain`: what stands for itself besides letters and digits.
std::string uri_escaped(const std::string& text, std::string_view plain) {
  std::string escaped;
  for (const char one : text) {
    const bool itself = (one >= '0' && one <= '9') || (one >= 'a' && one <= 'z') ||
                        (one >= 'A' && one <= 'Z') || plain.find(one) != std::string_view::npos;
    escaped +=
        itself ? std::string(1, one) : fmt::format("%{:02X}", static_cast<unsigned char>(one));
  }
  return escaped;
}

}  // namespace

std::string nbd_uri(const std::string& socket, const std::string& export_name) {
  return fmt::format("nbd+unix:///{}?socket={}", uri_escaped(export_name, "._-~"),
                     uri_escaped(socket, "/._-~"));
}

}  // namespace vhdxm::tools
