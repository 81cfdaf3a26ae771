// Mutated images, opened by us and by libvhdi, which shares no code with us: where both open one,
// both see the same disk. Checksums are good again after a mutation, so that it is reached.
//
// Where libvhdi 20210425 is known to see something else, it is by name, in known_difference().
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <random>

#include "base/directory.h"
#include "tests/support/damaged_image.h"
#include "tests/support/expect_error.h"
#include "tests/support/program.h"
#include "tests/support/random_seed.h"
#include "tests/support/repair_oracle.h"
#include "tests/support/temp_folder.h"
#include "tests/support/vhdi_mount.h"
#include "vhdx/bat.h"
#include "vhdx/image.h"
#include "vhdx/layer.h"

namespace vhdxm::vhdx {
namespace {

using test::has_program;
using test::random_seed;
using test::repeat_with;
using test::run_program;
using test::succeeded;
using test::TempFolder;
using test::VhdxBuilder;

/// What follows "NAME : " in the output of vhdiinfo; empty if it is not there.
std::string field(const std::string& output, const std::string& name) {
  const auto at = output.find("\t" + name + "\t");
  if (at == std::string::npos) return {};
  const auto begin = output.find(": ", at);
  const auto end = output.find('\n', at);
  return begin < end ? output.substr(begin + 2, end - begin - 2) : std::string();
}

const char* type_word(DiskType type) {
  switch (type) {
    case DiskType::kFixed:
      return "Fixed";
    case DiskType::kDynamic:
      return "Dynamic";
    case DiskType::kDifferencing:
      return "Differential";
  }
  return "";
}

/// Why libvhdi is expected to see another disk, if it is so.
std::string known_difference(const Layer& layer) {
  if (layer.replayed_entries() != 0) return "it does not replay the log (2.3.3)";
  if (!layer.description().parent) return {};
  // The specification says lower case, and its own example is in upper case (2.6.2.6.3).
  for (const auto& [key, value] : layer.description().parent->entries) {
    const auto is_any = [&value = value](auto test) {
      return std::any_of(value.begin(), value.end(),
                         [&](char c) { return test(static_cast<unsigned char>(c)) != 0; });
    };
    if (key.starts_with("parent_linkage") && is_any(::isupper) && is_any(::islower)) {
      return "it does not read GUIDs in mixed case (2.6.2.6.3)";
    }
  }
  return {};
}

class LibvhdiMutation : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_program("vhdiinfo")) GTEST_SKIP() << "vhdiinfo (libvhdi-utils) is not installed";
  }

  std::string write(const VhdxBuilder& disk) {
    const auto folder = Directory::open(folder_.path()).value();
    EXPECT_TRUE(succeeded(folder->remove("disk.vhdx")));
    const auto file = folder->create_file("disk.vhdx", false).value();
    EXPECT_TRUE(succeeded(file->resize(disk.size())));
    for (std::uint64_t at = 0; at < disk.size();) {
      const File::DataRun run = disk.file()->next_data(at).value();
      if (run.begin >= run.end) break;
      const std::uint64_t begin = std::max(at, run.begin);
      const std::uint64_t end = std::min(run.end, begin + kMiB);
      const auto bytes = disk.get(begin, static_cast<std::size_t>(end - begin));
      EXPECT_TRUE(succeeded(file->write_at(begin, bytes)));
      at = end;
    }
    return folder_ / "disk.vhdx";
  }

  /// One to three fields changed, with good checksums; every eighth image is as it was.
  std::vector<std::byte> random_input() {
    std::vector<std::byte> input(2);
    input[0] = static_cast<std::byte>(random_());
    for (std::uint64_t patches = random_() % 8 == 0 ? 0 : 1 + random_() % 3; patches != 0;
         --patches) {
      const std::size_t bytes = 1 + random_() % 8;
      const std::size_t at = input.size();
      input.resize(at + 5 + bytes);
      for (std::size_t i = at; i < input.size(); ++i) input[i] = static_cast<std::byte>(random_());
      input[at] = static_cast<std::byte>(random_() % 11);  // not the file's size
      input[at + 1] = static_cast<std::byte>(bytes - 1);
      if (random_() % 4 != 0) input[at + 3] = input[at + 4] = std::byte{0};
    }
    return input;
  }

  const std::uint64_t seed_ = random_seed();
  std::mt19937_64 random_{seed_};
  TempFolder folder_;
};

TEST_F(LibvhdiMutation, WhereBothOpenAnImageBothSeeTheSameDisk) {
  SCOPED_TRACE(repeat_with(seed_));
  std::map<std::string, int> counts;
  for (int i = 0; i < 300; ++i) {
    const std::vector<std::byte> input = random_input();
    const VhdxBuilder disk = test::patched_image(input);
    const auto layer = Layer::open(disk.file(), Layer::Replay::kInMemory);
    const auto theirs = run_program({"vhdiinfo", write(disk)});
    const bool they_open = theirs.status == 0 && !field(theirs.output, "Media size").empty();
    if (!they_open || layer.has_error()) {
      ++counts[they_open           ? "libvhdi alone opens it"
               : layer.has_error() ? "neither opens it"
                                   : "we alone open it"];
      continue;
    }
    if (const std::string name = known_difference(**layer); !name.empty()) {
      ++counts[name];
      continue;
    }
    ++counts["both open it"];
    const Description& ours = (*layer)->description();
    const std::string what = fmt::format("image {}\n{}", i, theirs.output);
    EXPECT_EQ(field(theirs.output, "Disk type\t"), type_word(ours.geometry.type)) << what;
    EXPECT_NE(theirs.output.find(fmt::format("({} bytes)", ours.geometry.virtual_size_bytes)),
              std::string::npos)
        << what;
    EXPECT_EQ(field(theirs.output, "Bytes per sector"),
              fmt::format("{} bytes", ours.geometry.logical_sector_bytes))
        << what;
    EXPECT_EQ(field(theirs.output, "Identifier\t"), to_string(ours.data_write_guid)) << what;
    if (ours.parent) {
      EXPECT_EQ(field(theirs.output, "Parent identifier"), to_string(*ours.parent->linkage()))
          << what;
    }
  }
  for (const auto& [name, count] : counts) std::cout << count << " images: " << name << "\n";
  EXPECT_GT(counts["both open it"], 30);
}

TEST_F(LibvhdiMutation, WhereBothOpenADiskBothReadTheSame) {
  SCOPED_TRACE(repeat_with(seed_));
  constexpr std::uint64_t kReadMax = 16 * kMiB;
  int compared = 0;
  int not_mounted = 0;
  for (int i = 0; i < 400 && compared < test::rounds(40); ++i) {
    const std::vector<std::byte> input = random_input();
    const VhdxBuilder disk = test::patched_image(input);
    std::vector<std::unique_ptr<Layer>> layers;
    auto opened = Layer::open(disk.file(), Layer::Replay::kInMemory);
    if (opened.has_error() || (*opened)->validate_bat().has_error()) continue;
    const Geometry geometry = (*opened)->geometry();
    const bool comparable = geometry.type != DiskType::kDifferencing &&
                            geometry.virtual_size_bytes != 0 &&
                            geometry.virtual_size_bytes <= kReadMax;
    if (!comparable || !known_difference(**opened).empty()) continue;
    layers.push_back(std::move(*opened));
    const auto image = Image::from_layers(std::move(layers)).value();

    const std::string folder = folder_ / fmt::format("mount{}", i);
    const test::VhdiMount mount(write(disk), folder);
    if (!mount.mounted()) {
      // It does not like every image; if it likes none, there is no FUSE here.
      if (compared == 0 && ++not_mounted == 20) break;
      continue;
    }
    std::vector<std::byte> ours(static_cast<std::size_t>(geometry.virtual_size_bytes));
    ASSERT_TRUE(succeeded(image->read(0, ours)));
    std::ifstream in(mount.last(), std::ios::binary);
    std::vector<char> theirs(ours.size());
    in.read(theirs.data(), static_cast<std::streamsize>(theirs.size()));
    if (!in) continue;  // it opens some disks that it cannot read
    const auto bytes = std::as_bytes(std::span(theirs));
    const auto differs = std::mismatch(ours.begin(), ours.end(), bytes.begin()).first;
    EXPECT_TRUE(differs == ours.end())
        << "image " << i << ", from byte " << differs - ours.begin() << " of " << ours.size();
    ++compared;
  }
  if (compared == 0) GTEST_SKIP() << "vhdimount cannot mount here";
  std::cout << compared << " disks compared byte for byte\n";
}

}  // namespace
}  // namespace vhdxm::vhdx
