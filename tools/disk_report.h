// Everything worth knowing about one VHDX file, gathered for `info`.
#pragma once

#include <array>
#include <boost/json/object.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "vhdx/header.h"
#include "vhdx/layer.h"

namespace vhdxm::tools {

struct DiskReport {
  std::string path;
  vhdx::Description description;
  vhdx::Header header;        ///< The current one.
  vhdx::HeaderSlots headers;  ///< Both as they stand in the file.
  std::vector<vhdx::Region> regions;
  std::string creator;  ///< UTF-8; may be empty, may hold anything.
  std::uint64_t replayed_entries = 0;
  std::uint64_t file_bytes = 0;
  std::uint64_t allocated_bytes = 0;  ///< What the file takes on its file system.
  /// Payload blocks by state; the index is vhdx::PayloadState's number.
  std::array<std::uint64_t, 8> blocks{};
};

/// `path` is where the layer's file is. Cost: reads the whole BAT.
Result<DiskReport> report_on(const std::string& path, vhdx::Layer& layer);

/// "type              dynamic\n..." for a person; every line indented by two.
std::string to_text(const DiskReport& report);

/// The members of {"type":"info"}, and of each of its parents.
boost::json::object to_json(const DiskReport& report);

}  // namespace vhdxm::tools
