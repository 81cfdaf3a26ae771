#include "tools/nbd_uri.h"

#include <fmt/format.h>

#include <string_view>

namespace vhdxm::tools {

std::string nbd_uri(const std::string& socket) {
  std::string escaped;
  for (const char one : socket) {
    const bool plain = (one >= '0' && one <= '9') || (one >= 'a' && one <= 'z') ||
                       (one >= 'A' && one <= 'Z') ||
                       std::string_view("/._-~").find(one) != std::string_view::npos;
    escaped +=
        plain ? std::string(1, one) : fmt::format("%{:02X}", static_cast<unsigned char>(one));
  }
  return fmt::format("nbd+unix:///?socket={}", escaped);
}

}  // namespace vhdxm::tools
