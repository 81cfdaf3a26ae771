#include "tools/http_message.h"

#include <fmt/format.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

#include "tools/json_output.h"

namespace vhdxm::tools {
namespace {

std::optional<unsigned> hex_digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a') + 10;
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A') + 10;
  return std::nullopt;
}

std::optional<std::string> percent_decoded(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (text.size() - i < 3) return std::nullopt;
    const auto high = hex_digit(text[i + 1]);
    const auto low = hex_digit(text[i + 2]);
    if (!high || !low) return std::nullopt;
    out += static_cast<char>(*high * 16 + *low);
    i += 2;
  }
  return out;
}

std::vector<std::string> split_at(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (;;) {
    const auto end = text.find(separator, begin);
    parts.push_back(text.substr(begin, end == std::string::npos ? end : end - begin));
    if (end == std::string::npos) return parts;
    begin = end + 1;
  }
}

bool parse_query(const std::string& text, std::map<std::string, std::string>& query) {
  if (text.empty()) return true;
  for (const std::string& one : split_at(text, '&')) {
    const auto equals = one.find('=');
    const auto name = percent_decoded(one.substr(0, equals));
    const auto value =
        percent_decoded(equals == std::string::npos ? std::string() : one.substr(equals + 1));
    if (!name || !value || name->empty()) return false;
    query[*name] = *value;
  }
  return true;
}

}  // namespace

HttpReply json_reply(unsigned status, const boost::json::value& value) {
  return {.status = status, .body = boost::json::serialize(value) + "\n"};
}

HttpReply error_reply(unsigned status, const std::string& code, const std::string& message,
                      const std::string& advice, const std::string& ownership) {
  boost::json::object error;
  error["code"] = json_text(code);
  error["message"] = json_text(message);
  error["advice"] = json_text(advice);
  if (!ownership.empty()) error["ownership"] = json_text(ownership);
  boost::json::object whole;
  whole["error"] = std::move(error);
  return json_reply(status, whole);
}

HttpReply error_reply(unsigned status, const std::string& code, const CommandFailure& failure) {
  boost::json::object error;
  error["code"] = json_text(code);
  error["message"] = json_text(failure.message);
  error["advice"] = json_text(failure.advice);
  error["exit"] = static_cast<int>(failure.exit);
  if (!failure.ownership.empty()) error["ownership"] = json_text(failure.ownership);
  boost::json::object whole;
  whole["error"] = std::move(error);
  return json_reply(status, whole);
}

std::optional<HttpTarget> parse_target(const std::string& target) {
  if (!target.starts_with('/')) return std::nullopt;
  const auto question = target.find('?');
  HttpTarget parsed;
  const std::string path =
      target.substr(1, question == std::string::npos ? question : question - 1);
  if (!path.empty()) {
    for (const std::string& part : split_at(path, '/')) {
      auto decoded = percent_decoded(part);
      if (!decoded || decoded->empty() || *decoded == "." || *decoded == "..") return std::nullopt;
      parsed.path.push_back(std::move(*decoded));
    }
  }
  if (question != std::string::npos && !parse_query(target.substr(question + 1), parsed.query)) {
    return std::nullopt;
  }
  return parsed;
}

std::string percent_encoded(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

}  // namespace vhdxm::tools
