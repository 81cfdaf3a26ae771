// Programmer errors: a broken invariant aborts with file, line and the condition.
//
// Never for input bytes, which are refused with an Error.
#pragma once

#include <cstdio>
#include <cstdlib>

#define VHDXM_CHECK(condition)                                                               \
  do {                                                                                       \
    if (!(condition)) [[unlikely]] {                                                         \
      std::fprintf(stderr, "%s:%d: broken invariant: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                          \
    }                                                                                        \
  } while (false)
