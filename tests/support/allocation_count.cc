#include "tests/support/allocation_count.h"

#include <cstddef>
#include <cstdlib>

namespace {
thread_local std::uint64_t count = 0;
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VHDXM_HAS_ASAN
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define VHDXM_HAS_ASAN
#endif

#if defined(VHDXM_HAS_ASAN)
// AddressSanitizer has malloc for itself, and tells who asks.
// NOLINTNEXTLINE(bugprone-reserved-identifier,readability-identifier-naming): its name
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void*,
                                                                           std::size_t),
                                                         void (*on_free)(const volatile void*));

namespace {
[[maybe_unused]] const int kInstalled = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t) { ++count; }, [](const volatile void*) {});
}
#else
// In place of the C library's, for every object of the program.
extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t items, std::size_t bytes);
void* __libc_realloc(void* memory, std::size_t bytes);

void* malloc(std::size_t bytes) {
  ++count;
  return __libc_malloc(bytes);
}
void* calloc(std::size_t items, std::size_t bytes) {
  ++count;
  return __libc_calloc(items, bytes);
}
void* realloc(void* memory, std::size_t bytes) {
  ++count;
  return __libc_realloc(memory, bytes);
}
}
#endif

namespace vhdxm::test {

std::uint64_t allocation_count() {
  return count;
}

}  // namespace vhdxm::test
