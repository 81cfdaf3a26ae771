#include "tools/advice_text.h"

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

namespace vhdxm::tools {
namespace {

using compression::Limit;
using transfer::Advice;
using transfer::Mode;

constexpr std::uint64_t kMiB = 1024 * 1024;

Advice advice() {
  Advice made;
  made.payload_bytes = 1000 * kMiB;
  made.sample_bytes = 10 * kMiB;
  made.zero_share = 0.04;
  made.incompressible_share = 0.1;
  made.link_measured = true;
  made.conditions.link_bytes_per_s = 12.5e6;
  made.peer = "newhost:6600, vhdx-migrate 0.1.0";
  made.rows = {{.prediction = {.seconds = 84,
                               .bytes_per_second = 12.5e6,
                               .wire_bytes = 1000.0 * kMiB,
                               .sender_cpu_s = 1,
                               .receiver_cpu_s = 1.2,
                               .limit = Limit::kLink}},
               {.mode = Mode::kCompress,
                .level = 1,
                .prediction = {.seconds = 28,
                               .wire_bytes = 333.0 * kMiB,
                               .sender_cpu_s = 3,
                               .receiver_cpu_s = 2,
                               .limit = Limit::kLink}},
               {.mode = Mode::kAuto,
                .level = 3,
                .light = 1,
                .strong_share = 0.25,
                .prediction = {.seconds = 26.5,
                               .wire_bytes = 320.0 * kMiB,
                               .sender_cpu_s = 4,
                               .receiver_cpu_s = 2,
                               .limit = Limit::kSenderCpu}}};
  made.recommended = 2;
  return made;
}

TEST(AdviceText, IsATableAndASentence) {
  EXPECT_EQ(advice_text(advice()), R"(To newhost:6600, vhdx-migrate 0.1.0
Link: 100 Mbit/s
Disk: 1000 MiB to move; a sample of 10 MiB has 4% zeros, 10% does not compress

  mode                                 time  on the wire   CPU here  CPU there  bottleneck
  plain                              84.0 s     1000 MiB      1.0 s      1.2 s  the network
  level 1                            28.0 s      333 MiB      3.0 s      2.0 s  the network
* auto: 75% level 1, 25% level 3     26.5 s      320 MiB      4.0 s      2.0 s  the processors here

Take --mode auto: 26.5 s, 3.2 times as fast as plain.
)");
}

TEST(AdviceText, SaysWhyPlainIsBest) {
  Advice made = advice();
  made.recommended = 0;
  made.rows[0].prediction.limit = Limit::kDestinationDisk;
  EXPECT_EQ(
      recommendation(made),
      "Take --mode plain, or leave it to auto: 84.0 s, and compression would win nothing, for "
      "writing the disk is the bottleneck.");
  made.recommended = 1;
  EXPECT_EQ(recommendation(made),
            "Take --mode compress --level 1: 28.0 s, 3.0 times as fast as plain.");
}

TEST(AdviceText, IsForProgramsToo) {
  const boost::json::object fields = advice_json(advice());
  EXPECT_EQ(fields.at("recommended"), "--mode auto");
  EXPECT_EQ(fields.at("link_bytes_per_second"), 12'500'000U);
  EXPECT_EQ(fields.at("source_bytes_per_second"), nullptr);
  const auto& modes = fields.at("modes").as_array();
  ASSERT_EQ(modes.size(), 3U);
  EXPECT_EQ(boost::json::serialize(modes[1]),
            R"({"mode":"compress","level":1,"seconds":2.8E1,"wire_bytes":349175808,)"
            R"("sender_cpu_seconds":3E0,"receiver_cpu_seconds":2E0,"bottleneck":"link"})");
  EXPECT_EQ(modes[2].as_object().at("light_level"), 1);
  EXPECT_EQ(modes[2].as_object().at("strong_share"), 0.25);
}

}  // namespace
}  // namespace vhdxm::tools
