// Which MiBs of a file belong to which object, so that no two objects share one and none is lost.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "vhdx/format.h"

namespace vhdxm::vhdx {

/// Memory: one bit for each MiB of the file, at most 16 MiB; objects past kFileBytesMax are not
/// kept.
class SpaceMap {
 public:
  explicit SpaceMap(std::uint64_t file_bytes);

  /// Units of all ranges: bytes, multiples of 1 MiB; what lies past the end of the file is ignored.
  /// Requires: begin + length does not wrap.

  /// Takes a range for an object that has a name. Returns the name of the one that has some of it
  /// already.
  std::optional<std::string> take_named(const std::string& name, std::uint64_t begin,
                                        std::uint64_t length);
  /// Takes a range for a block. Returns the first byte of it that is taken already.
  std::optional<std::uint64_t> take(std::uint64_t begin, std::uint64_t length);
  /// The first byte of a range that is taken.
  std::optional<std::uint64_t> first_taken(std::uint64_t begin, std::uint64_t length) const;
  /// The named object at `offset`.
  std::optional<std::string> name_at(std::uint64_t offset) const;

  struct Unused {
    std::uint64_t bytes = 0;
    std::uint64_t first_offset = 0;
  };
  /// What of the file no object has; a last part of less than 1 MiB is not looked at.
  Unused unused() const;

 private:
  struct Named {
    std::string name;
    std::uint64_t begin;
    std::uint64_t end;
  };
  std::size_t clip(std::uint64_t offset) const;

  std::vector<bool> taken_;  ///< Of each MiB.
  std::vector<Named> named_;
};

}  // namespace vhdxm::vhdx
