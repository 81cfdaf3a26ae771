#include "compression/workspace.h"

#include <sys/mman.h>

#include "base/check.h"

namespace vhdxm::compression {

Workspace::Workspace(std::size_t bytes)
    : bytes_(bytes),
      data_(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
  VHDXM_CHECK(data_ != MAP_FAILED);
}

Workspace::~Workspace() {
  ::munmap(data_, bytes_);
}

}  // namespace vhdxm::compression
