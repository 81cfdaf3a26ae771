#include "tools/job_api.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <charconv>
#include <utility>

#include "base/directory.h"
#include "compression/compressor.h"
#include "migration/json_fields.h"
#include "tools/control_api.h"
#include "tools/json_output.h"
#include "transfer/messages.h"

namespace vhdxm::tools {
namespace {

namespace json = boost::json;
using migration::ServiceJob;

/// That a client may wait for news.
constexpr std::uint64_t kWaitSecondsMax = 60;

HttpReply no_job_found(const std::string& id) {
  return error_reply(404, "not_found", fmt::format("there is no job '{}'", id),
                     "GET /v1/jobs lists those that there are.");
}

std::optional<std::uint64_t> number_in(const HttpRequest& request, const char* name,
                                       std::uint64_t most) {
  const auto found = request.query.find(name);
  if (found == request.query.end()) return 0;
  std::uint64_t number = 0;
  const char* const begin = found->second.data();
  const char* const end = begin + found->second.size();
  const auto [stop, error] = std::from_chars(begin, end, number);
  if (error != std::errc{} || stop != end || number > most) return std::nullopt;
  return number;
}

HttpReply list_jobs(HostService& service) {
  json::array all;
  for (const JobView& view : service.jobs().list()) all.push_back(json_of(view));
  if (const HostArrivals* arrivals = service.arrivals()) {
    for (const ArrivalView& view : arrivals->list()) all.push_back(json_of(view));
  }
  json::object whole;
  whole["jobs"] = std::move(all);
  return json_reply(200, whole);
}

/// One that leaves or arrives, and whether nothing more will happen to it by itself.
std::optional<std::pair<json::object, bool>> find_any(HostService& service, const std::string& id) {
  if (const auto view = service.jobs().find(id)) {
    const bool moves = view->job.state == ServiceJob::State::kQueued ||
                       view->job.state == ServiceJob::State::kRunning ||
                       view->job.state == ServiceJob::State::kBlocked;
    return std::pair(json_of(*view), !moves);
  }
  const HostArrivals* const arrivals = service.arrivals();
  if (arrivals == nullptr) return std::nullopt;
  const auto view = arrivals->find(id);
  if (!view) return std::nullopt;
  return std::pair(json_of(*view), view->state != ArrivalView::State::kRunning);
}

HttpReply get_job(HostService& service, const HttpRequest& request, const std::string& id) {
  const auto after = number_in(request, "after", ~std::uint64_t{0});
  const auto wait = number_in(request, "wait", kWaitSecondsMax);
  if (!after || !wait) {
    return error_reply(
        400, "bad_request",
        fmt::format("after and wait are whole numbers, wait at most {} seconds", kWaitSecondsMax),
        "docs/control-api.md has all resources.");
  }
  const auto found = find_any(service, id);
  if (!found) return no_job_found(id);
  HttpReply reply = json_reply(200, found->first);
  const bool has_news = found->second || found->first.at("revision").as_uint64() > *after;
  if (!has_news && *wait != 0) reply.wait = std::chrono::seconds(*wait);
  return reply;
}

std::string limit_problem(std::uint64_t limit) {
  constexpr std::uint64_t kLimitMin = 64 * 1024;
  return limit != 0 && limit < kLimitMin ? "limit: is less than 65536 bytes a second" : "";
}

/// Of what would be a path there, above all: a peer is told names, never paths.
std::string no_place(const std::string& text) {
  return fmt::format(
      "'{}' is neither NAME.vhdx nor FOLDER/NAME.vhdx nor FOLDER/, FOLDER being the "
      "name of a storage folder of the other host, e.g. fast/web01.vhdx",
      text);
}

/// What is wrong with it; empty if nothing is.
std::string read_names(const json::object& body, HostService::MoveWish& wish) {
  if (const json::value* const disks = body.if_contains("disks")) {
    if (!disks->is_array() || disks->as_array().empty()) return "disks: must be a list of names";
    for (const json::value& one : disks->as_array()) {
      if (!one.is_string()) return "disks: must be a list of names";
      wish.disks.emplace_back(one.as_string());
    }
  }
  const json::value* const map = body.if_contains("map");
  if (map == nullptr) return "";
  if (!map->is_object()) return "map: must be an object";
  for (const auto& [name, place] : map->as_object()) {
    if (!place.is_string()) return "map: must have texts";
    const std::string text(place.as_string());
    const auto parsed = migration::PlaceThere::parse(text);
    if (!parsed) return fmt::format("map: {}: {}", std::string(name), no_place(text));
    wish.places.emplace(std::string(name), *parsed);
  }
  return "";
}

/// What is wrong with it; empty if nothing is.
std::string read_wish(const json::object& body, HostService::MoveWish& asked) {
  if (std::string complaint = read_names(body, asked); !complaint.empty()) return complaint;
  json::object rest = body;
  rest.erase("disks");
  rest.erase("map");
  migration::JsonFields fields(rest);
  ServiceJob& wish = asked.job;
  std::string disk;
  wish.mode.clear();
  fields.text("id", wish.id);
  fields.text("disk", disk);
  fields.text("path", asked.path);
  fields.text("group", asked.group);
  fields.text("to", wish.host, true);
  fields.text("key_file", wish.key_file);
  std::string as;
  fields.text("as", as);
  fields.choice("mode", wish.mode, {"auto", "plain", "compress"});
  fields.number("streams", wish.streams, transfer::kStreamsMax);
  fields.number("limit", wish.limit, ~std::uint64_t{0});
  fields.number("max_pause_ms", wish.max_pause_ms, ServiceJob::kMaxPauseMsMax);
  fields.choice("cutover", wish.cutover, {"auto", "manual"});
  fields.choice("mirror", wish.mirror, {"auto", "always", "never"});
  fields.choice("after", wish.after, {"fence", "forward"});
  fields.flag("verify", wish.verify);
  if (const std::string complaint = fields.finish(); !complaint.empty()) return complaint;
  const int ways = (disk.empty() ? 0 : 1) + (asked.path.empty() ? 0 : 1) +
                   (asked.group.empty() ? 0 : 1) + (asked.disks.empty() ? 0 : 1);
  if (ways != 1) return "one of disk, disks, group and path must be there";
  if (!disk.empty()) asked.disks.push_back(disk);
  if (!asked.path.empty() && !asked.path.starts_with('/')) return "path: must be absolute";
  if (!wish.key_file.empty() && !wish.key_file.starts_with('/'))
    return "key_file: must be absolute";
  if (!wish.id.empty() && !migration::is_job_id(wish.id)) {
    return "id: must be letters, digits, '-', '_' and '.', at most 64";
  }
  if (!as.empty()) {
    asked.as = migration::PlaceThere::parse(as);
    if (!asked.as) return "as: " + no_place(as);
  }
  return limit_problem(wish.limit);
}

HttpReply start_job(HostService& service, const HttpRequest& request) {
  std::string complaint;
  const auto body = migration::parse_json_object(request.body, complaint);
  if (!body) return bad_body(complaint);
  HostService::MoveWish wish;
  complaint = read_wish(*body, wish);
  if (!complaint.empty()) return bad_body("has a fault: " + complaint);
  const auto view = service.move(std::move(wish));
  if (view.has_error()) return reply_of(view.error());
  return json_reply(201, json_of(*view));
}

HttpReply set_job(HostService& service, const HttpRequest& request, const std::string& id) {
  if (!service.jobs().find(id)) return no_job_found(id);
  std::string complaint;
  const auto body = migration::parse_json_object(request.body, complaint);
  if (!body) return bad_body(complaint);
  std::uint64_t limit = 0;
  std::uint64_t max_pause_ms = 0;
  std::string mode;
  migration::JsonFields fields(*body);
  fields.number("limit", limit, ~std::uint64_t{0});
  fields.number("max_pause_ms", max_pause_ms, ServiceJob::kMaxPauseMsMax);
  fields.choice("mode", mode, {"auto", "plain", "compress"});
  complaint = fields.finish();
  if (complaint.empty()) complaint = limit_problem(limit);
  if (complaint.empty() && fields.has("max_pause_ms") && max_pause_ms == 0) {
    complaint = "max_pause_ms: must be 1 at least";
  }
  if (complaint.empty() && body->empty()) complaint = "there is nothing to set";
  if (!complaint.empty()) return bad_body("has a fault: " + complaint);
  JobDesk::Wishes wishes;
  if (fields.has("limit")) wishes.limit = limit;
  if (fields.has("max_pause_ms")) wishes.max_pause_ms = max_pause_ms;
  if (fields.has("mode")) wishes.mode = mode;
  const auto view = service.jobs().set(id, wishes);
  if (view.has_error()) return reply_of(view.error());
  return json_reply(200, json_of(*view));
}

HttpReply resolve(HostService& service, const HttpRequest& request) {
  std::string complaint;
  const auto body = migration::parse_json_object(request.body, complaint);
  if (!body) return bad_body(complaint);
  std::string what;
  bool force = false;
  bool destroyed = false;
  migration::JsonFields fields(*body);
  fields.text("what", what, true);
  fields.flag("force_owner_here", force);
  fields.flag("peer_destroyed", destroyed);
  complaint = fields.finish();
  if (complaint.empty() && force != destroyed) {
    complaint = "force_owner_here goes with peer_destroyed: if the other host lives, ask it";
  }
  if (!complaint.empty()) return bad_body("has a fault: " + complaint);
  const auto resolved = service.resolve(what, force);
  if (resolved.has_error()) return reply_of(resolved.error());
  json::object answer;
  answer["ownership"] = json_text(resolved->text);
  return json_reply(200, answer);
}

using JobAct = JobDesk::Outcome<JobView> (JobDesk::*)(const std::string&);

HttpReply act_on(HostService& service, const std::string& id, JobAct act) {
  if (!service.jobs().find(id)) {
    const HostArrivals* const arrivals = service.arrivals();
    if (arrivals == nullptr || !arrivals->find(id)) return no_job_found(id);
    return error_reply(409, "not_here", fmt::format("{} is the other host's job", id),
                       "Do that there.");
  }
  const auto view = (service.jobs().*act)(id);
  if (view.has_error()) return reply_of(view.error());
  return json_reply(200, json_of(*view));
}

/// A job that is over, what came of a disk by one, or what it left of a disk that it gave away.
HttpReply forget(HostService& service, const std::string& id) {
  const HostArrivals* const arrivals = service.arrivals();
  const auto place = migration::PlaceThere::parse(id);
  const bool is_job = service.jobs().find(id) || arrivals == nullptr || arrivals->find(id) ||
                      !place || place->name.empty();
  if (is_job) return act_on(service, id, &JobDesk::forget);
  json::object removed;
  removed["removed"] = json_text(id);
  const auto arrived = service.remove_arrived(*place);
  if (arrived.has_error()) return reply_of(arrived.error());
  removed["what"] = "arrived";
  if (*arrived) return json_reply(200, removed);
  const auto released = service.remove_released(id);
  if (released.has_error()) return reply_of(released.error());
  removed["what"] = "released";
  return *released ? json_reply(200, removed) : no_job_found(id);
}

}  // namespace

json::object json_of(const JobView& view) {
  json::object object;
  object["id"] = view.job.id;
  object["kind"] = "move";
  for (const auto& member : migration::json_of(view.job)) {
    if (member.key() != "id") object[member.key()] = member.value();
  }
  if (view.job.disks.size() == 1) {
    const migration::ServiceJobDisk& disk = view.job.disks.front();
    object["disk"] = json_text(disk.name);
    object["path"] = json_text(disk.path);
    object["folder"] = json_text(disk.folder_there);
    object["as"] = json_text(disk.name_there);
  }
  object["progress"] = view.progress;
  object["revision"] = view.revision;
  return object;
}

json::object json_of(const ArrivalView& view) {
  json::object object;
  object["id"] = view.id;
  object["kind"] = "arrival";
  object["state"] = to_string(view.state);
  object["peer"] = json_text(view.peer);
  json::array disks;
  for (const std::string& disk : view.disks) disks.push_back(json_text(disk));
  object["disks"] = std::move(disks);
  object["created"] = view.created;
  object["ended"] = view.ended;
  object["exit"] = view.exit;
  object["message"] = json_text(view.message);
  object["advice"] = json_text(view.advice);
  object["ownership"] = json_text(view.ownership);
  object["progress"] = view.progress;
  object["revision"] = view.revision;
  return object;
}

void add_job_routes(Router& router, HostService& service) {
  router.add("GET", "/v1/jobs", {},
             [&service](const HttpRequest&, const Router::Parts&) { return list_jobs(service); });
  router.add("POST", "/v1/jobs", {}, [&service](const HttpRequest& request, const Router::Parts&) {
    return start_job(service, request);
  });
  router.add("GET", "/v1/jobs/{}", {"after", "wait"},
             [&service](const HttpRequest& request, const Router::Parts& parts) {
               return get_job(service, request, parts[0]);
             });
  for (const auto& [name, act] :
       {std::pair("pause", JobAct(&JobDesk::pause)), std::pair("resume", JobAct(&JobDesk::resume)),
        std::pair("cancel", JobAct(&JobDesk::cancel)),
        std::pair("cutover", JobAct(&JobDesk::cut_over))}) {
    router.add("POST", fmt::format("/v1/jobs/{{}}/{}", name), {},
               [&service, act = act](const HttpRequest&, const Router::Parts& parts) {
                 return act_on(service, parts[0], act);
               });
  }
  router.add("POST", "/v1/jobs/{}/set", {},
             [&service](const HttpRequest& request, const Router::Parts& parts) {
               return set_job(service, request, parts[0]);
             });
  router.add("POST", "/v1/resolve", {},
             [&service](const HttpRequest& request, const Router::Parts&) {
               return resolve(service, request);
             });
  router.add("DELETE", "/v1/jobs/{}", {},
             [&service](const HttpRequest&, const Router::Parts& parts) {
               return forget(service, parts[0]);
             });
}

}  // namespace vhdxm::tools
