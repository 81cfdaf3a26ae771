#include "tools/control_api.h"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/json/array.hpp>
#include <utility>

#include "migration/json_fields.h"
#include "tools/host_names.h"
#include "tools/job_api.h"
#include "tools/json_output.h"
#include "tools/metrics_text.h"
#include "tools/nbd_uri.h"

namespace vhdxm::tools {
namespace {

namespace json = boost::json;
using migration::JsonFields;

HttpReply no_such(const char* what, const std::string& name) {
  return error_reply(404, "not_found", fmt::format("there is no {} '{}'", what, name),
                     fmt::format("GET /v1/{}s lists those that there are.", what));
}

HttpReply disks(HostService& service) {
  json::array all;
  for (const DiskView& view : service.disks()) all.push_back(json_of(view));
  json::object whole;
  whole["disks"] = std::move(all);
  return json_reply(200, whole);
}

HttpReply add_disk(HostService& service, const HttpRequest& request) {
  std::string complaint;
  const auto body = migration::parse_json_object(request.body, complaint);
  if (!body) return bad_body(complaint);
  migration::RegisteredDisk disk;
  JsonFields fields(*body);
  fields.text("name", disk.name, true);
  fields.text("path", disk.path, true);
  fields.flag("read_only", disk.read_only);
  fields.text("group", disk.group);
  complaint = fields.finish();
  if (!complaint.empty()) return bad_body("has a fault: " + complaint);
  const auto added = service.add_disk(std::move(disk));
  if (added.has_error()) return reply_of(added.error());
  return json_reply(201, json_of(*added));
}

HttpReply remove_disk(HostService& service, const HttpRequest& request, const std::string& name) {
  if (!service.disk(name)) return no_such("disk", name);
  const auto force = request.query.find("force");
  const bool forced = force != request.query.end() && force->second == "true";
  if (force != request.query.end() && !forced && force->second != "false") {
    return error_reply(400, "bad_request", "force: must be true or false", "");
  }
  const auto removed = service.remove_disk(name, forced);
  if (removed.has_error()) return reply_of(removed.error());
  return json_reply(200, json_of(*removed));
}

HttpReply host(const HostService& service) {
  const migration::HostSettings& settings = service.settings();
  json::object host;
  host["name"] = json_text(own_host_name());
  host["software"] = VHDXM_VERSION;
  host["api"] = 1;
  host["pid"] = ::getpid();
  host["incoming"] = settings.incoming;
  host["outgoing"] = settings.outgoing;
  host["auth"] = "pairing";
  if (const HostArrivals* arrivals = service.arrivals()) {
    host["address"] = json_text(arrivals->address());
    host["port"] = arrivals->port();
  }
  host["folder"] = json_text(settings.folder);
  json::object folders;
  for (const auto& [name, path] : settings.folders) folders[name] = json_text(path);
  host["folders"] = std::move(folders);
  host["state_folder"] = json_text(settings.state_folder);
  host["run_folder"] = json_text(settings.run_folder);
  host["max_migrations"] = settings.max_migrations;
  host["max_arrivals"] = settings.max_arrivals;
  host["bandwidth_limit"] = settings.bandwidth_limit;
  host["performance"] = transfer::to_string(settings.performance);
  return json_reply(200, host);
}

void add_disk_routes(Router& router, HostService& service) {
  router.add("GET", "/v1/disks", {},
             [&service](const HttpRequest&, const Router::Parts&) { return disks(service); });
  router.add("POST", "/v1/disks", {}, [&service](const HttpRequest& request, const Router::Parts&) {
    return add_disk(service, request);
  });
  router.add("GET", "/v1/disks/{}", {"settled"},
             [&service](const HttpRequest& request, const Router::Parts& parts) {
               const auto settled = request.query.find("settled");
               if (settled != request.query.end() && settled->second == "true") {
                 service.settle_disk(parts[0]);
               }
               const auto view = service.disk(parts[0]);
               return view ? json_reply(200, json_of(*view)) : no_such("disk", parts[0]);
             });
  router.add("DELETE", "/v1/disks/{}", {"force"},
             [&service](const HttpRequest& request, const Router::Parts& parts) {
               return remove_disk(service, request, parts[0]);
             });
}

}  // namespace

HttpReply reply_of(const CommandFailure& failure) {
  switch (failure.exit) {
    case ExitCode::kUsage:
      return error_reply(400, "bad_request", failure);
    case ExitCode::kNetwork:
      return error_reply(409, "not_now", failure);
    default:
      return error_reply(422, "failed", failure);
  }
}

HttpReply bad_body(const std::string& complaint) {
  return error_reply(400, "bad_request", "the body " + complaint,
                     "It is one JSON object, with the members that docs/control-api.md names.");
}

json::object json_of(const DiskView& view) {
  json::object disk;
  disk["name"] = json_text(view.disk.name);
  disk["path"] = json_text(view.disk.path);
  disk["read_only"] = view.disk.read_only;
  if (!view.disk.group.empty()) disk["group"] = json_text(view.disk.group);
  disk["state"] = to_string(view.exported.state);
  if (!view.exported.problem.empty()) {
    disk["problem"] = json_text(view.exported.problem);
    disk["advice"] = json_text(view.exported.advice);
  }
  disk["socket"] = json_text(view.exported.socket);
  disk["export"] = json_text(view.exported.export_name);
  disk["uri"] = json_text(nbd_uri(view.exported.socket, view.exported.export_name));
  using enum ExportStatus::State;
  const bool is_served = view.exported.state == kExported ||
                         (view.exported.state == kReleased && view.exported.mover_pid != 0);
  if (is_served) {
    disk["virtual_bytes"] = view.exported.virtual_bytes;
    disk["clients"] = view.exported.clients;
    disk["mover_pid"] = view.exported.mover_pid;
    disk["adopted"] = view.exported.adopted;
    disk["differencing"] = view.exported.differencing;
  }
  if (!view.job.empty()) disk["job"] = json_text(view.job);
  return disk;
}

Router control_api(HostService& service) {
  Router router;
  router.add("GET", "/healthz", {}, [](const HttpRequest&, const Router::Parts&) {
    return HttpReply{.status = 200, .content_type = "text/plain; charset=utf-8", .body = "ok\n"};
  });
  router.add("GET", "/metrics", {}, [&service](const HttpRequest&, const Router::Parts&) {
    return HttpReply{.status = 200,
                     .content_type = "text/plain; version=0.0.4; charset=utf-8",
                     .body = metrics_text(service)};
  });
  router.add("GET", "/v1/host", {},
             [&service](const HttpRequest&, const Router::Parts&) { return host(service); });
  add_disk_routes(router, service);
  add_job_routes(router, service);
  return router;
}

}  // namespace vhdxm::tools
