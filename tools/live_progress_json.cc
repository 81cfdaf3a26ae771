#include "tools/live_progress_json.h"

#include <boost/json/array.hpp>
#include <chrono>

namespace vhdxm::tools {
namespace {

using transfer::Convergence;

/// So many are told of, the last: a progress line is short.
constexpr std::size_t kPassesTold = 8;

std::int64_t microseconds(Convergence::Duration duration) {
  return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
}

boost::json::value optional_microseconds(const std::optional<Convergence::Duration>& duration) {
  if (!duration) return nullptr;
  return microseconds(*duration);
}

}  // namespace

boost::json::object live_fields(const transfer::LiveProgress& live) {
  boost::json::object fields;
  fields["phase"] = to_string(live.phase);
  fields["pass"] = live.pass;
  fields["dirty_bytes"] = live.dirty_bytes;
  fields["copy_bytes_per_second"] = static_cast<std::uint64_t>(live.copy_rate);
  fields["dirty_bytes_per_second"] = static_cast<std::uint64_t>(live.dirty_rate);
  fields["predicted_pause_us"] = optional_microseconds(live.predicted_pause);
  fields["max_pause_us"] = microseconds(live.max_pause);
  fields["throttled_to_bytes_per_second"] = live.throttled_to;
  fields["mirroring"] = live.mirroring;
  fields["mirrored_bytes"] = live.mirrored_bytes;
  fields["mirrored_writes"] = live.mirrored_writes;
  fields["mirrored_left"] = live.mirrored_left;
  fields["mirror_stops"] = live.mirror_stops;
  fields["verified_bytes"] = nullptr;
  if (live.verified_bytes) fields["verified_bytes"] = *live.verified_bytes;
  fields["verify_left_out_bytes"] = live.verify_left_out_bytes;
  fields["holds_failed"] = live.holds_failed;
  fields["pause_us"] = optional_microseconds(live.pause);
  boost::json::array passes;
  const std::size_t all = live.passes.size();
  for (std::size_t i = all > kPassesTold ? all - kPassesTold : 0; i < all; ++i) {
    const transfer::PassReport& pass = live.passes[i];
    passes.push_back({{"pass", pass.pass},
                      {"held", pass.held},
                      {"sent_bytes", pass.sent_bytes},
                      {"mirrored_bytes", pass.mirrored_bytes},
                      {"marked_bytes", pass.marked_bytes},
                      {"dirty_bytes", pass.dirty_bytes},
                      {"copying_us", microseconds(pass.copying)},
                      {"agreeing_us", microseconds(pass.agreeing)},
                      {"sync_us", microseconds(pass.sync)}});
  }
  fields["passes"] = std::move(passes);
  return fields;
}

}  // namespace vhdxm::tools
