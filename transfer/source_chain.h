// The disk to be sent: its layers, what each will be called, and proof that nothing changed it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/posix_file.h"
#include "transfer/messages.h"
#include "vhdx/image.h"

namespace vhdxm::transfer {

/// Thread safety: const members may be called from several threads.
class SourceChain {
 public:
  /// Opens the disk and its parents and proves that no block of any stands in two places.
  /// `name`: of the leaf at the destination; empty: its file name.
  /// Errors: those of vhdx::Image::open() and Layer::validate_bat(); BaseErrc::kInvalidArgument for
  /// a name that cannot be used; what the released mark says.
  static Result<std::unique_ptr<SourceChain>> open(const std::string& path,
                                                   const std::string& name);

  /// Parents first, as they are offered.
  std::size_t size() const { return image_->layers().size(); }
  vhdx::Layer& layer(std::uint32_t disk) const;
  /// With opaque items in the description, and the file's real path beside it.
  std::vector<OfferDisk> offer() const;
  const std::string& name(std::uint32_t disk) const { return names_[disk]; }
  const std::string& path(std::uint32_t disk) const { return layer(disk).name(); }
  /// Bytes of payload that the map of the layer says there are.
  std::uint64_t payload_bytes(std::uint32_t disk) const { return payload_bytes_[disk]; }

  /// Errors: Errc::kSourceChanged if the layer's file is not as it was when it was opened.
  Result<void> check_unchanged(std::uint32_t disk) const;

 private:
  SourceChain() = default;

  std::unique_ptr<vhdx::Image> image_;
  std::vector<std::string> names_;
  std::vector<PosixFile::Stamp> stamps_;
  std::vector<std::uint64_t> payload_bytes_;
};

}  // namespace vhdxm::transfer
