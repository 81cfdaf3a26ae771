// The disk to be sent: its layers, what each will be called, and proof that nothing changed it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/posix_file.h"
#include "transfer/messages.h"
#include "transfer/send_source.h"
#include "vhdx/flattened_disk.h"
#include "vhdx/image.h"

namespace vhdxm::transfer {

/// Thread safety: const members may be called from several threads.
class SourceChain final : public SendSource {
 public:
  /// Opens the disk and its parents and proves that no block of any stands in two places.
  /// `name`: of the leaf at the destination; empty: its file name.
  /// `flatten`: a disk that has parents is shown, and sent, as one disk.
  /// Errors: those of vhdx::Image::open() and Layer::validate_bat(); BaseErrc::kInvalidArgument for
  /// a name that cannot be used; what the released mark says.
  static Result<std::unique_ptr<SourceChain>> open(const std::string& path, const std::string& name,
                                                   bool flatten);

  std::size_t size() const override { return flattened_ ? 1 : image_->layers().size(); }
  vhdx::DiskView& view(std::uint32_t disk) const override;
  std::vector<OfferDisk> offer() const override;
  const std::string& name(std::uint32_t disk) const override { return names_[disk]; }
  const std::string& path(std::uint32_t disk) const override;
  std::uint64_t payload_bytes(std::uint32_t disk) const override { return payload_bytes_[disk]; }

  /// Errors: Errc::kSourceChanged if a file that the disk is made of is not as it was when it was
  /// opened.
  Result<void> check_unchanged(std::uint32_t disk) const override;

 private:
  SourceChain() = default;

  Result<void> add_layer(vhdx::Layer& layer);
  Result<void> add_disk(const std::string& name);
  Result<void> check_layer(std::size_t index) const;
  vhdx::Layer& layer(std::size_t index) const;

  std::unique_ptr<vhdx::Image> image_;
  std::unique_ptr<vhdx::FlattenedDisk> flattened_;  ///< Or each layer is a disk.
  std::vector<PosixFile::Stamp> stamps_;            ///< Of each layer, parents first.
  std::vector<std::string> names_;                  ///< Of each disk.
  std::vector<std::uint64_t> payload_bytes_;        ///< Of each disk.
};

}  // namespace vhdxm::transfer
