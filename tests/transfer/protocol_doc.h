// docs/protocol.md as data: its tables, by the heading they stand under.
#pragma once

#include <string>
#include <vector>

namespace vhdxm::transfer {

struct DocTable {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;  ///< Each as long as `columns`.
};

/// The lines of a file of the source tree. Fails the test if it is not there.
std::vector<std::string> source_lines(const std::string& path);

class ProtocolDoc {
 public:
  /// Reads docs/protocol.md.
  ProtocolDoc();

  /// The first table under a heading; fails the test if there is none.
  DocTable table(const std::string& heading) const;
  bool has_heading(const std::string& heading) const;
  /// Whether a table stands under the heading, before the next one.
  bool has_table(const std::string& heading) const;

 private:
  /// The lines between the heading and the next.
  std::vector<std::string> section(const std::string& heading) const;

  std::vector<std::string> lines_;
};

/// Enumerators of `enum class name` in a header of the source tree: {number, name}, as text.
std::vector<std::vector<std::string>> enumerators(const std::string& header,
                                                  const std::string& name);

/// Members of `struct name` in a header of the source tree.
std::vector<std::string> members(const std::string& header, const std::string& name);

}  // namespace vhdxm::transfer
