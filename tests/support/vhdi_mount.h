// A disk as libvhdi reads it, through vhdimount (FUSE).
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <string>

#include "tests/support/program.h"

namespace vhdxm::test {

/// Mounts `image` with vhdimount for as long as it lives.
class VhdiMount {
 public:
  VhdiMount(const std::string& image, const std::string& folder) : folder_(folder) {
    std::filesystem::create_directory(folder_);
    mounted_ = run_program({"vhdimount", image, folder_}).status == 0 &&
               std::filesystem::exists(folder_ + "/vhdi1");
  }
  ~VhdiMount() {
    if (mounted_) run_program({"umount", folder_});
  }
  VhdiMount(const VhdiMount&) = delete;
  VhdiMount& operator=(const VhdiMount&) = delete;

  bool mounted() const { return mounted_; }
  /// The disk's content; the leaf of a chain is the last of them.
  std::string last() const {
    std::string path;
    for (int i = 1; std::filesystem::exists(fmt::format("{}/vhdi{}", folder_, i)); ++i) {
      path = fmt::format("{}/vhdi{}", folder_, i);
    }
    return path;
  }

 private:
  const std::string folder_;
  bool mounted_ = false;
};

}  // namespace vhdxm::test
