#include "tools/metrics_text.h"

#include <fmt/format.h>

#include <cstdint>
#include <map>

namespace vhdxm::tools {
namespace {

void add_family(std::string& out, const char* name, const char* type, const char* help) {
  out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

void add_jobs(std::string& out, HostService& service) {
  using Stage = migration::ServiceJob::State;
  std::map<std::string, std::uint64_t> counts;
  for (const Stage state : {Stage::kQueued, Stage::kRunning, Stage::kPaused, Stage::kInterrupted,
                            Stage::kBlocked, Stage::kDone, Stage::kFailed, Stage::kCancelled}) {
    counts[to_string(state)] = 0;
  }
  for (const JobView& view : service.jobs().list()) ++counts[to_string(view.job.state)];
  add_family(out, "vhdx_migrate_jobs", "gauge", "Jobs from this host that are known, by state.");
  for (const auto& [state, count] : counts) {
    out += fmt::format("vhdx_migrate_jobs{{state=\"{}\"}} {}\n", state, count);
  }
  const HostArrivals* const arrivals = service.arrivals();
  if (arrivals == nullptr) return;
  const auto ended = arrivals->counts();
  add_family(out, "vhdx_migrate_arrivals_total", "counter",
             "Jobs to this host that ended since the service was started.");
  out += fmt::format("vhdx_migrate_arrivals_total{{result=\"done\"}} {}\n", ended.done);
  out += fmt::format("vhdx_migrate_arrivals_total{{result=\"failed\"}} {}\n", ended.failed);
  add_family(out, "vhdx_migrate_peers_refused_total", "counter",
             "Connections that were turned away since the service was started.");
  out += fmt::format("vhdx_migrate_peers_refused_total {}\n", ended.refused);
}

}  // namespace

std::string metrics_text(HostService& service) {
  std::string out;
  const auto disks = service.disks();
  add_family(out, "vhdx_migrate_disk_exported", "gauge",
             "Whether clients can connect to a registered disk.");
  for (const DiskView& view : disks) {
    out += fmt::format("vhdx_migrate_disk_exported{{disk=\"{}\"}} {}\n", view.disk.name,
                       view.exported.state == ExportStatus::State::kExported ? 1 : 0);
  }
  add_family(out, "vhdx_migrate_disk_clients", "gauge", "NBD clients of a registered disk.");
  for (const DiskView& view : disks) {
    out += fmt::format("vhdx_migrate_disk_clients{{disk=\"{}\"}} {}\n", view.disk.name,
                       view.exported.clients);
  }
  add_family(out, "vhdx_migrate_disk_virtual_bytes", "gauge", "Size of a registered disk.");
  for (const DiskView& view : disks) {
    out += fmt::format("vhdx_migrate_disk_virtual_bytes{{disk=\"{}\"}} {}\n", view.disk.name,
                       view.exported.virtual_bytes);
  }
  add_jobs(out, service);
  return out;
}

}  // namespace vhdxm::tools
