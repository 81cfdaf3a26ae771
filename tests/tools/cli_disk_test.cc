// The commands that work on disks of this host, with qemu-img and cmp as witnesses.
#include <gtest/gtest.h>

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/temp_folder.h"
#include "tests/tools/sparse_content.h"
#include "tests/tools/tool_process.h"

namespace vhdxm::test {
namespace {

#define REQUIRE_PROGRAM(name) \
  if (!has_program(name)) GTEST_SKIP() << name << " is not installed"

bool exists(const std::string& path) {
  return std::filesystem::exists(path);
}

/// Runs the tool, which must succeed.
Ended done(const Words& words) {
  Ended ended = run_tool(words);
  EXPECT_EQ(ended.exit, 0) << ended.out << ended.err;
  return ended;
}

void make_disk(const std::string& path, std::uint64_t size, const std::vector<Stretch>& runs,
               const Words& options = {}) {
  make_raw(path + ".raw", size, runs);
  Words words = {"import", path + ".raw", path};
  words.insert(words.end(), options.begin(), options.end());
  done(words);
}

class CliDisk : public testing::Test {
 protected:
  TempFolder folder_;
};

TEST_F(CliDisk, CreateMakesWhatHyperVMakesByDefault) {
  const std::string disk = folder_ / "a.vhdx";
  const Ended made = done({"create", disk, "--size", "8G"});
  EXPECT_EQ(made.out, "");
  EXPECT_NE(made.err.find("Made "), std::string::npos);
  EXPECT_FALSE(exists(disk + ".partial"));
  const auto info = done({"info", disk, "--json"}).object("info");
  EXPECT_EQ(info.at("disk_type").as_string(), "dynamic");
  EXPECT_EQ(info.at("virtual_bytes").as_int64(), 8192 * static_cast<std::int64_t>(kMiB));
  EXPECT_EQ(info.at("block_bytes").as_int64(), 32 * static_cast<std::int64_t>(kMiB));
  EXPECT_EQ(info.at("logical_sector_bytes").as_int64(), 512);
  EXPECT_EQ(info.at("physical_sector_bytes").as_int64(), 4096);
  EXPECT_FALSE(info.at("log").as_object().at("dirty").as_bool());
}

TEST_F(CliDisk, QemuReadsWhatCreateMakes) {
  REQUIRE_PROGRAM("qemu-img");
  for (const Words& options : {Words{"--size", "33M"}, Words{"--size", "3M", "--fixed"},
                               Words{"--size", "1T", "--block-size", "256M"}}) {
    const std::string disk = folder_ / ("a" + options[1] + ".vhdx");
    Words words = {"create", disk};
    words.insert(words.end(), options.begin(), options.end());
    done(words);
    EXPECT_EQ(run_program({"qemu-img", "check", disk}).exit, 0) << options[1];
    const auto theirs =
        boost::json::parse(run_program({"qemu-img", "info", "--output=json", disk}).out);
    const auto ours = done({"info", disk, "--json"}).object("info");
    EXPECT_EQ(theirs.at("virtual-size"), ours.at("virtual_bytes"));
    EXPECT_EQ(theirs.at("cluster-size"), ours.at("block_bytes"));
  }
}

TEST_F(CliDisk, AnExistingFileIsNeverOverwritten) {
  const std::string disk = folder_ / "a.vhdx";
  make_disk(folder_ / "b.vhdx", 4 * kMiB, {{0, kMiB}});
  make_raw(disk, 100, {});
  const std::string before = content_of_file(disk);
  for (const Words& words :
       {Words{"create", disk, "--size", "1G"}, Words{"import", folder_ / "b.vhdx.raw", disk},
        Words{"export", folder_ / "b.vhdx", disk}}) {
    const Ended ended = run_tool(words);
    EXPECT_EQ(ended.exit, 1);
    EXPECT_NE(ended.err.find("never overwritten"), std::string::npos) << ended.err;
    EXPECT_EQ(content_of_file(disk), before);
    EXPECT_FALSE(exists(disk + ".partial"));
  }
}

TEST_F(CliDisk, AnotherCommandsPartialIsLeftAlone) {
  const std::string disk = folder_ / "a.vhdx";
  make_raw(disk + ".partial", 100, {});
  const Ended ended = run_tool({"create", disk, "--size", "1G"});
  EXPECT_EQ(ended.exit, 1);
  EXPECT_NE(ended.err.find("a.vhdx.partial: exists already"), std::string::npos) << ended.err;
  EXPECT_TRUE(exists(disk + ".partial"));
  EXPECT_FALSE(exists(disk));
}

TEST_F(CliDisk, AFailureLeavesNoPartialBehind) {
  const std::string disk = folder_ / "a.vhdx";
  make_disk(folder_ / "p.vhdx", 4 * kMiB, {});
  // 16 TiB are more than the file system of a test can reserve.
  const Ended ended = run_tool({"create", disk, "--size", "16T", "--fixed"});
  EXPECT_EQ(ended.exit, 1);
  EXPECT_FALSE(exists(disk));
  EXPECT_FALSE(exists(disk + ".partial"));
}

TEST_F(CliDisk, ImportAndExportAreARoundTrip) {
  REQUIRE_PROGRAM("qemu-img");
  const std::uint64_t size = 150 * kMiB + 512;
  const std::vector<Stretch> runs = {{0, 4096}, {5 * kMiB - 512, kMiB}, {149 * kMiB, kMiB}};
  const std::string raw = folder_ / "a.raw";
  make_raw(raw, size, runs);
  for (const Words& options :
       {Words{}, Words{"--block-size", "1M"}, Words{"--fixed", "--block-size", "2M"}}) {
    const std::string disk = folder_ / "a.vhdx";
    const std::string back = folder_ / "back.raw";
    Words words = {"import", raw, disk, "--json"};
    words.insert(words.end(), options.begin(), options.end());
    EXPECT_EQ(done(words).object("done").at("command").as_string(), "import");
    EXPECT_EQ(run_program({"qemu-img", "check", disk}).exit, 0);
    EXPECT_EQ(run_program({"qemu-img", "compare", "-f", "raw", "-F", "vhdx", raw, disk}).exit, 0);
    EXPECT_EQ(done({"compare", raw, disk}).exit, 0);
    done({"check", disk});
    done({"export", disk, back});
    EXPECT_EQ(run_program({"cmp", raw, back}).exit, 0);
    // Sparse: of 150 MiB, 2 hold something.
    const auto taken = run_program({"stat", "--format=%b", back});
    EXPECT_LT(std::stoull(taken.out) * 512, 4 * kMiB);
    std::filesystem::remove(disk);
    std::filesystem::remove(back);
  }
}

TEST_F(CliDisk, ImportRoundsUpToWholeSectors) {
  const std::string raw = folder_ / "a.raw";
  make_raw(raw, kMiB + 1, {{0, 4096}});
  done({"import", raw, folder_ / "a.vhdx"});
  done({"import", raw, folder_ / "b.vhdx", "--logical-sector", "4096"});
  EXPECT_EQ(
      done({"info", folder_ / "a.vhdx", "--json"}).object("info").at("virtual_bytes").as_int64(),
      static_cast<std::int64_t>(kMiB + 512));
  EXPECT_EQ(
      done({"info", folder_ / "b.vhdx", "--json"}).object("info").at("virtual_bytes").as_int64(),
      static_cast<std::int64_t>(kMiB + 4096));
}

TEST_F(CliDisk, ImportNeverTakesAGuestsBytesForAVhdx) {
  const std::string disk = folder_ / "inner.vhdx";
  make_disk(disk, 4 * kMiB, {{0, kMiB}}, {"--block-size", "1M"});
  const std::string outer = folder_ / "outer.vhdx";
  done({"import", disk, outer});
  EXPECT_EQ(done({"compare", disk, outer, "--format-a", "raw"}).exit, 0);
}

TEST_F(CliDisk, MapSaysWhereTheBytesAre) {
  const std::string disk = folder_ / "a.vhdx";
  make_disk(disk, 20 * kMiB, {{3 * kMiB, kMiB}, {8 * kMiB, 3 * kMiB}, {19 * kMiB, 4096}},
            {"--block-size", "1M"});
  std::vector<std::string> disks = {disk};
  if (has_program("qemu-img")) {
    // QEMU's own file has its blocks in the order in which they were written.
    disks.push_back(folder_ / "theirs.vhdx");
    const Words convert = {"qemu-img",           "convert", "-O",        "vhdx", "-o",
                           "block_size=1048576", disk,      disks.back()};
    ASSERT_EQ(run_program(convert).exit, 0);
  }
  const std::string content = content_of_file(disk + ".raw");
  for (const std::string& path : disks) {
    const std::string file = content_of_file(path);
    for (const auto& object : done({"map", path, "--json"}).objects()) {
      if (object.at("type") != "extent") continue;
      const auto start = object.at("start").to_number<std::size_t>();
      const auto length = object.at("length").to_number<std::size_t>();
      const bool data = object.at("kind") == "data";
      const std::string found =
          data ? file.substr(object.at("offset").to_number<std::size_t>(), length)
               : std::string(length, '\0');
      EXPECT_TRUE(content.compare(start, length, found) == 0) << path << " at " << start;
    }
  }
}

TEST_F(CliDisk, MapCoversTheDiskWithoutGaps) {
  const std::string disk = folder_ / "a.vhdx";
  make_disk(disk, 100 * kMiB, {{3 * kMiB, kMiB}, {40 * kMiB, kMiB}}, {"--block-size", "1M"});
  std::int64_t at = 0;
  std::int64_t count = 0;
  const Ended map = done({"map", disk, "--json"});
  for (const auto& object : map.objects()) {
    if (object.at("type") != "extent") continue;
    EXPECT_EQ(object.at("start").as_int64(), at);
    at += object.at("length").as_int64();
    ++count;
  }
  EXPECT_EQ(at, static_cast<std::int64_t>(100 * kMiB));
  const auto total = map.object("map");
  EXPECT_EQ(total.at("extents").as_int64(), count);
  EXPECT_EQ(total.at("data_bytes").as_int64(), static_cast<std::int64_t>(2 * kMiB));
}

TEST_F(CliDisk, CompareShowsTheFirstDifference) {
  make_disk(folder_ / "a.vhdx", 8 * kMiB, {{0, kMiB}});
  make_disk(folder_ / "b.vhdx", 8 * kMiB, {{0, kMiB}}, {"--fixed"});
  EXPECT_EQ(done({"compare", folder_ / "a.vhdx", folder_ / "b.vhdx"}).exit, 0);
  damage(folder_ / "b.vhdx.raw", 7 * kMiB + 3, "x");
  const Ended human = run_tool({"compare", folder_ / "a.vhdx", folder_ / "b.vhdx.raw"});
  EXPECT_EQ(human.exit, 6);
  EXPECT_NE(human.out.find("the first different byte is at 7340035"), std::string::npos)
      << human.out;
  const Ended machine = run_tool({"compare", folder_ / "a.vhdx", folder_ / "b.vhdx.raw", "--json"});
  EXPECT_EQ(machine.exit, 6);
  EXPECT_EQ(machine.object("compare").at("first_difference").as_int64(), 7340035);
}

TEST_F(CliDisk, CompareTellsSizesApart) {
  make_disk(folder_ / "a.vhdx", 8 * kMiB, {});
  make_disk(folder_ / "b.vhdx", 9 * kMiB, {});
  const Ended ended = run_tool({"compare", folder_ / "a.vhdx", folder_ / "b.vhdx"});
  EXPECT_EQ(ended.exit, 6);
  EXPECT_NE(ended.out.find("differ in size only"), std::string::npos) << ended.out;
}

TEST_F(CliDisk, ACorruptFileIsExitSix) {
  const std::string disk = folder_ / "a.vhdx";
  make_disk(disk, 8 * kMiB, {{0, kMiB}});
  damage(disk, 64 * 1024 + 5, "damage");  // both headers
  damage(disk, 128 * 1024 + 5, "damage");
  for (const char* command : {"info", "map", "check"}) {
    EXPECT_EQ(run_tool({command, disk}).exit, 6) << command;
  }
  EXPECT_EQ(run_tool({"export", disk, folder_ / "out.raw"}).exit, 6);
  EXPECT_FALSE(exists(folder_ / "out.raw"));
  const Ended check = run_tool({"check", disk, "--json"});
  EXPECT_TRUE(check.object("check").at("corrupt").as_bool());
  EXPECT_EQ(check.object("check").at("exit").as_int64(), 6);
  EXPECT_EQ(check.object("finding").at("file").as_string(), disk);
}

TEST_F(CliDisk, ACutFileIsNamedInTheAdvice) {
  const std::string disk = folder_ / "cut, twice.vhdx";
  make_disk(disk, 8 * kMiB, {{0, kMiB}});
  std::filesystem::resize_file(disk, 2 * kMiB);
  const Ended info = run_tool({"info", disk, "--json"});
  EXPECT_EQ(info.exit, 6);
  EXPECT_NE(info.object("error").at("advice").as_string().find("check '" + disk + "'`"),
            std::string::npos)
      << info.out;
  const Ended check = run_tool({"check", disk, "--json"});
  EXPECT_EQ(check.exit, 6);
  EXPECT_EQ(check.object("check").at("files").as_array().size(), 1U);
}

TEST_F(CliDisk, OneDamagedHeaderIsNoCorruption) {
  const std::string disk = folder_ / "a.vhdx";
  make_disk(disk, 8 * kMiB, {{0, kMiB}});
  damage(disk, 64 * 1024 + 5, "damage");
  EXPECT_EQ(
      done({"info", disk, "--json"}).object("info").at("headers").as_array().at(0).at("state"),
      "wrong checksum");
  const auto check = done({"check", disk, "--json"}).object("check");
  EXPECT_FALSE(check.at("corrupt").as_bool());
}

TEST_F(CliDisk, WhatIsNoVhdxIsSaidToBeNone) {
  make_raw(folder_ / "a.raw", 4 * kMiB, {{0, kMiB}});
  const Ended ended = run_tool({"info", folder_ / "a.raw"});
  EXPECT_EQ(ended.exit, 6);
  EXPECT_NE(ended.err.find("a.raw: not a VHDX file"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("import"), std::string::npos) << ended.err;
}

TEST_F(CliDisk, AMissingFileIsExitOne) {
  const Ended ended = run_tool({"info", folder_ / "none.vhdx", "--json"});
  EXPECT_EQ(ended.exit, 1);
  EXPECT_EQ(ended.object("error").at("exit").as_int64(), 1);
  EXPECT_NE(ended.out.find("none.vhdx"), std::string::npos);
}

class CliChain : public CliDisk {
 protected:
  void SetUp() override {
    make_disk(parent_, 64 * kMiB, {{kMiB, kMiB}, {40 * kMiB, kMiB}});
    done({"create", child_, "--parent", parent_});
  }

  const std::string parent_ = folder_ / "base.vhdx";
  const std::string child_ = folder_ / "child.avhdx";
};

TEST_F(CliChain, AChildShowsItsParentAndKnowsIt) {
  EXPECT_EQ(done({"compare", child_, parent_}).exit, 0);
  const auto info = done({"info", child_, "--json"}).object("info");
  const auto above = done({"info", parent_, "--json"}).object("info");
  EXPECT_EQ(info.at("disk_type").as_string(), "differencing");
  EXPECT_EQ(info.at("block_bytes").as_int64(), 2 * static_cast<std::int64_t>(kMiB));
  EXPECT_EQ(info.at("virtual_bytes"), above.at("virtual_bytes"));
  EXPECT_EQ(info.at("virtual_disk_id"), above.at("virtual_disk_id"));
  EXPECT_EQ(info.at("parent").at("linkage"), above.at("data_write_guid"));
  EXPECT_EQ(info.at("parents").as_array().at(0).at("data_write_guid"), above.at("data_write_guid"));
}

TEST_F(CliChain, MapNamesTheLayerThatHoldsTheData) {
  const auto extent = [&] {
    for (const auto& object : done({"map", child_, "--json"}).objects()) {
      if (object.at("kind") == "data") return object;
    }
    return boost::json::object{};
  }();
  EXPECT_EQ(extent.at("depth").as_int64(), 1);
  EXPECT_NE(extent.at("file").as_string().find("base.vhdx"), std::string::npos);
  EXPECT_EQ(done({"map", child_, "--no-parents", "--json"}).object("extent").at("kind").as_string(),
            "parent");
}

TEST_F(CliChain, ChecksTheParentsToo) {
  EXPECT_EQ(done({"check", child_, "--json"}).object("check").at("files").as_array().size(), 2U);
  damage(parent_, 64 * 1024 + 5, "damage");
  damage(parent_, 128 * 1024 + 5, "damage");
  const Ended ended = run_tool({"check", child_});
  EXPECT_EQ(ended.exit, 6);
  EXPECT_NE(ended.out.find("depends on a file that is corrupt"), std::string::npos) << ended.out;
  EXPECT_EQ(run_tool({"check", child_, "--no-parents"}).exit, 0);
}

TEST_F(CliChain, WithoutItsParentAChildCanStillBeLookedAt) {
  std::filesystem::rename(parent_, folder_ / "away.vhdx");
  const Ended ended = run_tool({"info", child_, "--json"});
  EXPECT_EQ(ended.exit, 1);
  EXPECT_EQ(ended.object("info").at("disk_type").as_string(), "differencing");
  EXPECT_NE(ended.object("error").at("message").as_string().find("child.avhdx"), std::string::npos);
  EXPECT_EQ(run_tool({"info", child_, "--no-parents"}).exit, 0);
  EXPECT_EQ(run_tool({"check", child_}).exit, 1);
}

TEST_F(CliChain, AChildIsNeitherFixedNorOfOtherSectors) {
  const std::string other = folder_ / "other.avhdx";
  EXPECT_EQ(run_tool({"create", other, "--parent", parent_, "--fixed"}).exit, 2);
  EXPECT_EQ(run_tool({"create", other, "--parent", parent_, "--logical-sector", "4096"}).exit, 2);
  EXPECT_FALSE(exists(other));
}

TEST_F(CliChain, AChildMayBeLargerThanItsParent) {
  const std::string other = folder_ / "other.avhdx";
  done({"create", other, "--parent", parent_, "--size", "100M"});
  done({"export", other, folder_ / "other.raw"});
  EXPECT_EQ(std::filesystem::file_size(folder_ / "other.raw"), 100 * kMiB);
  EXPECT_EQ(run_program({"cmp", "--bytes=67108864", folder_ / "other.raw", parent_ + ".raw"}).exit,
            0);
}

TEST(CliRealDisk, ADirtyLogIsReplayedInMemoryAndSaid) {
  const char* folder = std::getenv("VHDX_IMAGES");
  const std::string images = folder != nullptr ? folder : VHDXM_SOURCE_FOLDER "/../shared/images";
  const std::string packed = images + "/vhdx-log-replay.vhdx.gz";
  if (!exists(packed)) GTEST_SKIP() << images << " has no vhdx-log-replay.vhdx.gz";
  REQUIRE_PROGRAM("gunzip");
  const TempFolder work;
  std::filesystem::copy_file(packed, work / "a.vhdx.gz");
  ASSERT_EQ(run_program({"gunzip", work / "a.vhdx.gz"}).exit, 0);
  const std::string before = content_of_file(work / "a.vhdx");
  const auto log = done({"info", work / "a.vhdx", "--json"}).object("info").at("log").as_object();
  EXPECT_TRUE(log.at("dirty").as_bool());
  EXPECT_EQ(log.at("replayed_entries").as_int64(), 2);
  done({"map", work / "a.vhdx"});
  done({"check", work / "a.vhdx"});
  EXPECT_TRUE(content_of_file(work / "a.vhdx") == before);
}

}  // namespace
}  // namespace vhdxm::test
