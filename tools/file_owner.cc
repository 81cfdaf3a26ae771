#include "tools/file_owner.h"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>

#include <charconv>
#include <string_view>

namespace vhdxm::tools {
namespace {

/// The number that chown(2) takes for "leave it".
constexpr std::uint32_t kNobodyId = ~std::uint32_t{0};

std::optional<std::uint32_t> number(std::string_view text, int base) {
  std::uint32_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, base);
  if (text.empty() || error != std::errc{} || stop != end || value == kNobodyId) {
    return std::nullopt;
  }
  return value;
}

CommandFailure unknown(const char* what, const std::string& name) {
  return usage_failure(fmt::format("--owner: this host knows no {} '{}'", what, name),
                       "Give USER, USER:GROUP or :GROUP, by name or number.");
}

}  // namespace

boost::system::result<FileOwner, CommandFailure> parse_owner(const std::string& text) {
  const auto colon = text.find(':');
  const std::string user = text.substr(0, colon);
  const std::string group = colon == std::string::npos ? "" : text.substr(colon + 1);
  FileOwner owner;
  // As chown(1) does: a name goes before a number.
  if (!user.empty()) {
    if (const passwd* entry = ::getpwnam(user.c_str())) {
      owner.uid = entry->pw_uid;
    } else {
      owner.uid = number(user, 10);
    }
    if (!owner.uid) return unknown("user", user);
  }
  if (!group.empty()) {
    if (const ::group* entry = ::getgrnam(group.c_str())) {
      owner.gid = entry->gr_gid;
    } else {
      owner.gid = number(group, 10);
    }
    if (!owner.gid) return unknown("group", group);
  }
  if (!owner.uid && !owner.gid) return unknown("user", text);
  return owner;
}

boost::system::result<std::uint32_t, CommandFailure> parse_file_mode(const std::string& text) {
  const auto mode = number(text, 8);
  if (!mode || *mode > 0777) {
    return usage_failure(fmt::format("--file-mode: '{}' is not an octal mode up to 0777", text),
                         "For example --file-mode 0640.");
  }
  return *mode;
}

}  // namespace vhdxm::tools
