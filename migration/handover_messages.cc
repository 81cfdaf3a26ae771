#include "migration/handover_messages.h"

#include <array>

namespace vhdxm::migration {

const char* name_of(const HandoverMessage& message) {
  static constexpr std::array<const char*, std::variant_size_v<HandoverMessage>> kNames = {
      "Prepare",  "Prepared", "PrepareRefused", "Void",  "Voided",
      "Released", "Owned",    "Query",          "Answer"};
  return kNames[message.index()];
}

}  // namespace vhdxm::migration
