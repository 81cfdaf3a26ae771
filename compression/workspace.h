// Memory that a codec works in: one anonymous mapping, made once and never grown.
#pragma once

#include <cstddef>

namespace vhdxm::compression {

/// Page-aligned and zero. A page costs memory from its first use. Aborts if there is no address
/// space.
class Workspace {
 public:
  /// Units: bytes, greater than zero.
  explicit Workspace(std::size_t bytes);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  std::size_t bytes_;
  void* data_;
};

}  // namespace vhdxm::compression
