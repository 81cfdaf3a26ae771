#include "transfer/frame.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <vector>

#include "base/crc32c.h"
#include "base/little_endian.h"

#include "tests/support/random_seed.h"
#include "tests/transfer/hex_bytes.h"
#include "transfer/errc.h"

namespace vhdxm::transfer {
namespace {

constexpr FrameLimits kLimits{.extent_bytes_max = 1024 * 1024, .disk_count = 3};

FrameHeader data_frame() {
  FrameHeader frame;
  frame.kind = FrameKind::kData;
  frame.disk = 2;
  frame.pass = 0x01020304;
  frame.virtual_offset = 0x1122334455667788;
  frame.raw_length = 0x40000;
  frame.wire_length = 0x40000;
  frame.hash = Hash128{.low = 0xa7a6a5a4a3a2a1a0, .high = 0xb7b6b5b4b3b2b1b0};
  return frame;
}

FrameHeader range_frame(FrameKind kind) {
  FrameHeader frame;
  frame.kind = kind;
  frame.disk = 1;
  frame.virtual_offset = 0x100000;
  frame.raw_length = 0x40000;
  return frame;
}

FrameHeader same_frame() {
  FrameHeader frame = range_frame(FrameKind::kSame);
  frame.hash = Hash128{.low = 1, .high = 2};
  return frame;
}

FrameHeader end_frame() {
  FrameHeader frame;
  frame.kind = FrameKind::kEnd;
  return frame;
}

FrameHeader packed_frame() {
  FrameHeader frame = data_frame();
  frame.codec = compression::Codec::kZstd;
  frame.wire_length = 0x1234;
  return frame;
}

/// The header with the bytes at `at` replaced and its CRC made good again.
FrameHeaderBytes forged(FrameHeaderBytes bytes, std::size_t at, std::span<const std::byte> value) {
  std::copy(value.begin(), value.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
  const Le32 checksum = crc32c(std::span(bytes).first<60>());
  store_raw(bytes.data() + 60, checksum);
  return bytes;
}

template <class T>
FrameHeaderBytes forged(const FrameHeaderBytes& bytes, std::size_t at, T value) {
  const Le<T> raw = value;
  return forged(bytes, at, std::as_bytes(std::span(&raw, 1)));
}

Errc errc_of(const FrameHeaderBytes& bytes, const FrameLimits& limits = kLimits) {
  const Result<FrameHeader> result = decode_frame_header(bytes, limits);
  EXPECT_TRUE(result.has_error());
  if (!result.has_error()) return Errc{};
  EXPECT_STRNE(result.error().where, "");
  EXPECT_NE(result.error().offset, Error::kNoOffset);
  return static_cast<Errc>(result.error().code.value());
}

// Golden: the layout of version 1.
TEST(Frame, GoldenBytes) {
  EXPECT_EQ(to_hex(encode(data_frame())),
            "56 4d 46 31 01 00 01 00 02 00 00 00 04 03 02 01 "
            "88 77 66 55 44 33 22 11 00 00 04 00 00 00 00 00 "
            "00 00 04 00 00 00 00 00 a0 a1 a2 a3 a4 a5 a6 a7 "
            "b0 b1 b2 b3 b4 b5 b6 b7 00 00 00 00 33 ea 84 5d");
}

TEST(Frame, EveryKindComesBack) {
  for (const FrameHeader& frame :
       {data_frame(), range_frame(FrameKind::kZero), range_frame(FrameKind::kUnmapped),
        range_frame(FrameKind::kTransparent), same_frame(), end_frame()}) {
    const Result<FrameHeader> again = decode_frame_header(encode(frame), kLimits);
    ASSERT_TRUE(again) << describe(again.error());
    EXPECT_EQ(*again, frame);
  }
}

TEST(Frame, EveryFlippedBitIsFound) {
  const FrameHeaderBytes good = encode(data_frame());
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    FrameHeaderBytes bytes = good;
    bytes[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    const Errc errc = errc_of(bytes);
    EXPECT_EQ(errc, bit < 32 ? Errc::kProtocol : Errc::kChecksum) << bit;
  }
}

TEST(Frame, ForgedFieldsAreRefused) {
  const FrameHeaderBytes data = encode(data_frame());
  EXPECT_EQ(errc_of(forged<std::uint16_t>(data, 4, 2)), Errc::kProtocol) << "version";
  EXPECT_EQ(errc_of(forged<std::uint8_t>(data, 6, 0)), Errc::kProtocol) << "kind";
  EXPECT_EQ(errc_of(forged<std::uint8_t>(data, 6, 7)), Errc::kProtocol) << "kind";
  EXPECT_EQ(errc_of(forged<std::uint8_t>(data, 7, 200)), Errc::kProtocol) << "codec";
  EXPECT_EQ(errc_of(forged<std::uint32_t>(data, 8, 3)), Errc::kProtocol) << "disk";
  EXPECT_EQ(errc_of(forged<std::uint32_t>(data, 36, 1)), Errc::kProtocol) << "reserved";
  EXPECT_EQ(errc_of(forged<std::uint32_t>(data, 56, 1)), Errc::kProtocol) << "reserved";
}

TEST(Frame, LengthAboveTheNegotiatedExtentIsTooLarge) {
  FrameHeader frame = data_frame();
  frame.raw_length = frame.wire_length = kLimits.extent_bytes_max;
  EXPECT_TRUE(decode_frame_header(encode(frame), kLimits));
  frame.raw_length = frame.wire_length = kLimits.extent_bytes_max + 1;
  EXPECT_EQ(errc_of(encode(frame)), Errc::kTooLarge);
  frame.raw_length = std::uint64_t{1} << 63;
  EXPECT_EQ(errc_of(encode(frame)), Errc::kTooLarge);
  frame.raw_length = ~std::uint64_t{0};
  EXPECT_EQ(errc_of(encode(frame)), Errc::kTooLarge);
}

TEST(Frame, WireLengthFitsTheRawLength) {
  FrameHeader frame = data_frame();
  frame.wire_length = static_cast<std::uint32_t>(frame.raw_length) - 1;
  EXPECT_EQ(errc_of(encode(frame)), Errc::kProtocol) << "no codec makes it shorter";
  frame.wire_length = static_cast<std::uint32_t>(frame.raw_length) + 1;
  EXPECT_EQ(errc_of(encode(frame)), Errc::kTooLarge);
  frame.wire_length = ~std::uint32_t{0};
  EXPECT_EQ(errc_of(encode(frame)), Errc::kTooLarge);
  frame.wire_length = 0;
  EXPECT_EQ(errc_of(encode(frame)), Errc::kProtocol);
  frame.raw_length = 0;
  EXPECT_EQ(errc_of(encode(frame)), Errc::kProtocol);
}

TEST(Frame, PackedPayloadIsShorterAndWasAgreedOn) {
  FrameLimits limits = kLimits;
  EXPECT_EQ(errc_of(encode(packed_frame())), Errc::kProtocol) << "nobody agreed";
  limits.zstd = true;
  const Result<FrameHeader> again = decode_frame_header(encode(packed_frame()), limits);
  ASSERT_TRUE(again) << describe(again.error());
  EXPECT_EQ(*again, packed_frame());
  FrameHeader as_long = packed_frame();
  as_long.wire_length = static_cast<std::uint32_t>(as_long.raw_length);
  EXPECT_TRUE(decode_frame_header(encode(as_long), limits).has_error()) << "it saves nothing";
  FrameHeader range = range_frame(FrameKind::kZero);
  range.codec = compression::Codec::kZstd;
  EXPECT_TRUE(decode_frame_header(encode(range), limits).has_error()) << "nothing is packed";
}

TEST(Frame, RangesMayBeLongAndCarryNothing) {
  FrameHeader frame = range_frame(FrameKind::kUnmapped);
  frame.virtual_offset = 0;
  frame.raw_length = std::uint64_t{1} << 63;
  EXPECT_TRUE(decode_frame_header(encode(frame), kLimits));
  ++frame.raw_length;
  EXPECT_EQ(errc_of(encode(frame)), Errc::kTooLarge);
  frame = range_frame(FrameKind::kZero);
  frame.raw_length = 0;
  EXPECT_EQ(errc_of(encode(frame)), Errc::kProtocol);
  frame = range_frame(FrameKind::kZero);
  frame.wire_length = 1;
  EXPECT_EQ(errc_of(encode(frame)), Errc::kProtocol);
  frame = range_frame(FrameKind::kTransparent);
  frame.hash.high = 1;
  EXPECT_EQ(errc_of(encode(frame)), Errc::kProtocol);
}

TEST(Frame, SameSpeaksOfOneCell) {
  FrameHeader frame = same_frame();
  frame.raw_length = 512;  // the last cell of a disk may be short
  EXPECT_TRUE(decode_frame_header(encode(frame), kLimits));
  frame.raw_length = kCellBytes + 512;
  EXPECT_EQ(errc_of(encode(frame)), Errc::kTooLarge);
  frame = same_frame();
  frame.raw_length = 0;
  EXPECT_EQ(errc_of(encode(frame)), Errc::kProtocol);
  frame = same_frame();
  frame.virtual_offset += 4096;
  EXPECT_EQ(errc_of(encode(frame)), Errc::kProtocol);
  frame = same_frame();
  frame.wire_length = 1;
  EXPECT_EQ(errc_of(encode(frame)), Errc::kProtocol);
}

TEST(Frame, EndOfRangeMustNotWrap) {
  FrameHeader frame = data_frame();
  frame.virtual_offset = ~std::uint64_t{0} - frame.raw_length;
  EXPECT_TRUE(decode_frame_header(encode(frame), kLimits));
  ++frame.virtual_offset;
  EXPECT_EQ(errc_of(encode(frame)), Errc::kProtocol);
  frame = range_frame(FrameKind::kZero);
  frame.virtual_offset = std::uint64_t{1} << 63;
  frame.raw_length = std::uint64_t{1} << 63;
  EXPECT_EQ(errc_of(encode(frame)), Errc::kProtocol);
}

TEST(Frame, EndSaysNothingElse) {
  const FrameHeaderBytes end = encode(end_frame());
  for (std::size_t at = 7; at < 60; ++at) {
    EXPECT_EQ(errc_of(forged<std::uint8_t>(end, at, 1)), Errc::kProtocol) << at;
  }
}

TEST(Frame, NoDisksMeansNoFrames) {
  const FrameLimits none{.extent_bytes_max = 1024 * 1024, .disk_count = 0};
  EXPECT_EQ(errc_of(encode(range_frame(FrameKind::kZero)), none), Errc::kProtocol);
  EXPECT_TRUE(decode_frame_header(encode(end_frame()), none));
}

TEST(Frame, WhatIsAcceptedComesBackTheSame) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  int accepted = 0;
  for (int round = 0; round < 50'000; ++round) {
    FrameHeaderBytes bytes = encode(round % 2 == 0 ? data_frame() : range_frame(FrameKind::kZero));
    const std::size_t at = 4 + random() % 56;
    bytes = forged<std::uint8_t>(bytes, at, static_cast<std::uint8_t>(random()));
    const Result<FrameHeader> frame = decode_frame_header(bytes, kLimits);
    if (!frame) continue;
    ++accepted;
    ASSERT_EQ(encode(*frame), bytes);
    ASSERT_LE(frame->wire_length, kLimits.extent_bytes_max);
    ASSERT_LT(frame->virtual_offset, frame->virtual_offset + frame->raw_length);
  }
  EXPECT_GT(accepted, 100);
}

}  // namespace
}  // namespace vhdxm::transfer
