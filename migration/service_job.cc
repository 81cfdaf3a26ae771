#include "migration/service_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <filesystem>
#include <tuple>
#include <utility>

#include "base/directory.h"
#include "base/random.h"
#include "migration/disk_registry.h"
#include "migration/json_fields.h"
#include "transfer/storage_folders.h"
#include "transfer/wire_text.h"

namespace vhdxm::migration {
namespace {

namespace json = boost::json;
using State = ServiceJob::State;

/// Version 1 had jobs that copied a disk, too; version 2 had one disk a job; version 3 had no
/// folders.
constexpr std::uint64_t kJobFileVersion = 4;
constexpr const char* kJobSuffix = ".json";
constexpr State kAllStates[] = {State::kQueued,      State::kRunning,  State::kPaused,
                                State::kInterrupted, State::kBlocked,  State::kDone,
                                State::kFailed,      State::kCancelled};

Error bad_job(const std::string& file, const std::string& complaint) {
  return Error{.code = BaseErrc::kInvalidArgument,
               .where = "record of a job",
               .subject = file + ", " + complaint};
}

/// All members but id, state and report, by name.
template <class Fields, class Job>
void visit(Fields&& fields, Job& job) {
  fields.text("group", job.group, false);
  fields.text("host", job.host, true);
  fields.text("key_file", job.key_file, true);
  fields.text("mode", job.mode, true);
  fields.number("streams", job.streams, 4096, true);
  fields.number("limit", job.limit, ~std::uint64_t{0}, true);
  fields.number("max_pause_ms", job.max_pause_ms, ServiceJob::kMaxPauseMsMax, false);
  fields.text("cutover", job.cutover, false);
  fields.text("mirror", job.mirror, false);
  fields.text("after", job.after, false);
  fields.flag("verify", job.verify, false);
  fields.text("created", job.created, true);
  fields.text("started", job.started, true);
  fields.text("ended", job.ended, true);
  fields.number("exit", job.exit, 0, 255, true);
  fields.text("message", job.message, true);
  fields.text("advice", job.advice, true);
  fields.text("ownership", job.ownership, true);
}

/// The counterpart of JsonFields.
struct JsonWriter {
  json::object& object;
  void text(const char* name, const std::string& value, bool) const { object[name] = value; }
  void flag(const char* name, bool value, bool) const { object[name] = value; }
  void number(const char* name, std::uint64_t value, std::uint64_t, bool) const {
    object[name] = value;
  }
  void number(const char* name, std::int64_t value, std::int64_t, std::int64_t, bool) const {
    object[name] = value;
  }
};

/// What is wrong with it; empty if nothing is.
std::string read_job_disks(const json::object& object, bool with_folders,
                           std::vector<ServiceJobDisk>& disks) {
  const json::value* const list = object.if_contains("disks");
  if (list == nullptr || !list->is_array() || list->as_array().empty()) {
    return "disks: must be a list of at least one";
  }
  for (const json::value& one : list->as_array()) {
    if (!one.is_object()) return "disks: must be objects";
    ServiceJobDisk disk;
    JsonFields fields(one.as_object());
    fields.text("disk", disk.name, true);
    fields.text("path", disk.path, true);
    fields.text("as", disk.name_there, true);
    if (with_folders) fields.text("folder", disk.folder_there, true);
    if (std::string complaint = fields.finish(); !complaint.empty()) return complaint;
    disks.push_back(std::move(disk));
  }
  return "";
}

}  // namespace

std::string ServiceJobDisk::file_there() const {
  return name_there.empty() ? std::filesystem::path(path).filename().string() : name_there;
}

std::string ServiceJobDisk::place_there() const {
  return transfer::text_of_place(folder_there, file_there());
}

std::optional<PlaceThere> PlaceThere::parse(const std::string& text) {
  const auto slash = text.find('/');
  if (slash == std::string::npos) {
    if (!Directory::is_plain_name(text)) return std::nullopt;
    return PlaceThere{.name = text};
  }
  PlaceThere place{.folder = text.substr(0, slash), .name = text.substr(slash + 1)};
  const bool good = transfer::is_folder_name(place.folder) &&
                    (place.name.empty() || Directory::is_plain_name(place.name));
  return good ? std::optional(std::move(place)) : std::nullopt;
}

bool ServiceJob::has_disk(const std::string& name) const {
  return std::any_of(disks.begin(), disks.end(), [&](const auto& one) { return one.name == name; });
}

bool ServiceJob::has_path(const std::string& path) const {
  return std::any_of(disks.begin(), disks.end(), [&](const auto& one) { return one.path == path; });
}

std::string ServiceJob::disk_names() const {
  std::string names;
  for (const ServiceJobDisk& disk : disks) {
    if (!names.empty()) names += ", ";
    names += disk.name;
  }
  return names;
}

bool ServiceJob::asks_the_same(const ServiceJob& other) const {
  const auto wish = [](const ServiceJob& job) {
    return std::tie(job.disks, job.host, job.port, job.key_file, job.mode, job.streams, job.limit,
                    job.max_pause_ms, job.cutover, job.mirror, job.after, job.verify);
  };
  return wish(*this) == wish(other);
}

const char* to_string(State state) {
  switch (state) {
    case State::kQueued:
      return "queued";
    case State::kRunning:
      return "running";
    case State::kPaused:
      return "paused";
    case State::kInterrupted:
      return "interrupted";
    case State::kBlocked:
      return "blocked";
    case State::kDone:
      return "done";
    case State::kFailed:
      return "failed";
    case State::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

bool is_job_id(const std::string& id) {
  return is_disk_name(id);
}

std::string new_job_id(const std::string& disk_name) {
  constexpr std::size_t kNameMax = 40;
  return fmt::format("{}-{:08x}", disk_name.substr(0, kNameMax),
                     static_cast<std::uint32_t>(random_u64()));
}

json::object json_of(const ServiceJob& job) {
  json::object object;
  object["id"] = job.id;
  object["state"] = to_string(job.state);
  json::array disks;
  for (const ServiceJobDisk& disk : job.disks) {
    json::object one;
    one["disk"] = disk.name;
    one["path"] = disk.path;
    one["folder"] = disk.folder_there;
    one["as"] = disk.name_there;
    disks.push_back(std::move(one));
  }
  object["disks"] = std::move(disks);
  object["port"] = job.port;
  visit(JsonWriter{object}, job);
  object["report"] = job.report;
  return object;
}

std::string encode(const ServiceJob& job) {
  json::object object = json_of(job);
  object["version"] = kJobFileVersion;
  return json::serialize(object) + "\n";
}

Result<ServiceJob> decode_service_job(const std::string& text, const std::string& file) {
  std::string complaint;
  const auto object = parse_json_object(text, complaint);
  if (!object) return bad_job(file, complaint);
  ServiceJob job;
  std::uint64_t version = 0;
  std::uint64_t port = 0;
  std::string state;
  json::object rest = *object;
  rest.erase("disks");
  JsonFields fields(rest);
  fields.number("version", version, kJobFileVersion, true);
  bool hands_over = true;
  if (version == 1) {
    hands_over = false;
    fields.flag("live", hands_over);
  }
  std::string disks_complaint;
  if (version < 3) {
    ServiceJobDisk disk;
    fields.text("disk", disk.name, true);
    fields.text("path", disk.path, true);
    fields.text("as", disk.name_there, true);
    job.disks.push_back(std::move(disk));
    if (object->contains("disks")) disks_complaint = "disks: is of a later version";
  } else {
    disks_complaint = read_job_disks(*object, version > 3, job.disks);
  }
  fields.text("id", job.id, true);
  fields.text("state", state, true);
  fields.number("port", port, 65535, true);
  visit(fields, job);
  if (const json::object* report = fields.object("report", true)) job.report = *report;
  complaint = fields.finish();
  if (complaint.empty() && (version < 1 || version > kJobFileVersion)) {
    complaint = "version: must be 1, 2, 3 or 4";
  }
  if (complaint.empty()) complaint = disks_complaint;
  if (complaint.empty() && !is_job_id(job.id)) complaint = "id: is none";
  if (complaint.empty() && job.cutover != "auto" && job.cutover != "manual") {
    complaint = "cutover: must be auto or manual";
  }
  if (complaint.empty() && job.mirror != "auto" && job.mirror != "always" &&
      job.mirror != "never") {
    complaint = "mirror: must be auto, always or never";
  }
  if (complaint.empty() && job.after != "fence" && job.after != "forward") {
    complaint = "after: must be fence or forward";
  }
  bool known = false;
  for (const State one : kAllStates) {
    if (state != to_string(one)) continue;
    job.state = one;
    known = true;
  }
  if (complaint.empty() && !known) complaint = "state: is none";
  if (!complaint.empty()) return bad_job(file, complaint);
  job.port = static_cast<std::uint16_t>(port);
  // Resumed, it would do what nobody asked for.
  if (!hands_over && !job.is_over()) {
    job.state = State::kCancelled;
    job.message = "an earlier version of the service was to copy the disk; this one hands it over";
    job.advice = "Copy it with `vhdx-migrate send`, or ask for the move again.";
  }
  return job;
}

Result<std::unique_ptr<ServiceJobStore>> ServiceJobStore::open(const std::string& path) {
  VHDXM_TRY(auto folder, StateFolder::open(path));
  return std::unique_ptr<ServiceJobStore>(new ServiceJobStore(std::move(folder)));
}

Result<void> ServiceJobStore::write(const ServiceJob& job) const {
  return folder_->write(job.id + kJobSuffix, encode(job));
}

Result<ServiceJob> ServiceJobStore::read(const std::string& id) const {
  const std::string file = folder_->path() + "/" + id + kJobSuffix;
  VHDXM_TRY(const auto text, folder_->read(id + kJobSuffix));
  if (!text) {
    errno = ENOENT;
    return errno_error("read the record of a job").about(file);
  }
  VHDXM_TRY(auto job, decode_service_job(*text, file));
  if (job.id != id) return bad_job(file, "id: is not the file's");
  return job;
}

Result<void> ServiceJobStore::remove(const std::string& id) const {
  return folder_->remove(id + kJobSuffix);
}

Result<std::vector<ServiceJob>> ServiceJobStore::list() const {
  std::vector<ServiceJob> all;
  VHDXM_TRY(const auto names, folder_->list());
  for (const std::string& name : names) {
    if (!name.ends_with(kJobSuffix)) continue;
    VHDXM_TRY(auto job, read(name.substr(0, name.size() - std::string(kJobSuffix).size())));
    all.push_back(std::move(job));
  }
  return all;
}

}  // namespace vhdxm::migration
