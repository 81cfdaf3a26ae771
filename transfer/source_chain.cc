#include "transfer/source_chain.h"

#include <filesystem>
#include <utility>

#include "base/directory.h"
#include "transfer/errc.h"
#include "transfer/released_copy.h"
#include "vhdx/block_plan.h"

namespace vhdxm::transfer {
namespace {

Result<PosixFile::Stamp> stamp_of(const std::string& path) {
  VHDXM_TRY(const auto file, PosixFile::open(path, {}));
  VHDXM_TRY(const bool in_use, file->is_written_by_qemu());
  if (in_use) {
    return Error{.code = Errc::kSourceInUse,
                 .where = "QEMU or vhdx-migrate serve has it open for writing",
                 .subject = path};
  }
  return file->stamp();
}

}  // namespace

Result<std::unique_ptr<SourceChain>> SourceChain::open(const std::string& path,
                                                       const std::string& name, bool flatten) {
  VHDXM_TRY_VOID(refuse_released(path));
  auto chain = std::unique_ptr<SourceChain>(new SourceChain());
  VHDXM_TRY(const PosixFile::Stamp leaf_stamp, stamp_of(path));
  // Read once: what others have in the page cache stays there, and is taken from there.
  VHDXM_TRY(chain->image_, vhdx::Image::open(path, {.direct = true, .prefer_cached = true}));
  const std::size_t layers = chain->image_->layers().size();
  // A disk without parents is one disk already.
  if (flatten && layers > 1) {
    chain->flattened_ = std::make_unique<vhdx::FlattenedDisk>(*chain->image_);
  }
  for (std::size_t i = 0; i < layers; ++i) VHDXM_TRY_VOID(chain->add_layer(chain->layer(i)));
  if (chain->stamps_.back() != leaf_stamp) {
    return Error{.code = Errc::kSourceChanged, .where = "while it was opened", .subject = path};
  }
  for (std::uint32_t disk = 0; disk < chain->size(); ++disk) {
    const bool leaf = disk + 1 == chain->size();
    std::string own_name =
        std::filesystem::path(leaf ? path : chain->path(disk)).filename().string();
    if (leaf && !name.empty()) own_name = name;
    VHDXM_TRY_VOID(chain->add_disk(own_name));
  }
  return chain;
}

Result<void> SourceChain::add_layer(vhdx::Layer& layer) {
  VHDXM_TRY(const PosixFile::Stamp stamp, stamp_of(layer.name()));
  stamps_.push_back(stamp);
  return layer.validate_bat();
}

Result<void> SourceChain::add_disk(const std::string& name) {
  if (!Directory::is_plain_name(name)) {
    return Error{.code = BaseErrc::kInvalidArgument,
                 .where = "not a name that a disk can have at the destination",
                 .subject = name};
  }
  VHDXM_TRY(const std::uint64_t payload,
            payload_of(view(static_cast<std::uint32_t>(names_.size()))));
  names_.push_back(name);
  payload_bytes_.push_back(payload);
  return {};
}

vhdx::Layer& SourceChain::layer(std::size_t index) const {
  return *image_->layers()[image_->layers().size() - 1 - index];
}

vhdx::DiskView& SourceChain::view(std::uint32_t disk) const {
  if (flattened_) return *flattened_;
  return layer(disk);
}

const std::string& SourceChain::path(std::uint32_t disk) const {
  return flattened_ ? image_->layers().front()->name() : layer(disk).name();
}

std::vector<OfferDisk> SourceChain::offer() const {
  std::vector<OfferDisk> disks;
  for (std::uint32_t disk = 0; disk < size(); ++disk) {
    const vhdx::Description& description = view(disk).description();
    disks.push_back({.disk = disk,
                     .name = names_[disk],
                     .description = description,
                     .payload_bytes = room_for(description.geometry, payload_bytes_[disk])});
  }
  return disks;
}

Result<void> SourceChain::check_unchanged(std::uint32_t disk) const {
  if (!flattened_) return check_layer(disk);
  for (std::size_t i = 0; i < stamps_.size(); ++i) VHDXM_TRY_VOID(check_layer(i));
  return {};
}

Result<void> SourceChain::check_layer(std::size_t index) const {
  const std::string& path = layer(index).name();
  VHDXM_TRY(const PosixFile::Stamp now, stamp_of(path));
  if (now == stamps_[index]) return {};
  return Error{.code = Errc::kSourceChanged,
               .where = "its file was written, resized or replaced",
               .subject = path};
}

}  // namespace vhdxm::transfer
