#include "tests/transfer/protocol_doc.h"

#include <fmt/format.h>

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace vhdxm::transfer {
namespace {

std::string trimmed(const std::string& text) {
  const auto begin = text.find_first_not_of(" \t");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> found;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) found.push_back(trimmed(part));
  return found;
}

/// "| a | b |" as {"a", "b"}.
std::vector<std::string> cells(const std::string& line) {
  return split(line.substr(1, line.rfind('|') - 1), '|');
}

bool is_row(const std::string& line) {
  return line.size() > 1 && line[0] == '|';
}

/// The text between "<before>" and the line that closes it, without comments.
std::string body_of(const std::string& header, const std::string& before) {
  std::string body;
  bool inside = false;
  for (const std::string& line : source_lines(header)) {
    const std::string code = trimmed(line.substr(0, line.find("//")));
    if (!inside) {
      inside = code.rfind(before, 0) == 0;
      if (inside && code.ends_with("};")) {  // all on one line
        const auto begin = code.find('{') + 1;
        return code.substr(begin, code.size() - 2 - begin);
      }
      continue;
    }
    if (code == "};") return body;
    body += code + " ";
  }
  ADD_FAILURE() << header << " has no " << before;
  return body;
}

}  // namespace

std::vector<std::string> source_lines(const std::string& path) {
  std::ifstream in(fmt::format("{}/{}", VHDXM_SOURCE_DIR, path));
  EXPECT_TRUE(in) << path;
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

ProtocolDoc::ProtocolDoc() : lines_(source_lines("docs/protocol.md")) {}

std::vector<std::string> ProtocolDoc::section(const std::string& heading) const {
  std::vector<std::string> found;
  bool inside = false;
  for (const std::string& line : lines_) {
    if (line.rfind('#', 0) == 0) {
      inside = trimmed(line.substr(line.find_first_not_of('#'))) == heading;
    } else if (inside) {
      found.push_back(line);
    }
  }
  return found;
}

bool ProtocolDoc::has_heading(const std::string& heading) const {
  return !section(heading).empty();
}

bool ProtocolDoc::has_table(const std::string& heading) const {
  for (const std::string& line : section(heading)) {
    if (is_row(line)) return true;
  }
  return false;
}

DocTable ProtocolDoc::table(const std::string& heading) const {
  DocTable found;
  for (const std::string& line : section(heading)) {
    if (!is_row(line)) {
      if (!found.columns.empty()) break;
      continue;
    }
    const std::vector<std::string> row = cells(line);
    if (found.columns.empty()) {
      found.columns = row;
    } else if (row[0].find("---") == std::string::npos) {
      EXPECT_EQ(row.size(), found.columns.size()) << line;
      if (row.size() == found.columns.size()) found.rows.push_back(row);
    }
  }
  EXPECT_FALSE(found.rows.empty()) << "no table under " << heading;
  return found;
}

std::vector<std::vector<std::string>> enumerators(const std::string& header,
                                                  const std::string& name) {
  std::vector<std::vector<std::string>> found;
  // "kFirst = 1, kSecond = 2,"
  for (const std::string& one : split(body_of(header, "enum class " + name), ',')) {
    const auto equals = one.find('=');
    if (equals == std::string::npos) continue;
    found.push_back({trimmed(one.substr(equals + 1)), trimmed(one.substr(0, equals))});
  }
  return found;
}

std::vector<std::string> members(const std::string& header, const std::string& name) {
  std::vector<std::string> found;
  // "std::uint32_t disk = 0; StreamToken token{};"
  for (const std::string& one : split(body_of(header, "struct " + name + " {"), ';')) {
    const std::string declared = trimmed(one.substr(0, one.find_first_of("={")));
    if (!declared.empty()) found.push_back(declared.substr(declared.find_last_of(' ') + 1));
  }
  return found;
}

}  // namespace vhdxm::transfer
