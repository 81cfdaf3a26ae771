#include "migration/handover_text.h"

#include <fmt/format.h>

namespace vhdxm::migration {
namespace {

// "web01.vhdx", "web01.vhdx and web01-data.vhdx", "web01.vhdx and 3 more disks".
std::string some_of(const std::vector<std::string>& names) {
  if (names.size() == 1) return names.front();
  if (names.size() == 2) return fmt::format("{} and {}", names.front(), names.back());
  return fmt::format("{} and {} more disks", names.front(), names.size() - 1);
}

std::string says(const JobRecord& record, std::string_view what) {
  std::vector<std::string> names;
  for (const JobDisk& disk : record.disks) names.push_back(disk.place.name);
  return fmt::format("{}: {}", some_of(names), what);
}

constexpr std::string_view kSourceOwns = "the source owns it.";

}  // namespace

int exit_code_of(HandoverEnd::Kind kind) {
  switch (kind) {
    case HandoverEnd::Kind::kDone:
    case HandoverEnd::Kind::kReclaimed:
      return 0;
    case HandoverEnd::Kind::kFailed:
      return 1;
    case HandoverEnd::Kind::kNetwork:
      return 5;
    case HandoverEnd::Kind::kData:
      return 6;
    case HandoverEnd::Kind::kCancelled:
      return 7;
    case HandoverEnd::Kind::kUnconfirmed:
      return 8;
  }
  return 1;
}

std::string owner_sentence(const JobRecord& record) {
  switch (record.state) {
    case JobState::kActive:
    case JobState::kReceiving:
      return says(record, kSourceOwns);
    case JobState::kReleased:
      return says(record,
                  "the source released it and the destination has not confirmed it: the "
                  "destination owns it, or nobody does until the two hosts meet again.");
    case JobState::kConfirmed:
      return says(record, "the destination owns it.");
    case JobState::kReclaimed:
      return says(record, "the source owns it again, taken back by force.");
    case JobState::kPrepared:
      return says(record,
                  "the source owns it, unless it has released it: this host waits for its word.");
    case JobState::kOwned:
      return says(record, record.forced ? "this host, the destination, owns it, taken by force."
                                        : "this host, the destination, owns it.");
  }
  return {};
}

std::string source_owns_sentence(const std::vector<std::string>& names) {
  return fmt::format("{}: {}", some_of(names), kSourceOwns);
}

std::string uncertain_sentence(const JobRecord& record) {
  return says(record,
              "the release could not be written for certain, so nobody may write to it: nothing "
              "was sent, and the next start of this host says whether it still owns it.");
}

std::string doubt_sentence(const JobRecord& record) {
  return says(record,
              "it is in doubt who owns it: the record of the job that was handing it over is gone. "
              "Nobody may write to it until the other host was asked.");
}

}  // namespace vhdxm::migration
