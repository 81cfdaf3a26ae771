#include "migration/json_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/parse.hpp>

namespace vhdxm::migration {
namespace json = boost::json;

const json::value* JsonFields::take(const char* name, bool needed) {
  known_.emplace_back(name);
  const json::value* value = object_.if_contains(name);
  if (value == nullptr && needed) complain(name, "is missing");
  return value;
}

void JsonFields::complain(const char* name, const std::string& what) {
  if (complaint_.empty()) complaint_ = fmt::format("{}: {}", name, what);
}

void JsonFields::text(const char* name, std::string& value, bool needed) {
  const json::value* found = take(name, needed);
  if (found == nullptr) return;
  if (!found->is_string()) return complain(name, "must be a text");
  value = found->as_string().c_str();
  if (value.size() != found->as_string().size()) complain(name, "must have no zero bytes");
}

void JsonFields::flag(const char* name, bool& value, bool needed) {
  const json::value* found = take(name, needed);
  if (found == nullptr) return;
  if (!found->is_bool()) return complain(name, "must be true or false");
  value = found->as_bool();
}

void JsonFields::number(const char* name, std::uint64_t& value, std::uint64_t most, bool needed) {
  const json::value* found = take(name, needed);
  if (found == nullptr) return;
  json::error_code ec;
  const auto number = found->to_number<std::uint64_t>(ec);
  if (found->is_double() || ec || number > most) {
    return complain(name, fmt::format("must be a whole number from 0 to {}", most));
  }
  value = number;
}

void JsonFields::number(const char* name, std::int64_t& value, std::int64_t least,
                        std::int64_t most, bool needed) {
  const json::value* found = take(name, needed);
  if (found == nullptr) return;
  json::error_code ec;
  const auto number = found->to_number<std::int64_t>(ec);
  if (found->is_double() || ec || number < least || number > most) {
    return complain(name, fmt::format("must be a whole number from {} to {}", least, most));
  }
  value = number;
}

void JsonFields::choice(const char* name, std::string& value,
                        std::initializer_list<const char*> words, bool needed) {
  const json::value* found = take(name, needed);
  if (found == nullptr) return;
  std::string all;
  for (const char* word : words) {
    if (found->is_string() && found->as_string() == word) {
      value = word;
      return;
    }
    all += (all.empty() ? "" : ", ") + fmt::format("\"{}\"", word);
  }
  complain(name, fmt::format("must be one of {}", all));
}

const json::object* JsonFields::object(const char* name, bool needed) {
  const json::value* found = take(name, needed);
  if (found == nullptr) return nullptr;
  if (!found->is_object()) complain(name, "must be an object");
  return found->if_object();
}

std::string JsonFields::finish() {
  if (!complaint_.empty()) return complaint_;
  for (const auto& member : object_) {
    const std::string name(member.key());
    if (std::find(known_.begin(), known_.end(), name) == known_.end()) {
      return fmt::format("{}: is not known here", name);
    }
  }
  return "";
}

std::optional<json::object> parse_json_object(const std::string& text, std::string& complaint) {
  json::error_code ec;
  json::value value = json::parse(text, ec);  // at most 32 levels deep
  if (ec) {
    complaint = fmt::format("is no JSON: {}", ec.message());
    return std::nullopt;
  }
  if (!value.is_object()) {
    complaint = "is no JSON object";
    return std::nullopt;
  }
  return std::move(value.as_object());
}

}  // namespace vhdxm::migration
