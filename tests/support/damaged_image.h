// Damaged images, made from a few bytes: a built-in image and patches to it, its checksums made
// good afterwards. What the fuzz targets and the property tests of the reader, the check and the
// repair have in common.
#pragma once

#include <cstddef>
#include <span>

#include "base/guid.h"
#include "tests/support/vhdx_builder.h"

namespace vhdxm::test {

/// The input is {u8 image, u8 flags} and patches: {u8 place, u8 length - 1, u24 offset in the
/// place, bytes}. Flag 1: checksums stay as they are. Requires: at least 2 bytes.
VhdxBuilder patched_image(std::span<const std::byte> input);
/// The image without patches.
VhdxBuilder unpatched_image(std::span<const std::byte> input);
/// The disk whose children those images are that have a parent.
VhdxBuilder parent_of_patched_image();

/// The input is {u8 image} and patches of one byte: {u8 place, u16 offset in the place, u8 value}.
/// Bit 7 of the first byte: checksums stay as they are. Requires: at least 1 byte.
VhdxBuilder byte_patched_image(std::span<const std::byte> input);

}  // namespace vhdxm::test
