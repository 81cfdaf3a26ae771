#include "migration/host_records.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/check.h"
#include "migration/errc.h"
#include "migration/state_folder.h"

namespace vhdxm::migration {
namespace {

constexpr const char* kHostFile = "host";

/// Who this host is: decided once, when it is first asked.
Result<HostId> host_id(DirectoryFiles& folder) {
  VHDXM_TRY(const auto bytes, folder.read(kHostFile, sizeof(HostId::bytes)));
  HostId id;
  if (bytes) {
    if (bytes->size() == id.bytes.size()) {
      for (std::size_t i = 0; i < id.bytes.size(); ++i) {
        id.bytes[i] = static_cast<std::uint8_t>((*bytes)[i]);
      }
    }
    if (!id.is_zero()) return id;
    return Error{.code = Errc::kRecord, .where = "who this host is", .subject = kHostFile};
  }
  id = HostId::random();
  const std::string fresh = std::string(kHostFile).append(kNewEnding);
  VHDXM_TRY_VOID(folder.write(fresh, std::as_bytes(std::span(id.bytes))));
  VHDXM_TRY_VOID(folder.rename_replacing(fresh, kHostFile));
  VHDXM_TRY_VOID(folder.sync());
  return id;
}

}  // namespace

OwnershipMutex::~OwnershipMutex() {
  if (fd_ >= 0) ::close(fd_);
}

Result<void> OwnershipMutex::share(const std::string& path) {
  VHDXM_CHECK(fd_ < 0);
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
  if (fd_ < 0) return errno_error("open the lock").about(path);
  return {};
}

void OwnershipMutex::lock() {
  mutex_.lock();
  if (fd_ < 0) return;
  while (::flock(fd_, LOCK_EX) != 0) VHDXM_CHECK(errno == EINTR);
}

void OwnershipMutex::unlock() {
  if (fd_ >= 0) VHDXM_CHECK(::flock(fd_, LOCK_UN) == 0);
  mutex_.unlock();
}

Result<std::unique_ptr<HostRecords>> HostRecords::open(const std::string& state_folder,
                                                       std::vector<std::string> disk_folders) {
  const std::string path = state_folder + "/handover";
  VHDXM_TRY_VOID(StateFolder::open(path));  // which makes it
  VHDXM_TRY(auto folder, Directory::open(path));
  std::unique_ptr<HostRecords> records(new HostRecords(std::move(folder), std::move(disk_folders)));
  HostOwnership& ownership = records->ownership_;
  VHDXM_TRY_VOID(ownership.mutex.share(path + "/lock"));
  const std::lock_guard lock(ownership.mutex);
  auto id = host_id(records->state_);
  if (id.has_error()) return std::move(id).error().about(path);
  ownership.id = *id;
  return records;
}

Result<void> HostRecords::add_folder(const std::string& folder) {
  VHDXM_TRY_VOID(folders_.folder(folder));
  return {};
}

}  // namespace vhdxm::migration
