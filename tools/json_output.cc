#include "tools/json_output.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <ctime>

#include "tools/printable_text.h"

namespace vhdxm::tools {

std::string json_line(std::string_view type, std::chrono::system_clock::time_point time,
                      const boost::json::object& fields) {
  boost::json::object object;
  object["schema"] = kJsonSchema;
  object["type"] = json_text(type);
  object["time"] = rfc3339(time);
  for (const auto& field : fields) object[field.key()] = field.value();
  return boost::json::serialize(object) + "\n";
}

boost::json::value json_text(std::string_view text) {
  return boost::json::value(valid_utf8(text));
}

std::string rfc3339(std::chrono::system_clock::time_point time) {
  using namespace std::chrono;
  const auto whole = floor<seconds>(time);
  const std::time_t seconds_since_epoch = system_clock::to_time_t(whole);
  std::tm utc{};
  gmtime_r(&seconds_since_epoch, &utc);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", utc,
                     duration_cast<milliseconds>(time - whole).count());
}

}  // namespace vhdxm::tools
