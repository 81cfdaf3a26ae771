#include "vhdx/finding_list.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace vhdxm::vhdx {
namespace {

constexpr std::string_view kSpecification = "[MS-VHDX] ";

}  // namespace

bool CheckReport::corrupt() const {
  return std::any_of(findings.begin(), findings.end(), [](const Finding& finding) {
    return finding.severity == Finding::Severity::kCorrupt;
  });
}

void FindingList::add(Severity severity, const std::string& rule, std::string what,
                      std::uint64_t offset) {
  Finding finding{.severity = severity,
                  .rule = rule.empty() ? rule : std::string(kSpecification) + rule,
                  .what = std::move(what),
                  .offset = offset};
  if (report_.findings.size() < kFindingsMax) {
    report_.findings.push_back(std::move(finding));
  } else {
    ++report_.suppressed;
    if (severity == Severity::kCorrupt && !is_corrupt_) {
      report_.findings.back() = std::move(finding);
    }
  }
  is_corrupt_ |= severity == Severity::kCorrupt;
}

void FindingList::add_error(Severity severity, const Error& error) {
  // Errors of the format end their place with ", [MS-VHDX] 2.2.2".
  const std::string_view where = error.where;
  const std::size_t at = where.find(kSpecification);
  std::string rule;
  if (at != where.npos) {
    const std::string_view section = where.substr(at + kSpecification.size());
    rule = section.substr(0, std::min(section.size(), section.find_first_not_of("0123456789.")));
  }
  Error plain = error;
  plain.subject.clear();
  add(severity, rule, describe(plain), error.offset);
}

std::string braced(const Guid& guid) {
  return "{" + to_string(guid) + "}";
}

}  // namespace vhdxm::vhdx
