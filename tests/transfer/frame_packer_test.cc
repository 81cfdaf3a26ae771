#include "transfer/frame_packer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "base/hash128.h"
#include "compression/compressor.h"
#include "compression/probe.h"
#include "tests/support/sample_data.h"

namespace vhdxm::transfer {
namespace {

using test::SampleKind;
constexpr std::size_t kMiB = 1024 * 1024;

/// Frames whose payload stands back to back in a buffer.
struct Frames {
  BuiltFrames built;
  std::vector<std::byte> buffer;
  std::vector<std::vector<std::byte>> raw;

  explicit Frames(const std::vector<std::vector<std::byte>>& parts) : raw(parts) {
    for (const auto& part : parts) buffer.insert(buffer.end(), part.begin(), part.end());
    std::uint64_t at = 0;
    for (const auto& part : parts) {
      ExtentQueue::Sent sent;
      sent.header = {.kind = FrameKind::kData,
                     .virtual_offset = at,
                     .raw_length = part.size(),
                     .wire_length = static_cast<std::uint32_t>(part.size()),
                     .hash = hash128(part, 5)};
      built.frames.push_back(sent);
      built.payloads.push_back(std::span<const std::byte>(buffer).subspan(at, part.size()));
      at += part.size();
    }
  }
};

class FramePacker : public testing::Test {
 protected:
  static ModeControl at_level(int level) {
    return ModeControl({.light = level, .strong = level}, std::numeric_limits<double>::infinity());
  }
  CompressorPool compressors_{kMiB, 12, 2};
};

TEST_F(FramePacker, PacksWhatGainsAndLeavesTheRestAsItIs) {
  Frames frames({test::sample_data(SampleKind::kText, 300'032, 1),
                 test::sample_data(SampleKind::kRandom, 262'144, 2),
                 test::sample_data(SampleKind::kDatabase, 400'000, 3),
                 test::sample_data(SampleKind::kCompressed, 4096, 4)});
  ModeControl control = at_level(3);
  pack_frames(frames.built, frames.buffer, control, compressors_);
  compression::Decompressor decompressor;
  std::uint64_t saved = 0;
  for (std::size_t i = 0; i < frames.raw.size(); ++i) {
    SCOPED_TRACE(i);
    const FrameHeader& header = frames.built.frames[i].header;
    const auto payload = frames.built.payloads[i];
    EXPECT_EQ(header.raw_length, frames.raw[i].size());
    EXPECT_EQ(header.hash, hash128(frames.raw[i], 5)) << "it is of the raw bytes";
    ASSERT_EQ(payload.size(), header.wire_length);
    EXPECT_TRUE(payload.data() >= frames.buffer.data() &&
                payload.data() + payload.size() <= frames.buffer.data() + frames.buffer.size());
    EXPECT_TRUE(decode_frame_header(encode(header),
                                    {.extent_bytes_max = kMiB, .disk_count = 1, .zstd = true})
                    .has_value());
    if (i % 2 == 0) {
      EXPECT_EQ(header.codec, compression::Codec::kZstd);
      EXPECT_LE(payload.size(), compression::worthwhile_bytes_max(header.raw_length));
      std::vector<std::byte> again(header.raw_length);
      ASSERT_FALSE(decompressor.decompress(payload, again).has_error());
      EXPECT_EQ(again, frames.raw[i]);
      saved += header.raw_length - header.wire_length;
    } else {
      EXPECT_EQ(header.codec, compression::Codec::kNone);
      EXPECT_TRUE(std::ranges::equal(payload, frames.raw[i]));
    }
  }
  EXPECT_EQ(control.totals().saved_bytes, saved);
  EXPECT_EQ(control.totals().packed_bytes, 700'032U);
  EXPECT_EQ(control.totals().by_level.at(3), 700'032U);
}

TEST_F(FramePacker, LeavesRangesAloneAndPlainAsItIs) {
  Frames frames({test::sample_data(SampleKind::kText, 65536, 1)});
  frames.built.frames[0].header.kind = FrameKind::kSame;
  ModeControl packing = at_level(1);
  pack_frames(frames.built, frames.buffer, packing, compressors_);
  EXPECT_EQ(frames.built.frames[0].header.codec, compression::Codec::kNone);
  frames.built.frames[0].header.kind = FrameKind::kData;
  ModeControl plain({}, std::numeric_limits<double>::infinity());
  pack_frames(frames.built, frames.buffer, plain, compressors_);
  EXPECT_EQ(frames.built.frames[0].header.codec, compression::Codec::kNone);
  EXPECT_TRUE(std::ranges::equal(frames.buffer, frames.raw[0]));
}

TEST_F(FramePacker, FindsOutWhatLevelsCostWhenItIsAsked) {
  ModeControl control({}, std::numeric_limits<double>::infinity());
  control.set({.light = 1, .strong = 1});
  control.ask_for_costs(12);
  Frames random({test::sample_data(SampleKind::kRandom, kMiB, 1)});
  pack_frames(random.built, random.buffer, control, compressors_);
  EXPECT_TRUE(control.take_costs().empty()) << "what does not compress says nothing";
  control.ask_for_costs(12);
  Frames text({test::sample_data(SampleKind::kText, kMiB, 1)});
  pack_frames(text.built, text.buffer, control, compressors_);
  const auto costs = control.take_costs();
  ASSERT_GE(costs.size(), 3U);
  EXPECT_EQ(costs.front(), compression::LevelCost{});
  EXPECT_EQ(costs.back().level, 12);
  EXPECT_LT(costs.back().ratio, costs[1].ratio);
  EXPECT_GT(costs.back().compress_s_per_byte, costs[1].compress_s_per_byte);
}

TEST_F(FramePacker, FindsOutWhatCheapLevelsCostOfWhatTravelsAsItIs) {
  ModeControl control({}, std::numeric_limits<double>::infinity());
  control.ask_for_costs(1);
  Frames text({test::sample_data(SampleKind::kText, kMiB, 1)});
  pack_frames(text.built, text.buffer, control, compressors_);
  EXPECT_EQ(text.built.frames[0].header.codec, compression::Codec::kNone);
  EXPECT_TRUE(std::ranges::equal(text.buffer, text.raw[0]));
  const auto costs = control.take_costs();
  ASSERT_GE(costs.size(), 2U);
  EXPECT_EQ(costs.back().level, 1);
}

}  // namespace
}  // namespace vhdxm::transfer
