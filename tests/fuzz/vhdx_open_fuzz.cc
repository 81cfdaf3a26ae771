// Opens and maps damaged images. The input is {u8 image, u8 flags} and patches to a built-in image:
// {u8 place, u8 length - 1, u24 offset in the place, bytes}. So inputs are a few bytes, and
// mutations hit structures. Checksums are made good afterwards unless flag 1 is set, so that what
// stands behind them is reached.
//
// Oracle: a refusal names a rule of the format. A map covers its range in order, in whole sectors,
// and shows only bytes that are in the file. Content agrees with a reader of a few lines below that
// shares no code with the one under test. If validate_bat() finds nothing, everything can be
// mapped. Replaying the log on the file leads to the same map as replaying it in memory.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/little_endian.h"
#include "tests/support/damaged_image.h"
#include "vhdx/errc.h"
#include "vhdx/image.h"

namespace {

using namespace vhdxm;
using namespace vhdxm::vhdx;
using test::VhdxBuilder;

void check_refusal(const Error& error) {
  VHDXM_CHECK(std::string_view(error.code.category().name()) == "vhdx");
  VHDXM_CHECK(*error.where != '\0' && !error.subject.empty());
  VHDXM_CHECK(describe(error).find("unknown error") == std::string::npos);
}

/// The byte at `offset` of a layer as the specification's tables say; nullopt: the parent's.
std::optional<std::byte> model_byte(const Layer& layer, std::uint64_t offset) {
  const Geometry& geometry = layer.geometry();
  const auto read8 = [&](std::uint64_t at) {
    std::array<std::byte, 8> bytes{};
    VHDXM_CHECK(!layer.file().read_some_at(at, bytes).has_error());
    return std::uint64_t{load_raw<Le64>(bytes.data())};
  };
  const std::uint64_t ratio = 8388608ULL * geometry.logical_sector_bytes / geometry.block_bytes;
  const std::uint64_t block = offset / geometry.block_bytes;
  const std::uint64_t bat = layer.regions().bat().file_offset;
  const std::uint64_t entry = read8(bat + 8 * (block + block / ratio));
  const auto payload = [&] {
    std::byte byte{};
    const auto got = layer.file().read_some_at(
        (entry & ~0xfffffULL) + offset % geometry.block_bytes, std::span(&byte, 1));
    VHDXM_CHECK(!got.has_error() && *got == 1);
    return byte;
  };
  if ((entry & 7) == 6) return payload();
  if ((entry & 7) == 7) {
    const std::uint64_t chunk = block / ratio;
    const std::uint64_t bitmap = read8(bat + 8 * ((chunk + 1) * ratio + chunk)) & ~0xfffffULL;
    const std::uint64_t sector = offset / geometry.logical_sector_bytes % 8388608;
    if ((read8(bitmap + sector / 64 * 8) >> sector % 64 & 1) != 0) return payload();
    return std::nullopt;
  }
  if ((entry & 7) == 0 && geometry.type == DiskType::kDifferencing) return std::nullopt;
  return std::byte{0};
}

std::byte model_byte(const Image& image, std::uint64_t offset) {
  for (const auto& layer : image.layers()) {
    if (offset >= layer->geometry().virtual_size_bytes) return std::byte{0};
    if (const auto byte = model_byte(*layer, offset)) return *byte;
  }
  return std::byte{0};
}

bool same_place(const Extent& a, const Extent& b) {
  return a.virtual_offset == b.virtual_offset && a.length == b.length && a.kind == b.kind &&
         (a.kind != ExtentKind::kData || a.file_offset == b.file_offset);
}

using Extents = std::vector<Extent>;

/// Maps [begin, end) in steps of `extents_max`; checks what a map promises. Empty: it was refused.
template <class Mapped>
Extents map_all(Mapped& mapped, std::uint64_t sector, std::uint64_t begin, std::uint64_t end,
                std::size_t extents_max) {
  Extents all;
  for (std::uint64_t at = begin; at < end;) {
    Extents extents;
    const auto stop = mapped.map(at, end - at, extents, extents_max);
    if (stop.has_error()) {
      check_refusal(stop.error());
      return {};
    }
    VHDXM_CHECK(!extents.empty() && extents.size() <= extents_max);
    for (const Extent& extent : extents) {
      VHDXM_CHECK(extent.virtual_offset == at);
      VHDXM_CHECK(extent.length > 0 && extent.length % sector == 0);
      if (extent.kind == ExtentKind::kData) {
        VHDXM_CHECK(extent.file_offset >= kMiB);
        VHDXM_CHECK(extent.file_offset + extent.length <= *extent.file->size());
      }
      at += extent.length;
      // Steps may cut a run in two where another size of step does not.
      const bool joins = !all.empty() && all.back().kind == extent.kind &&
                         (extent.kind != ExtentKind::kData ||
                          (all.back().file == extent.file &&
                           all.back().file_offset + all.back().length == extent.file_offset));
      if (joins) {
        all.back().length += extent.length;
      } else {
        all.push_back(extent);
      }
    }
    VHDXM_CHECK(at == *stop && at <= end);
  }
  return all;
}

/// Parts of a disk that are looked at: its beginning and its end.
std::vector<std::pair<std::uint64_t, std::uint64_t>> windows(const Geometry& geometry) {
  constexpr std::uint64_t kWindow = 512 * kMiB;
  const std::uint64_t size = geometry.virtual_size_bytes;
  if (size == 0) return {};
  if (size <= 2 * kWindow) return {{0, size}};
  return {{0, kWindow}, {size - kWindow, size}};
}

void check_content(Image& image, std::uint64_t begin, std::uint64_t end) {
  std::array<std::byte, 1> byte{};
  const std::uint64_t step = (end - begin) / 64 | 1;
  for (std::uint64_t at = begin; at < end; at += step) {
    const auto read = image.read(at, byte);
    if (read.has_error()) {
      check_refusal(read.error());
      continue;
    }
    VHDXM_CHECK(byte[0] == model_byte(image, at));
  }
}

void check_layer(Layer& layer) {
  const auto proved = layer.validate_bat();
  if (proved.has_error()) check_refusal(proved.error());
  for (const auto& [begin, end] : windows(layer.geometry())) {
    const std::uint64_t sector = layer.geometry().logical_sector_bytes;
    const Extents by_many = map_all(layer, sector, begin, end, 1000);
    VHDXM_CHECK(proved.has_error() || !by_many.empty());
    const Extents by_few = map_all(layer, sector, begin, end, 3);
    VHDXM_CHECK(
        std::equal(by_many.begin(), by_many.end(), by_few.begin(), by_few.end(), same_place));
  }
}

void check_replay_on_file(const VhdxBuilder& disk, Layer& in_memory) {
  const auto on_file = Layer::open(disk.file(), Layer::Replay::kOnFile);
  if (on_file.has_error()) {
    VHDXM_CHECK(on_file.error().code == Errc::kSequenceExhausted);
    return;
  }
  VHDXM_CHECK((*on_file)->replayed_entries() == in_memory.replayed_entries());
  const auto again = Layer::open(disk.file(), Layer::Replay::kInMemory);
  VHDXM_CHECK(!again.has_error() && (*again)->replayed_entries() == 0);
  VHDXM_CHECK((*again)->description() == in_memory.description());
  const std::uint64_t sector = in_memory.geometry().logical_sector_bytes;
  for (const auto& [begin, end] : windows(in_memory.geometry())) {
    const Extents expected = map_all(in_memory, sector, begin, end, 1000);
    const Extents found = map_all(**again, sector, begin, end, 1000);
    VHDXM_CHECK(
        std::equal(expected.begin(), expected.end(), found.begin(), found.end(), same_place));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 4096) return 0;
  const std::span<const std::byte> input = std::as_bytes(std::span(data, size));
  VhdxBuilder disk = test::patched_image(input);

  auto layer = Layer::open(disk.file(), Layer::Replay::kInMemory);
  if (layer.has_error()) {
    check_refusal(layer.error());
    return 0;
  }
  check_layer(**layer);
  check_replay_on_file(disk, **layer);

  std::vector<std::unique_ptr<Layer>> layers;
  auto reopened = Layer::open(disk.file(), Layer::Replay::kInMemory);
  layers.push_back(std::move(reopened).value());
  const bool has_parent = layers[0]->geometry().type == DiskType::kDifferencing;
  if (has_parent) {
    const VhdxBuilder parent = test::parent_of_patched_image();
    layers.push_back(Layer::open(parent.file(), Layer::Replay::kInMemory).value());
  }
  const auto image = Image::from_layers(std::move(layers));
  if (image.has_error()) {
    check_refusal(image.error());
    return 0;
  }
  for (const auto& [begin, end] : windows((*image)->geometry())) {
    for (const Extent& extent :
         map_all(**image, (*image)->geometry().logical_sector_bytes, begin, end, 100)) {
      VHDXM_CHECK(extent.kind != ExtentKind::kParent);
    }
    check_content(**image, begin, end);
  }
  return 0;
}
