// Takes the members of a JSON object, strictly: of the right kind, and none that nobody knows.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace vhdxm::migration {

/// Each call takes one member; the first thing that is wrong is remembered, and finish() says it in
/// words: "limit: must be a whole number from 0 to 10".
class JsonFields {
 public:
  explicit JsonFields(const boost::json::object& object) : object_(object) {}

  /// Leaves `value` as it is where the member is not there and is not `needed`.
  void text(const char* name, std::string& value, bool needed = false);
  void flag(const char* name, bool& value, bool needed = false);
  void number(const char* name, std::uint64_t& value, std::uint64_t most, bool needed = false);
  void number(const char* name, std::int64_t& value, std::int64_t least, std::int64_t most,
              bool needed = false);
  /// One of `words`.
  void choice(const char* name, std::string& value, std::initializer_list<const char*> words,
              bool needed = false);
  const boost::json::object* object(const char* name, bool needed = false);
  bool has(const char* name) const { return object_.contains(name); }

  /// What is wrong, members that were never asked for included; empty if nothing is.
  std::string finish();

 private:
  const boost::json::value* take(const char* name, bool needed);
  void complain(const char* name, const std::string& what);

  const boost::json::object& object_;
  std::vector<std::string> known_;
  std::string complaint_;
};

/// Parses `text` into an object of at most 32 levels. What is wrong with it otherwise is put into
/// `complaint`.
std::optional<boost::json::object> parse_json_object(const std::string& text,
                                                     std::string& complaint);

}  // namespace vhdxm::migration
