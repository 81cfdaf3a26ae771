#include "base/file.h"

#include <utility>

namespace vhdxm {

Result<bool> File::share_from(File& /*source*/, std::uint64_t /*source_offset*/,
                              std::uint64_t /*offset*/, std::uint64_t /*length*/) {
  return false;
}

Result<void> read_exact_at(File& file, std::uint64_t offset, std::span<std::byte> out,
                           const char* where, Reading reading) {
  auto got = reading == Reading::kPassing ? file.read_passing_at(offset, out)
                                          : file.read_some_at(offset, out);
  if (got.has_error()) return std::move(got).error().about(file.name());
  if (*got != out.size()) {
    return Error{.code = BaseErrc::kShortRead,
                 .where = where,
                 .offset = offset,
                 .found = *got,
                 .expected = out.size(),
                 .subject = file.name()};
  }
  return {};
}

}  // namespace vhdxm
