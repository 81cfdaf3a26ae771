// What check_link() says about children and parents that readers take as they are.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/support/vhdx_builder.h"
#include "vhdx/check.h"
#include "vhdx/layer.h"

namespace vhdxm::vhdx {
namespace {

using test::VhdxBuilder;

TEST(CheckLink, SaysWhatIsOddAboutAChildAndItsParent) {
  const auto open = [](const VhdxBuilder& disk) {
    return Layer::open(disk.file(), Layer::Replay::kInMemory).value();
  };
  const auto child_layer = [&](VhdxBuilder::Options options, const char* key) {
    options.locator = {
        {"parent_linkage", test::braced(guid_literal("99999999-0000-0000-0000-000000000001"))},
        {"relative_path", "p"}};
    if (key != nullptr) {
      options.locator->insert(options.locator->begin(),
                              {key, test::braced(VhdxBuilder::Options{}.data_write_guid)});
    } else {
      (*options.locator)[0].second = test::braced(VhdxBuilder::Options{}.data_write_guid);
    }
    return open(VhdxBuilder(options));
  };
  const VhdxBuilder parent_disk;
  const auto parent = open(parent_disk);
  EXPECT_TRUE(check_link(*child_layer({}, nullptr), *parent).findings.empty());
  struct Oddity {
    std::unique_ptr<Layer> child;
    const char* text;
  };
  std::vector<Oddity> oddities;
  oddities.push_back({child_layer({}, "parent_linkage2"), "a merge was not finished"});
  oddities.push_back({child_layer({.virtual_size = 9 * kMiB}, nullptr), "reads as zero"});
  oddities.push_back({child_layer({.virtual_size = 4 * kMiB}, nullptr), "does not show"});
  oddities.push_back({child_layer({.physical_sector = 512}, nullptr), "physical sectors"});
  oddities.push_back({child_layer({.disk_id = Guid::random()}, nullptr), "Virtual Disk ID"});
  for (const Oddity& oddity : oddities) {
    const CheckReport report = check_link(*oddity.child, *parent);
    ASSERT_EQ(report.findings.size(), 1U) << oddity.text;
    EXPECT_EQ(report.findings[0].severity, Finding::Severity::kNote);
    EXPECT_NE(report.findings[0].what.find(oddity.text), std::string::npos);
  }
}

}  // namespace
}  // namespace vhdxm::vhdx
