// A disk that is arriving, as clients see it who are there before it is: a guest that waits to be
// started where its disk is going to is connected already, and asks for its size, and reads a
// little.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "vhdx/description.h"

namespace vhdxm::tools {

/// Thread safety: all members may be called from any thread.
class ArrivingDisk {
 public:
  /// `path`: what it is called when it has arrived. Errors: the file's, and those of VHDX files:
  /// nothing of it has arrived yet.
  static Result<ArrivingDisk> look(const std::string& path);

  std::uint64_t size_bytes() const { return geometry_.virtual_size_bytes; }
  const vhdx::Geometry& geometry() const { return geometry_; }

  /// What has arrived of it by now, which is not the disk: zeroes where nothing has, and older
  /// content where newer is on its way. Errors: as look(); somebody else writes to the file.
  Result<void> read(std::uint64_t offset, std::span<std::byte> out) const;

 private:
  ArrivingDisk(std::string path, const vhdx::Geometry& geometry)
      : path_(std::move(path)), geometry_(geometry) {}

  std::string path_;
  vhdx::Geometry geometry_;
};

}  // namespace vhdxm::tools
