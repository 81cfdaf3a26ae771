#include "migration/handover_messages.h"

#include <array>

namespace vhdxm::migration {

Query query_about(const JobRecord& record) {
  Query query{.job = record.job};
  for (const JobDisk& disk : record.disks) query.disks.push_back(disk.terms.id);
  return query;
}

Answer answer_of(const JobRecord& record) {
  return {.job = record.job,
          .found = RecordFound::kReadable,
          .state = record.state,
          .terms = record.terms()};
}

const JobId& job_of(const HandoverMessage& message) {
  return std::visit(
      [](const auto& m) -> const JobId& {
        if constexpr (
            requires { m.terms; } && !requires { m.job; }) {
          return m.terms.job;
        } else {
          return m.job;
        }
      },
      message);
}

const char* name_of(const HandoverMessage& message) {
  static constexpr std::array<const char*, std::variant_size_v<HandoverMessage>> kNames = {
      "Prepare",  "Prepared", "PrepareRefused", "Void",  "Voided",
      "Released", "Owned",    "Query",          "Answer"};
  return kNames[message.index()];
}

}  // namespace vhdxm::migration
