#include "tools/arriving_disk.h"

#include <filesystem>
#include <memory>
#include <utility>

#include "base/posix_file.h"
#include "migration/ownership_store.h"
#include "vhdx/image.h"

namespace vhdxm::tools {
namespace {

/// As it is at this moment, whatever it is called; its receiver has it locked, and writes to it.
Result<std::unique_ptr<vhdx::Image>> open_partial(const std::string& path) {
  const std::filesystem::path whole(path);
  const migration::DiskPlace place{.folder = whole.parent_path(), .name = whole.filename()};
  const std::string partial = migration::OwnershipStore::partial_name(place);
  auto opened = PosixFile::open(whole.parent_path() / partial, {});
  if (opened.has_error()) opened = PosixFile::open(path, {});
  VHDXM_TRY(std::shared_ptr<PosixFile> file, std::move(opened));
  VHDXM_TRY(auto layers, vhdx::Image::open_layers(file, {}));
  return vhdx::Image::from_layers(std::move(layers));
}

}  // namespace

Result<ArrivingDisk> ArrivingDisk::look(const std::string& path) {
  VHDXM_TRY(const auto image, open_partial(path));
  return ArrivingDisk(path, image->geometry());
}

Result<void> ArrivingDisk::read(std::uint64_t offset, std::span<std::byte> out) const {
  VHDXM_TRY(const auto image, open_partial(path_));
  if (image->geometry() != geometry_) {
    return Error{.code = BaseErrc::kInvalidArgument,
                 .where = "another disk is arriving under its name",
                 .subject = path_};
  }
  return image->read(offset, out);
}

}  // namespace vhdxm::tools
