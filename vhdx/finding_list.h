// The findings of one check, as they are gathered.
#pragma once

#include <cstdint>
#include <string>

#include "base/guid.h"
#include "vhdx/check.h"

namespace vhdxm::vhdx {

/// Keeps at most kFindingsMax findings, and never lets notes crowd out the news that a file is
/// corrupt.
class FindingList {
 public:
  using Severity = Finding::Severity;

  /// `rule` is a section, "2.5.1"; the name of the specification is put before it. An empty one is
  /// a finding that no rule is about.
  void add(Severity severity, const std::string& rule, std::string what,
           std::uint64_t offset = Error::kNoOffset);
  void note(const std::string& rule, std::string what, std::uint64_t offset = Error::kNoOffset) {
    add(Severity::kNote, rule, std::move(what), offset);
  }
  void warning(const std::string& rule, std::string what, std::uint64_t offset = Error::kNoOffset) {
    add(Severity::kWarning, rule, std::move(what), offset);
  }
  void corrupt(const std::string& rule, std::string what, std::uint64_t offset = Error::kNoOffset) {
    add(Severity::kCorrupt, rule, std::move(what), offset);
  }
  /// What a reader of the format refuses, in its words.
  void add_error(Severity severity, const Error& error);

  bool is_corrupt() const { return is_corrupt_; }
  CheckReport take() { return std::move(report_); }

 private:
  CheckReport report_;
  bool is_corrupt_ = false;
};

/// "{2dc27766-...}": how a finding names an object that has no other name.
std::string braced(const Guid& guid);

}  // namespace vhdxm::vhdx
