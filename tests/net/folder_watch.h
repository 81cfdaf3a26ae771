// Sees every file that is opened, made, read or renamed in a folder, by whomever.
#pragma once

#include <string>
#include <vector>

namespace vhdxm::test {

class FolderWatch {
 public:
  explicit FolderWatch(const std::string& folder);
  ~FolderWatch();
  FolderWatch(const FolderWatch&) = delete;
  FolderWatch& operator=(const FolderWatch&) = delete;

  /// The names of what was touched since the last call; "." for the folder itself.
  std::vector<std::string> touched();

 private:
  int fd_ = -1;
};

}  // namespace vhdxm::test
