#include "tools/job_files.h"

#include <fmt/format.h>

namespace vhdxm::tools {

std::string job_lock_path(const std::string& run_folder, const std::string& id) {
  return fmt::format("{}/jobs/{}.lock", run_folder, id);
}

std::string job_socket_path(const std::string& run_folder, const std::string& id) {
  return fmt::format("{}/jobs/{}.sock", run_folder, id);
}

std::string blocked_advice(const std::string& id) {
  return fmt::format(
      "The service asks the other host again by itself; `vhdx-migrate resolve {}` "
      "asks it now.",
      id);
}

transfer::Mode mode_named(const std::string& name) {
  for (const transfer::Mode mode : {transfer::Mode::kPlain, transfer::Mode::kCompress}) {
    if (name == transfer::to_string(mode)) return mode;
  }
  return transfer::Mode::kAuto;
}

}  // namespace vhdxm::tools
