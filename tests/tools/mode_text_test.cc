#include "tools/mode_text.h"

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

namespace vhdxm::tools {
namespace {

using transfer::Bottleneck;
using transfer::CompressionReport;
using transfer::Mode;
using transfer::ModeReport;

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

TEST(ModeText, SaysHowAndWhy) {
  EXPECT_EQ(mode_text({}), "plain");
  EXPECT_EQ(mode_text({.bottleneck = Bottleneck::kDestinationDisk}),
            "plain (the disk there is the bottleneck)");
  EXPECT_EQ(mode_text({.mix = {.light = 1, .strong = 3, .strong_share = 0.4},
                       .bottleneck = Bottleneck::kLink}),
            "60% level 1, 40% level 3 (the network is the bottleneck)");
  EXPECT_EQ(mode_text({.mix = {.light = std::nullopt, .strong = -5, .strong_share = 0.25},
                       .bottleneck = Bottleneck::kSourceProcessor}),
            "75% plain, 25% level -5 (the processor here is the bottleneck)");
  EXPECT_EQ(mode_text({.mix = {.light = 9, .strong = 9}}), "level 9");
  EXPECT_EQ(mode_text({.mix = {.light = 9, .strong = 12, .strong_share = 0.9999}}), "level 12");
}

TEST(ModeText, DoesNotNameLevelsThatGainNothing) {
  EXPECT_EQ(
      mode_text(
          {.mix = {.light = 9, .strong = 9}, .gaining = 0.001, .bottleneck = Bottleneck::kLink}),
      "plain, for the data does not compress (the network is the bottleneck)");
}

TEST(ModeText, SumsUpTheJob) {
  EXPECT_EQ(compression_text({}), "auto: nothing was compressed");
  EXPECT_EQ(compression_text({.asked = Mode::kPlain, .bottleneck = Bottleneck::kSourceDisk}),
            "plain: nothing was compressed; the disk here was the bottleneck");
  EXPECT_EQ(compression_text({.asked = Mode::kCompress, .supported = false}),
            "compress: nothing was compressed, the receiver does not take it");
  EXPECT_EQ(
      compression_text({.packed_bytes = 3 * kGiB / 2, .level = 1, .bottleneck = Bottleneck::kLink}),
      "auto: 1.5 GiB compressed, mostly at level 1; the network was the bottleneck");
}

TEST(ModeText, IsForProgramsToo) {
  boost::json::object fields;
  add_mode(fields, {.mix = {.light = std::nullopt, .strong = 1, .strong_share = 0.5},
                    .gaining = 0.75,
                    .bottleneck = Bottleneck::kLink});
  EXPECT_EQ(boost::json::serialize(fields),
            R"({"mode":"auto","ways":[{"level":null,"share":5E-1},{"level":1,"share":5E-1}],)"
            R"("gaining":7.5E-1,"bottleneck":"link"})");
  EXPECT_EQ(boost::json::serialize(
                compression_fields({.packed_bytes = 7, .level = 3, .processor_ns = 5'000'000})),
            R"({"packed_bytes":7,"level":3,"processor_ms":5,"bottleneck":"unknown"})");
}

}  // namespace
}  // namespace vhdxm::tools
