// The options that shape a new disk, for the commands that make one.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>

#include "tools/command_failure.h"
#include "tools/options.h"
#include "vhdx/description.h"

namespace vhdxm::tools {

class GeometryOptions {
 public:
  void add_to(OptionSet& options);

  /// What was asked for, with Hyper-V's defaults for the rest: dynamic, blocks of 32 MiB (2 MiB in
  /// differencing disks), sectors of 512 bytes on 4096.
  /// Failures: of usage, naming the option and the values that it takes.
  boost::system::result<vhdx::Geometry, CommandFailure> geometry(
      std::uint64_t virtual_size_bytes) const;
  /// The same for a child of `parent`: what was not asked for is the parent's.
  boost::system::result<vhdx::Geometry, CommandFailure> child_geometry(
      std::optional<std::uint64_t> virtual_size_bytes, const vhdx::Geometry& parent) const;

 private:
  bool fixed_ = false;
  std::optional<std::uint64_t> block_size_;
  std::optional<std::uint64_t> logical_sector_;
  std::optional<std::uint64_t> physical_sector_;
};

/// "dynamic, 8 GiB, blocks of 32 MiB, sectors of 512 bytes".
std::string to_text(const vhdx::Geometry& geometry);
/// Members of a JSON object about a disk that was made.
void add_json(const vhdx::Geometry& geometry, boost::json::object& fields);

}  // namespace vhdxm::tools
