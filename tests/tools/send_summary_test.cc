#include "tools/send_summary.h"

#include <gtest/gtest.h>

#include <boost/json/array.hpp>

namespace vhdxm::tools {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kMiB = 1024 * 1024;
constexpr std::uint64_t kGiB = 1024 * kMiB;

SendOutcome outcome() {
  SendOutcome result;
  result.host = "newhost";
  result.streams = 4;
  transfer::JobReport& report = result.report;
  report.disks.push_back({.name = "web01.vhdx",
                          .source_path = "/srv/web01.vhdx",
                          .outcome = transfer::DiskReport::Outcome::kSent,
                          .virtual_bytes = 40 * kGiB,
                          .payload_bytes = 8 * kGiB,
                          .ledger = "00ff",
                          .verified = true});
  report.totals.bytes_total = 8 * kGiB;
  report.totals.bytes_done = 8 * kGiB;
  report.totals.wire_bytes = 6 * kGiB;
  report.totals.zero_bytes = 2 * kGiB;
  report.totals.unallocated_bytes = 32 * kGiB;
  report.totals.elapsed = 64s;
  report.peer = "10.0.0.5:6600, vhdx-migrate 0.1.0";
  report.cipher = "TLS_AES_128_GCM_SHA256";
  report.frames = 77;
  report.peak_buffer_bytes = 64 * kMiB;
  return result;
}

TEST(SendSummary, SaysWhoOwnsTheDiskFirst) {
  EXPECT_TRUE(summary_text(outcome()).starts_with(
      "web01.vhdx is complete at newhost; the source keeps its copy and is unchanged.\n"));
}

TEST(SendSummary, IsATableForAPerson) {
  EXPECT_EQ(summary_text(outcome()),
            "web01.vhdx is complete at newhost; the source keeps its copy and is unchanged.\n"
            "  sent      6 GiB on the wire, for 40 GiB of 1 disk\n"
            "  saved     34 GiB: unallocated 32 GiB, zero 2 GiB\n"
            "  mode      auto: nothing was compressed\n"
            "  time      64.0 s, 128 MiB/s\n"
            "  streams   4\n"
            "  peer      10.0.0.5:6600, vhdx-migrate 0.1.0\n"
            "  security  TLS_AES_128_GCM_SHA256\n"
            "  ledger    00ff, the same at both sides\n"
            "  verified  yes: both sides were read again and agree");
}

TEST(SendSummary, SaysWhatWentOverBrokenStreamsAndInPlainText) {
  SendOutcome result = outcome();
  result.report.streams_replaced = 2;
  result.report.resent_bytes = kMiB;
  result.report.plaintext_data = true;
  const std::string text = summary_text(result);
  EXPECT_NE(text.find("4, 2 replaced after they broke, 1 MiB sent again"), std::string::npos);
  EXPECT_NE(text.find("data was NOT encrypted"), std::string::npos);
}

TEST(SendSummary, OfADiskThatWasThereSaysThatNothingWasSent) {
  SendOutcome result = outcome();
  result.report.disks[0].outcome = transfer::DiskReport::Outcome::kIdentical;
  EXPECT_NE(summary_text(result).find("the same was there already, nothing was sent"),
            std::string::npos);
}

TEST(SendSummary, NamesTheDiskThatWasAskedForNotItsParent) {
  SendOutcome result = outcome();
  transfer::DiskReport parent = result.report.disks.front();
  parent.name = "base.vhdx";
  result.report.disks.insert(result.report.disks.begin(), parent);
  EXPECT_TRUE(ownership_sentence(result).starts_with("web01.vhdx is complete"));
}

TEST(SendSummary, JsonHasAllFieldsOfTheReport) {
  const boost::json::object fields = summary_json(outcome());
  EXPECT_EQ(fields.at("command").as_string(), "send");
  EXPECT_EQ(fields.at("exit").as_int64(), 0);
  EXPECT_EQ(fields.at("host").as_string(), "newhost");
  EXPECT_EQ(fields.at("virtual_bytes").as_uint64(), 40 * kGiB);
  EXPECT_EQ(fields.at("wire_bytes").as_uint64(), 6 * kGiB);
  EXPECT_EQ(fields.at("zero_bytes").as_uint64(), 2 * kGiB);
  EXPECT_EQ(fields.at("unallocated_bytes").as_uint64(), 32 * kGiB);
  EXPECT_EQ(fields.at("elapsed_ms").as_int64(), 64'000);
  EXPECT_EQ(fields.at("bytes_per_second").as_uint64(), 128 * kMiB);
  EXPECT_EQ(fields.at("streams").as_uint64(), 4U);
  EXPECT_EQ(fields.at("frames").as_uint64(), 77U);
  EXPECT_EQ(fields.at("peak_buffer_bytes").as_uint64(), 64 * kMiB);
  EXPECT_GT(fields.at("peak_rss_bytes").as_uint64(), kMiB);
  const boost::json::object& disk = fields.at("disks").as_array().at(0).as_object();
  EXPECT_EQ(disk.at("name").as_string(), "web01.vhdx");
  EXPECT_EQ(disk.at("outcome").as_string(), "sent");
  EXPECT_EQ(disk.at("ledger").as_string(), "00ff");
  EXPECT_TRUE(disk.at("verified").as_bool());
}

}  // namespace
}  // namespace vhdxm::tools
