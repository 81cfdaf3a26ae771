#include "tools/help_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace vhdxm::tools {
namespace {

constexpr std::size_t kColumns = 80;
/// Where the right column of a list begins, at most.
constexpr std::size_t kIndentMax = 28;

/// Breaks `text` into lines of at most kColumns characters; all but the first are indented.
std::string wrapped(std::string_view text, std::size_t indent) {
  std::string out;
  std::size_t column = indent;
  while (!text.empty()) {
    const auto end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    if (column > indent && column + 1 + word.size() > kColumns) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

struct Row {
  std::string left;
  std::string right;
};

std::string list(const std::vector<Row>& rows) {
  std::size_t indent = 0;
  for (const Row& row : rows) {
    if (row.left.size() + 4 <= kIndentMax) indent = std::max(indent, row.left.size() + 4);
  }
  if (indent == 0) indent = kIndentMax;
  std::string out;
  for (const Row& row : rows) {
    if (row.left.size() + 4 <= indent) {
      out += fmt::format("  {:<{}}", row.left, indent - 2);
    } else {
      out += fmt::format("  {}\n{:<{}}", row.left, "", indent);
    }
    out += wrapped(row.right, indent) + "\n";
  }
  return out;
}

std::string examples(const std::vector<CommandText::Example>& all) {
  std::string out = "Examples:\n";
  for (const auto& example : all) {
    out += fmt::format("  {}\n      {}\n", example.line, wrapped(example.meaning, 6));
  }
  return out;
}

/// "--size SIZE", "-h, --help".
std::string option_name(const CLI::Option& option) {
  std::string name;
  for (const auto& one : option.get_snames()) name += "-" + one + ", ";
  for (const auto& one : option.get_lnames()) name += "--" + one + ", ";
  name.resize(name.size() - 2);
  const std::string type = option.get_option_text();
  return type.empty() ? name : name + " " + type;
}

}  // namespace

std::string command_help(const CommandText& text, const CLI::App& app, const std::string& program) {
  std::vector<Row> arguments;
  std::vector<Row> required;
  std::vector<Row> options;
  std::string usage = fmt::format("Usage: {}{}", program, text.name);
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      arguments.push_back({option->get_name(true), option->get_description()});
      const bool several = option->get_items_expected_max() > 1;
      usage +=
          several ? fmt::format(" [{}...]", option->get_name(true)) : " " + option->get_name(true);
      continue;
    }
    options.push_back({option_name(*option), option->get_description()});
    if (option->get_required()) usage += " " + option_name(*option);
  }
  std::string out = examples(text.examples);
  out += "\n" + usage + " [OPTIONS]\n\n";
  std::string_view rest = text.description;
  while (!rest.empty()) {
    const auto end = std::min(rest.find('\n'), rest.size());
    out += wrapped(rest.substr(0, end), 0) + "\n";
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (!arguments.empty()) out += "\nArguments:\n" + list(arguments);
  out += "\nOptions:\n" + list(options);
  out += "\n" +
         wrapped(
             "Every option can also be given as an environment variable: --some-option as "
             "VHDX_MIGRATE_SOME_OPTION (a switch as 1). The command line wins.",
             0) +
         "\n";
  return out;
}

std::string general_help(const std::vector<std::unique_ptr<Command>>& commands) {
  std::string out = examples({
      {"vhdx-migrate receive --into /var/lib/disks",
       "on the destination: wait for disks; prints a one-time key and the command for the source"},
      {"vhdx-migrate send web01.vhdx newhost",
       "on the source: send a disk there, with its parents"},
      {"vhdx-migrate info web01.vhdx", "show everything about a disk"},
  });
  out += "\nUsage: vhdx-migrate COMMAND [ARGUMENTS] [OPTIONS]\n\n";
  out += wrapped(
      "Moves VHDX virtual disks between hosts that share no storage, and looks at, checks, "
      "makes and converts them.",
      0);
  out += "\n\nCommands:\n";
  std::vector<Row> rows;
  for (const auto& command : commands) {
    const CommandText text = command->text();
    rows.push_back({text.name, text.summary});
  }
  out += list(rows);
  out += "\nCommon options:\n";
  out += list({{"--json", "one JSON object a line on stdout, errors included"},
               {"--progress HOW", "auto, bar, plain or none; auto is a bar on a terminal"},
               {"-h, --help", "this text; after a command, that command's"},
               {"--version", "print the version"}});
  out += "\nExit status:\n";
  out += list({{"0",
                "done; a disk that was sent is complete at the destination, and the source "
                "keeps its copy"},
               {"1", "failed"},
               {"2", "wrong usage"},
               {"3", "the destination cannot take the disk: name, room, kind, version"},
               {"4", "authentication or authorisation"},
               {"5", "network or temporary trouble: run it again, it resumes"},
               {"6", "data differs, or the image is corrupt"},
               {"7", "cancelled at the other side"},
               {"130", "interrupted by Ctrl-C or SIGTERM"}});
  return out;
}

}  // namespace vhdxm::tools
