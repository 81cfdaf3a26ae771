#include "tools/geometry_options.h"

#include <fmt/format.h>

#include <bit>
#include <string>

#include "base/size_text.h"
#include "vhdx/format.h"

namespace vhdxm::tools {
namespace {

using GeometryResult = boost::system::result<vhdx::Geometry, CommandFailure>;

constexpr std::uint32_t kBlockBytes = 32 * vhdx::kMiB;
constexpr std::uint32_t kChildBlockBytes = 2 * vhdx::kMiB;

std::optional<CommandFailure> refuse_sector(const char* option, std::uint64_t bytes) {
  if (bytes == 512 || bytes == 4096) return std::nullopt;
  return usage_failure(fmt::format("{}: {} is not a sector size of the format", option, bytes),
                       "Sectors have 512 or 4096 bytes.");
}

std::optional<CommandFailure> refuse_geometry(const vhdx::Geometry& geometry) {
  const std::uint64_t size = geometry.virtual_size_bytes;
  if (size == 0 || size > vhdx::kVirtualSizeMax || size % geometry.logical_sector_bytes != 0) {
    return usage_failure(
        fmt::format("a disk of {} bytes: the size must be a multiple of the sector size, {}, and "
                    "from one sector to 64 TiB",
                    size, geometry.logical_sector_bytes),
        "Choose such a size, e.g. --size 8G.");
  }
  // What is left to be wrong is said by the rule that refuses it.
  if (auto valid = geometry.validate(); valid.has_error()) {
    CommandFailure failure = failure_of(valid.error());
    failure.exit = ExitCode::kUsage;
    return failure;
  }
  return std::nullopt;
}

}  // namespace

void GeometryOptions::add_to(OptionSet& options) {
  options.flag("--fixed", fixed_, "allocate all blocks now");
  options.size("--block-size", block_size_,
               "1M to 256M, a power of two; 32M unless told, 2M with a parent");
  options.size("--logical-sector", logical_sector_, "512 (default) or 4096");
  options.size("--physical-sector", physical_sector_, "512 or 4096 (default)");
}

GeometryResult GeometryOptions::geometry(std::uint64_t virtual_size_bytes) const {
  vhdx::Geometry geometry{.virtual_size_bytes = virtual_size_bytes,
                          .block_bytes = kBlockBytes,
                          .logical_sector_bytes = 512,
                          .physical_sector_bytes = 4096,
                          .type = fixed_ ? vhdx::DiskType::kFixed : vhdx::DiskType::kDynamic};
  if (block_size_) {
    const std::uint64_t bytes = *block_size_;
    if (bytes < vhdx::kBlockBytesMin || bytes > vhdx::kBlockBytesMax ||
        !std::has_single_bit(bytes)) {
      return usage_failure(fmt::format("--block-size: {} is not a block size of the format", bytes),
                           "Blocks have 1M to 256M, a power of two.");
    }
    geometry.block_bytes = static_cast<std::uint32_t>(bytes);
  }
  if (logical_sector_) {
    if (auto refused = refuse_sector("--logical-sector", *logical_sector_)) return *refused;
    geometry.logical_sector_bytes = static_cast<std::uint32_t>(*logical_sector_);
  }
  if (physical_sector_) {
    if (auto refused = refuse_sector("--physical-sector", *physical_sector_)) return *refused;
    geometry.physical_sector_bytes = static_cast<std::uint32_t>(*physical_sector_);
  }
  if (auto refused = refuse_geometry(geometry)) return *refused;
  return geometry;
}

GeometryResult GeometryOptions::child_geometry(std::optional<std::uint64_t> virtual_size_bytes,
                                               const vhdx::Geometry& parent) const {
  if (fixed_) {
    return usage_failure("--fixed and --parent exclude each other",
                         "A differencing disk allocates blocks as they are written.");
  }
  if (logical_sector_ && *logical_sector_ != parent.logical_sector_bytes) {
    return usage_failure(fmt::format("--logical-sector: {} is not the parent's, which is {}",
                                     *logical_sector_, parent.logical_sector_bytes),
                         "Leave the option out: child and parent have the same logical sectors.");
  }
  GeometryOptions with_defaults = *this;
  with_defaults.block_size_ = block_size_.value_or(kChildBlockBytes);
  with_defaults.logical_sector_ = parent.logical_sector_bytes;
  with_defaults.physical_sector_ = physical_sector_.value_or(parent.physical_sector_bytes);
  GeometryResult result =
      with_defaults.geometry(virtual_size_bytes.value_or(parent.virtual_size_bytes));
  if (result.has_value()) result->type = vhdx::DiskType::kDifferencing;
  return result;
}

std::string to_text(const vhdx::Geometry& geometry) {
  return fmt::format("{}, {}, blocks of {}, sectors of {} bytes", vhdx::to_string(geometry.type),
                     format_size(geometry.virtual_size_bytes), format_size(geometry.block_bytes),
                     geometry.logical_sector_bytes);
}

void add_json(const vhdx::Geometry& geometry, boost::json::object& fields) {
  fields["disk_type"] = vhdx::to_string(geometry.type);
  fields["virtual_bytes"] = geometry.virtual_size_bytes;
  fields["block_bytes"] = geometry.block_bytes;
  fields["logical_sector_bytes"] = geometry.logical_sector_bytes;
  fields["physical_sector_bytes"] = geometry.physical_sector_bytes;
}

}  // namespace vhdxm::tools
