#include "tools/metrics_text.h"

#include <fmt/format.h>

#include <cstdint>
#include <iterator>

namespace vhdxm::tools {
namespace {

void add_family(std::string& out, const char* name, const char* type, const char* help) {
  out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
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
  return out;
}

}  // namespace vhdxm::tools
