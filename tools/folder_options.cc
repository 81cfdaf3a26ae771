#include "tools/folder_options.h"

#include <fmt/format.h>

#include <filesystem>
#include <set>

#include "transfer/wire_text.h"

namespace vhdxm::tools {

std::optional<CommandFailure> take_folders(const std::vector<std::string>& words,
                                           std::map<std::string, std::string>& folders) {
  std::set<std::string> named;
  for (const std::string& word : words) {
    const auto equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const bool has_path = equals != std::string::npos && equals + 1 < word.size();
    if (!has_path || !transfer::is_folder_name(name) || !named.insert(name).second) {
      return usage_failure(
          fmt::format("--folder {}: not NAME=DIR, or that name has a folder already", word),
          "For example --folder fast=/srv/fast; names are letters, digits, '-' and '_', at most "
          "64.");
    }
    folders[name] = std::filesystem::absolute(word.substr(equals + 1)).lexically_normal();
  }
  return std::nullopt;
}

}  // namespace vhdxm::tools
