#include "compression/errc.h"

namespace vhdxm::compression {
namespace {

const char* sentence(Errc errc) {
  switch (errc) {
    case Errc::kNotZstd:
      return "not a zstd frame";
    case Errc::kSkippable:
      return "a skippable zstd frame, which has no content";
    case Errc::kBadHeader:
      return "a zstd frame header that breaks a rule";
    case Errc::kWindowTooLarge:
      return "a zstd frame with a larger window than is allowed";
    case Errc::kDictionary:
      return "a zstd frame that needs a dictionary";
    case Errc::kTruncated:
      return "a zstd frame that is cut short";
    case Errc::kTrailing:
      return "more bytes than the zstd frame";
    case Errc::kTooLong:
      return "a zstd frame with more content than the extent";
    case Errc::kTooShort:
      return "a zstd frame with less content than the extent";
    case Errc::kCorrupt:
      return "a corrupt zstd frame";
  }
  return "unknown error";
}

class CompressionCategory final : public boost::system::error_category {
 public:
  const char* name() const noexcept override { return "compression"; }
  std::string message(int value) const override { return sentence(static_cast<Errc>(value)); }
};

}  // namespace

error_code make_error_code(Errc errc) {
  static const CompressionCategory category;
  return {static_cast<int>(errc), category};
}

}  // namespace vhdxm::compression
