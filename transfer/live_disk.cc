#include "transfer/live_disk.h"

#include <algorithm>
#include <array>
#include <utility>

#include "transfer/released_copy.h"
#include "vhdx/errc.h"

namespace vhdxm::transfer {
namespace {

// Not constant, so that it stands in no file; aligned, so that it can bypass the page cache.
alignas(4096) constinit std::array<std::byte, 256 * 1024> zeros{};

Result<std::unique_ptr<vhdx::Image>> open_for_reading(const std::string& path, bool direct) {
  VHDXM_TRY(std::shared_ptr<PosixFile> file, PosixFile::open(path, {.direct = direct}));
  VHDXM_TRY(const bool locked, file->lock_for_reading());
  if (!locked) return vhdx::format_error(vhdx::Errc::kInUse, "file locks").about(path);
  VHDXM_TRY(auto layers, vhdx::Image::open_layers(file, {.direct = direct}));
  for (const auto& layer : layers) VHDXM_TRY_VOID(layer->validate_bat());
  return vhdx::Image::from_layers(std::move(layers));
}

}  // namespace

Result<std::unique_ptr<LiveDisk>> LiveDisk::open(const std::string& path,
                                                 std::shared_ptr<SharedGate> gate,
                                                 const Options& options) {
  VHDXM_TRY_VOID(refuse_released(path));
  if (options.read_only) {
    VHDXM_TRY(auto image, open_for_reading(path, options.direct));
    return std::make_unique<LiveDisk>(std::move(image));
  }
  VHDXM_TRY(auto writer, vhdx::DiskWriter::open(path, {.direct = options.direct}));
  VHDXM_TRY_VOID(writer->validate_bats());
  return std::make_unique<LiveDisk>(std::move(writer), std::move(gate));
}

LiveDisk::LiveDisk(std::unique_ptr<vhdx::DiskWriter> disk, std::shared_ptr<SharedGate> gate)
    : writer_(std::move(disk)), gate_(std::move(gate)), dirty_(writer_->virtual_size_bytes()) {}

LiveDisk::LiveDisk(std::unique_ptr<vhdx::Image> disk)
    : image_(std::move(disk)),
      gate_(std::make_shared<SharedGate>()),
      dirty_(image_->virtual_size_bytes()) {}

LiveDisk::~LiveDisk() = default;

const vhdx::Description& LiveDisk::description() const {
  return writer_ ? writer_->description() : image_->layers().front()->description();
}

const std::string& LiveDisk::name() const {
  return writer_ ? writer_->name() : image_->layers().front()->name();
}

Result<void> LiveDisk::check_inside(std::uint64_t offset, std::uint64_t length) const {
  const std::uint64_t size = size_bytes();
  if (offset <= size && length <= size - offset) return {};
  return Error{.code = BaseErrc::kOutOfRange,
               .where = "the range does not lie inside the disk",
               .offset = offset,
               .found = length,
               .subject = name()};
}

Result<void> LiveDisk::check_change(std::uint64_t offset, std::uint64_t length) const {
  VHDXM_TRY_VOID(check_inside(offset, length));
  if (read_only()) {
    return Error{.code = make_error_code(boost::system::errc::read_only_file_system),
                 .where = "the disk was opened read-only",
                 .subject = name()};
  }
  const std::uint64_t sector = geometry().logical_sector_bytes;
  if (offset % sector == 0 && length % sector == 0) return {};
  return Error{.code = BaseErrc::kInvalidArgument,
               .where = "the disk is written in whole logical sectors",
               .offset = offset,
               .found = length,
               .expected = sector,
               .subject = name()};
}

// Marked even if it failed: it may have changed something all the same. What marking needs is there
// before, so that nothing is changed that cannot be marked.
template <class Change>
Result<void> LiveDisk::change(std::uint64_t offset, std::uint64_t length, Durability durability,
                              Change apply) {
  VHDXM_TRY_VOID(check_change(offset, length));
  {
    auto pass = gate_->enter(length);
    if (pass.has_error()) return std::move(pass).error().about(name());
    if (pass->marks()) dirty_.reserve(offset, length);
    auto changed = apply();
    if (pass->marks()) dirty_.mark(offset, length);
    if (changed.has_error()) return changed;
    if (pass->marks() && length > 0) mirror(offset, length);
  }
  return durability == Durability::kNow ? flush() : Result<void>{};
}

void LiveDisk::set_mirror(std::shared_ptr<WriteMirror> mirror) {
  const std::lock_guard lock(mirror_mutex_);
  mirror_ = std::move(mirror);
  mirrored_ = mirror_ != nullptr;
}

void LiveDisk::mirror(std::uint64_t offset, std::uint64_t length) {
  if (!mirrored_) return;
  std::shared_ptr<WriteMirror> mirror;
  {
    const std::lock_guard lock(mirror_mutex_);
    mirror = mirror_;
  }
  if (mirror) mirror->mirror(offset, length);
}

Result<void> LiveDisk::write(std::uint64_t offset, std::span<const std::byte> bytes,
                             Durability durability) {
  return change(offset, bytes.size(), durability, [&] { return writer_->write(offset, bytes); });
}

Result<void> LiveDisk::write_zeroes(std::uint64_t offset, std::uint64_t length, Zeroing zeroing,
                                    Durability durability) {
  return change(offset, length, durability, [&] {
    return zeroing == Zeroing::kMayTrim ? writer_->write_zeroes(offset, length)
                                        : write_zero_bytes(offset, length);
  });
}

Result<void> LiveDisk::write_zero_bytes(std::uint64_t offset, std::uint64_t length) {
  for (std::uint64_t done = 0; done < length;) {
    const auto piece = std::min<std::uint64_t>(zeros.size(), length - done);
    VHDXM_TRY_VOID(
        writer_->write(offset + done, std::span(zeros).first(static_cast<std::size_t>(piece))));
    done += piece;
  }
  return {};
}

bool LiveDisk::zeroes_fast(Zeroing zeroing) const {
  return zeroing == Zeroing::kMayTrim && geometry().type != vhdx::DiskType::kFixed;
}

Result<void> LiveDisk::trim(std::uint64_t offset, std::uint64_t length, Durability durability) {
  VHDXM_TRY_VOID(check_inside(offset, length));
  const std::uint64_t sector = geometry().logical_sector_bytes;
  const std::uint64_t begin = (offset + sector - 1) / sector * sector;  // inside: cannot wrap
  const std::uint64_t end = std::max(begin, (offset + length) / sector * sector);
  return change(begin, end - begin, durability, [&] { return writer_->trim(begin, end - begin); });
}

Result<void> LiveDisk::flush() {
  return writer_ ? writer_->flush() : Result<void>{};
}

Result<void> LiveDisk::read(std::uint64_t offset, std::span<std::byte> out) {
  VHDXM_TRY_VOID(check_inside(offset, out.size()));
  const std::uint64_t sector = geometry().logical_sector_bytes;
  if (offset % sector == 0 && out.size() % sector == 0) return read_sectors(offset, out);
  const std::uint64_t begin = offset / sector * sector;
  const std::uint64_t end = (offset + out.size() + sector - 1) / sector * sector;
  std::vector<std::byte> around(static_cast<std::size_t>(end - begin));
  VHDXM_TRY_VOID(read_sectors(begin, around));
  const auto wanted =
      std::span(around).subspan(static_cast<std::size_t>(offset - begin), out.size());
  std::copy(wanted.begin(), wanted.end(), out.begin());
  return {};
}

Result<void> LiveDisk::read_passing(std::uint64_t offset, std::span<std::byte> out) {
  return writer_->read(offset, out, Reading::kPassing);
}

Result<void> LiveDisk::read_sectors(std::uint64_t offset, std::span<std::byte> out) {
  return writer_ ? writer_->read(offset, out) : image_->read(offset, out);
}

Result<std::uint64_t> LiveDisk::map(std::uint64_t offset, std::uint64_t length,
                                    std::vector<vhdx::Extent>& out, std::size_t extents_max) {
  if (writer_) return writer_->map(offset, length, out, extents_max);
  VHDXM_TRY_VOID(check_inside(offset, length));
  if (length == 0) return offset;
  return image_->map(offset, length, out, extents_max);
}

Result<void> LiveDisk::begin_writing() {
  return writer_->begin_writing();
}

Result<void> LiveDisk::close() {
  return writer_ ? writer_->close() : Result<void>{};
}

}  // namespace vhdxm::transfer
