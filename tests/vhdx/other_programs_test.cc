// What qemu-img and libvhdi think of our files, and we of theirs.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <random>

#include "base/directory.h"
#include "base/memory_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/model_disk.h"
#include "tests/support/program.h"
#include "tests/support/random_seed.h"
#include "tests/support/temp_folder.h"
#include "tests/support/vhdi_mount.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/check.h"
#include "vhdx/content_compare.h"
#include "vhdx/image.h"
#include "vhdx/layer_digest.h"
#include "vhdx/parent_link.h"
#include "vhdx/raw_transfer.h"

namespace vhdxm::vhdx {
namespace {

using test::has_program;
using test::ModelDisk;
using test::run_program;
using test::succeeded;
using test::TempFolder;

class OtherPrograms : public testing::Test {
 protected:
  std::shared_ptr<PosixFile> new_file(const std::string& name) {
    auto folder = Directory::open(folder_.path());
    EXPECT_TRUE(succeeded(folder));
    auto made = (*folder)->create_file(name, false);
    EXPECT_TRUE(succeeded(made));
    return std::move(*made);
  }

  std::shared_ptr<PosixFile> open_file(const std::string& name) {
    auto opened = PosixFile::open(folder_ / name, {});
    EXPECT_TRUE(succeeded(opened));
    return std::move(*opened);
  }

  std::string run(std::vector<std::string> words) {
    const auto result = run_program(words);
    EXPECT_EQ(result.status, 0) << fmt::format("{}: {}", fmt::join(words, " "), result.output);
    return result.output;
  }

  /// A sparse raw file with some ranges of random data.
  void make_raw(const std::string& name, std::uint64_t size) {
    const auto file = new_file(name);
    ASSERT_TRUE(succeeded(file->resize(size)));
    std::vector<std::byte> bytes;
    for (int i = 0; i < 12; ++i) {
      const std::uint64_t begin = random_() % size;
      bytes.resize(std::min<std::uint64_t>(size - begin, 1 + random_() % 300000));
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random_());
      ASSERT_TRUE(succeeded(file->write_at(begin, bytes)));
    }
  }

  void expect_same(const std::string& first, const std::string& second) {
    auto a = open_content(folder_ / first, ContentFormat::kAuto);
    auto b = open_content(folder_ / second, ContentFormat::kAuto);
    ASSERT_TRUE(succeeded(a));
    ASSERT_TRUE(succeeded(b));
    const auto compared = compare_content(**a, **b);
    ASSERT_TRUE(succeeded(compared));
    EXPECT_EQ(compared->first_difference, std::nullopt);
    EXPECT_TRUE(compared->same());
  }

  /// Warnings and notes are fine where they are known habits of QEMU's.
  void expect_sound(const std::string& name) {
    const auto report = check(open_file(name));
    ASSERT_TRUE(succeeded(report));
    for (const Finding& finding : report->findings) {
      EXPECT_EQ(finding.severity, Finding::Severity::kNote) << finding.what;
    }
  }

  const std::uint64_t seed_ = test::random_seed();
  testing::ScopedTrace trace_{__FILE__, __LINE__, test::repeat_with(seed_)};
  std::mt19937_64 random_{seed_};
  TempFolder folder_;
};

class Qemu : public OtherPrograms {
 protected:
  void SetUp() override {
    if (!has_program("qemu-img") || !has_program("qemu-io")) GTEST_SKIP() << "no qemu-img";
  }

  /// Makes NAME from a raw file with our importer.
  void import(const std::string& raw, const std::string& name, DiskType type,
              std::uint32_t block_mib) {
    Description description;
    description.geometry = {.block_bytes = static_cast<std::uint32_t>(block_mib * kMiB),
                            .type = type};
    auto source = open_content(folder_ / raw, ContentFormat::kRaw);
    ASSERT_TRUE(succeeded(source));
    ASSERT_TRUE(succeeded(import_content(**source, new_file(name), description, {})));
  }
};

TEST_F(Qemu, ReadsWhatWeWrite) {
  for (const DiskType type : {DiskType::kFixed, DiskType::kDynamic}) {
    for (const std::uint32_t block_mib : {1U, 2U, 32U, 256U}) {
      const std::string name = fmt::format("{}-{}.vhdx", to_string(type), block_mib);
      SCOPED_TRACE(name);
      make_raw(name + ".raw", 70 * kMiB + random_() % 4096 * 512);
      import(name + ".raw", name, type, block_mib);
      const std::string path = folder_ / name;
      EXPECT_NE(run({"qemu-img", "check", "-f", "vhdx", path}).find("No errors were found"),
                std::string::npos);
      run({"qemu-img", "compare", "-f", "vhdx", "-F", "raw", path, path + ".raw"});
      const std::string info = run({"qemu-img", "info", "-f", "vhdx", "--output=json", path});
      EXPECT_NE(info.find("\"format\": \"vhdx\""), std::string::npos) << info;
      expect_same(name, name + ".raw");
      expect_sound(name);
    }
  }
}

TEST_F(Qemu, WritesIntoWhatWeWrite) {
  make_raw("disk.raw", 70 * kMiB);
  import("disk.raw", "disk.vhdx", DiskType::kDynamic, 2);
  // Into present blocks and absent ones, over boundaries, at the end.
  const std::vector<std::string> writes = {"write -P 0x11 0 512", "write -P 0x22 3M 3M",
                                           "write -P 0x33 69M 1M", "write -P 0x44 41942016 1536"};
  for (const std::string& write : writes) {
    run({"qemu-io", "-f", "vhdx", "-c", write, folder_ / "disk.vhdx"});
    run({"qemu-io", "-f", "raw", "-c", write, folder_ / "disk.raw"});
  }
  expect_same("disk.vhdx", "disk.raw");
  expect_sound("disk.vhdx");
}

TEST_F(Qemu, IsReadInAllItsForms) {
  make_raw("disk.raw", 130 * kMiB + 512);
  int number = 0;
  for (const std::string subformat : {"dynamic", "fixed"}) {
    for (const std::string block : {"1M", "2M", "8M", "32M", "256M"}) {
      for (const std::string zero : {"on", "off"}) {
        const std::string name = fmt::format("{}.vhdx", number++);
        const std::string options =
            fmt::format("subformat={},block_size={},block_state_zero={},log_size={}", subformat,
                        block, zero, number % 2 == 0 ? "1M" : "4M");
        SCOPED_TRACE(options);
        run({"qemu-img", "convert", "-f", "raw", "-O", "vhdx", "-o", options, folder_ / "disk.raw",
             folder_ / name});
        // The virtual size is rounded to the sector only.
        expect_same(name, "disk.raw");
        expect_sound(name);
        ASSERT_TRUE(std::filesystem::remove(folder_ / name));
      }
    }
  }
}

TEST_F(Qemu, ReadsThroughUsWhatItWroteItself) {
  run({"qemu-img", "create", "-f", "vhdx", "-o", "block_size=1M", folder_ / "disk.vhdx", "40M"});
  run({"qemu-img", "create", "-f", "raw", folder_ / "disk.raw", "40M"});
  for (int i = 0; i < 30; ++i) {
    const std::string write = fmt::format("write -P {} {} {}", 1 + random_() % 255,
                                          random_() % 70000 * 512, (1 + random_() % 5000) * 512);
    for (const std::string format : {"vhdx", "raw"}) {
      run({"qemu-io", "-f", format, "-c", write, folder_ / ("disk." + format)});
    }
  }
  expect_same("disk.vhdx", "disk.raw");
  expect_sound("disk.vhdx");
  // Out again, by us.
  auto content = open_content(folder_ / "disk.vhdx", ContentFormat::kVhdx);
  ASSERT_TRUE(succeeded(content));
  ASSERT_TRUE(succeeded(export_to_file(**content, *new_file("exported.raw"))));
  run({"qemu-img", "compare", "-f", "raw", "-F", "raw", folder_ / "disk.raw",
       folder_ / "exported.raw"});
}

class Libvhdi : public OtherPrograms {
 protected:
  void SetUp() override {
    if (!has_program("vhdiinfo")) GTEST_SKIP() << "no vhdiinfo";
  }

  /// A random disk and its file.
  ModelDisk write_disk(const std::string& name, DiskType type, std::uint32_t sector,
                       std::uint64_t size) {
    const Geometry geometry{.virtual_size_bytes = size,
                            .block_bytes = static_cast<std::uint32_t>(kMiB),
                            .logical_sector_bytes = sector,
                            .physical_sector_bytes = 4096,
                            .type = type};
    const ModelDisk disk = ModelDisk::random(geometry, random_, 4 * kMiB);
    // It takes an empty item, whose Offset is zero (2.6.1.2), for a broken one.
    Description description = disk.description();
    description.opaque_items.pop_back();
    auto writer = BulkWriter::start(new_file(name), description, disk.plan(random_), {});
    EXPECT_TRUE(succeeded(writer));
    disk.write_to(**writer, random_);
    EXPECT_TRUE(succeeded((*writer)->seal()));
    return disk;
  }
};

TEST_F(Libvhdi, UnderstandsEveryTypeAndSectorSize) {
  for (const auto& [type, word] :
       {std::pair(DiskType::kFixed, "Fixed"), std::pair(DiskType::kDynamic, "Dynamic"),
        std::pair(DiskType::kDifferencing, "Differential")}) {
    for (const std::uint32_t sector : {512U, 4096U}) {
      const std::string name = fmt::format("{}-{}.vhdx", word, sector);
      SCOPED_TRACE(name);
      const ModelDisk disk = write_disk(name, type, sector, 9 * kMiB + sector);
      const std::string info = run({"vhdiinfo", folder_ / name});
      const auto has = [&](const std::string& text) {
        return info.find(text) != std::string::npos;
      };
      EXPECT_TRUE(has(std::string(": ") + word)) << info;
      EXPECT_TRUE(has(fmt::format(": {} bytes", sector))) << info;
      EXPECT_TRUE(has(fmt::format("({} bytes)", 9 * kMiB + sector))) << info;
      EXPECT_TRUE(has(to_string(disk.description().data_write_guid))) << info;
      if (type == DiskType::kDifferencing) {
        EXPECT_TRUE(has(to_string(*disk.description().parent->linkage()))) << info;
      }
    }
  }
}

TEST_F(Libvhdi, ReadsWhatWeRead) {
  for (const std::uint32_t sector : {512U, 4096U}) {
    for (const DiskType type : {DiskType::kFixed, DiskType::kDynamic}) {
      const std::string name = fmt::format("{}-{}.vhdx", to_string(type), sector);
      SCOPED_TRACE(name);
      write_disk(name, type, sector, 7 * kMiB + 3 * std::uint64_t{sector});
      const test::VhdiMount mount(folder_ / name, folder_ / (name + ".mount"));
      if (!mount.mounted()) GTEST_SKIP() << "vhdimount cannot mount here";
      expect_same(name, std::filesystem::relative(mount.last(), folder_.path()).string());
    }
  }
}

TEST_F(Libvhdi, ReadsAChainAsWeReadIt) {
  // It goes by absolute_win32_path, and looks for the name in the child's folder.
  const ModelDisk parent = write_disk("parent.vhdx", DiskType::kDynamic, 512, 6 * kMiB);
  const Geometry geometry{.virtual_size_bytes = 6 * kMiB,
                          .block_bytes = static_cast<std::uint32_t>(kMiB),
                          .logical_sector_bytes = 512,
                          .physical_sector_bytes = 4096,
                          .type = DiskType::kDifferencing};
  const ModelDisk child(
      geometry,
      {{.offset = 0, .length = 5 * 512, .kind = ExtentKind::kParent},
       {.offset = 5 * 512, .length = 100 * 512, .kind = ExtentKind::kData},
       {.offset = 105 * 512, .length = 2 * kMiB, .kind = ExtentKind::kParent},
       {.offset = 2 * kMiB + 105 * 512, .length = 3 * kMiB, .kind = ExtentKind::kData},
       {.offset = 5 * kMiB + 105 * 512, .length = kMiB - 105 * 512, .kind = ExtentKind::kParent}},
      seed_);
  Description description = child.description();
  const auto locator = make_parent_locator(folder_ / "parent.vhdx", folder_ / "child.vhdx",
                                           parent.description().data_write_guid);
  ASSERT_TRUE(succeeded(locator));
  description.parent = *locator;
  description.opaque_items.pop_back();
  description.parent->entries.emplace_back("absolute_win32_path", "C:\\disks\\parent.vhdx");
  auto writer = BulkWriter::start(new_file("child.vhdx"), description, child.plan(random_), {});
  ASSERT_TRUE(succeeded(writer));
  child.write_to(**writer, random_);
  ASSERT_TRUE(succeeded((*writer)->seal()));
  const test::VhdiMount mount(folder_ / "child.vhdx", folder_ / "mount");
  if (!mount.mounted()) GTEST_SKIP() << "vhdimount cannot mount here";
  expect_same("child.vhdx", std::filesystem::relative(mount.last(), folder_.path()).string());
}

// Images that other people's programs made; see real_images_test.cc.
TEST(RealImagesCheck, NotesAreAllThereIsToSay) {
  const char* named = std::getenv("VHDX_IMAGES");
  const std::string folder = named != nullptr ? named : VHDXM_SOURCE_FOLDER "/../shared/images";
  if (!std::filesystem::is_directory(folder)) {
    GTEST_SKIP() << "no folder " << folder << " (VHDX_IMAGES names another)";
  }
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string extension = entry.path().extension().string();
    if (extension != ".gz" && extension != ".bz2") continue;
    SCOPED_TRACE(entry.path().string());
    const auto unpacked =
        test::run_program({extension == ".gz" ? "gzip" : "bzip2", "-dc", entry.path().string()});
    ASSERT_EQ(unpacked.status, 0);
    const auto file = std::make_shared<MemoryFile>(entry.path().stem().string(),
                                                   std::as_bytes(std::span(unpacked.output)));
    const auto report = check(file);
    ASSERT_TRUE(succeeded(report));
    for (const Finding& finding : report->findings) {
      EXPECT_EQ(finding.severity, Finding::Severity::kNote) << finding.what;
    }
    ++count;
  }
  EXPECT_GT(count, 0U);
}

}  // namespace
}  // namespace vhdxm::vhdx
