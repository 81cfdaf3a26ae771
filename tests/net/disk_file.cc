#include "tests/net/disk_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

#include "base/directory.h"
#include "tests/support/expect_error.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/content_compare.h"
#include "vhdx/layer_digest.h"
#include "vhdx/parent_link.h"

namespace vhdxm::test {
namespace {

using vhdx::ExtentKind;
using vhdx::kMiB;

Result<void> write_model(const TempFolder& folder, const std::string& name, const ModelDisk& model,
                         const vhdx::Description& description, vhdx::BlockPlan plan,
                         std::mt19937_64& random) {
  VHDXM_TRY(const auto directory, Directory::open(folder.path()));
  VHDXM_TRY(std::shared_ptr<PosixFile> file, directory->create_file(name, false));
  VHDXM_TRY(const auto writer, vhdx::BulkWriter::start(file, description, std::move(plan), {}));
  model.write_to(*writer, random);
  return writer->seal();
}

Result<std::unique_ptr<vhdx::Layer>> open_layer(const std::string& path) {
  VHDXM_TRY(std::shared_ptr<PosixFile> file, PosixFile::open(path, {}));
  return vhdx::Layer::open(file, vhdx::Layer::Replay::kInMemory);
}

}  // namespace

vhdx::Geometry small_geometry(std::uint64_t virtual_size) {
  return {.virtual_size_bytes = virtual_size, .block_bytes = static_cast<std::uint32_t>(kMiB)};
}

ModelDisk data_disk(const vhdx::Geometry& geometry, std::uint64_t data_bytes, std::uint64_t seed) {
  std::vector<Segment> segments;
  if (data_bytes > 0) segments.push_back({.length = data_bytes, .kind = ExtentKind::kData});
  segments.push_back({.offset = data_bytes, .length = kMiB, .kind = ExtentKind::kZero});
  const std::uint64_t rest = geometry.virtual_size_bytes - data_bytes - kMiB;
  if (rest > 0) segments.push_back({.offset = data_bytes + kMiB, .length = rest});
  return {geometry, std::move(segments), seed};
}

std::string write_disk(const TempFolder& folder, const std::string& name, const ModelDisk& model,
                       const std::function<void(vhdx::Description&)>& change) {
  vhdx::Description description = model.description();
  if (change) change(description);
  std::mt19937_64 random(1);
  EXPECT_TRUE(succeeded(write_model(folder, name, model, description, model.tight_plan(), random)));
  return folder / name;
}

std::string write_disk(const TempFolder& folder, const std::string& name, const ModelDisk& model,
                       std::mt19937_64& random) {
  EXPECT_TRUE(
      succeeded(write_model(folder, name, model, model.description(), model.plan(random), random)));
  return folder / name;
}

std::string write_data_disk(const TempFolder& folder, const std::string& name, std::uint64_t seed,
                            std::uint64_t data_bytes) {
  const std::uint64_t size = std::max(8 * kMiB, data_bytes + 2 * kMiB);
  return write_disk(folder, name, data_disk(small_geometry(size), data_bytes, seed));
}

std::string write_child(const TempFolder& folder, const std::string& name, const ModelDisk& model,
                        const std::string& parent_path) {
  const auto parent = open_layer(parent_path);
  EXPECT_TRUE(succeeded(parent));
  return write_disk(folder, name, model, [&](vhdx::Description& description) {
    const vhdx::Description& above = (*parent)->description();
    description.virtual_disk_id = above.virtual_disk_id;
    auto locator = vhdx::make_parent_locator(parent_path, folder / name, above.data_write_guid);
    EXPECT_TRUE(succeeded(locator));
    description.parent = std::move(*locator);
  });
}

Hash128 file_hash(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << path;
  std::vector<char> bytes(std::filesystem::file_size(path));
  EXPECT_TRUE(file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) << path;
  return hash128(std::as_bytes(std::span(bytes)), bytes.size());
}

std::vector<std::string> names_in(const TempFolder& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    if (entry.path().filename() == ".vhdx-migrate") continue;  // state of the program's own
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> disks_in(const TempFolder& folder) {
  std::vector<std::string> names = names_in(folder);
  std::erase_if(names, [&](const std::string& name) {
    if (!name.ends_with(".partial")) return false;
    EXPECT_TRUE(open_layer(folder / name).has_error()) << name << " can be taken for a disk";
    return true;
  });
  return names;
}

void expect_same_layer(const std::string& first, const std::string& second) {
  const auto one = open_layer(first);
  const auto two = open_layer(second);
  ASSERT_TRUE(succeeded(one));
  ASSERT_TRUE(succeeded(two));
  vhdx::Description expected = (*one)->description();
  vhdx::Description found = (*two)->description();
  // The paths of a locator are those of its own folder.
  if (expected.parent && found.parent) {
    EXPECT_EQ(expected.parent->linkage(), found.parent->linkage());
    expected.parent.reset();
    found.parent.reset();
  }
  EXPECT_TRUE(expected == found) << second << " is described otherwise";
  EXPECT_TRUE(succeeded((*two)->validate_bat()));
  std::vector<std::byte> buffer(vhdx::kDigestCellBytes);
  const auto digest_one = vhdx::layer_digest(**one, 7, buffer);
  const auto digest_two = vhdx::layer_digest(**two, 7, buffer);
  ASSERT_TRUE(succeeded(digest_one));
  ASSERT_TRUE(succeeded(digest_two));
  EXPECT_TRUE(*digest_one == *digest_two) << second << " holds something else";
}

void expect_same_content(const std::string& first, const std::string& second) {
  auto one = vhdx::open_content(first, vhdx::ContentFormat::kVhdx);
  auto two = vhdx::open_content(second, vhdx::ContentFormat::kVhdx);
  ASSERT_TRUE(succeeded(one));
  ASSERT_TRUE(succeeded(two));
  const auto comparison = vhdx::compare_content(**one, **two);
  ASSERT_TRUE(succeeded(comparison));
  EXPECT_TRUE(comparison->same()) << "from byte " << comparison->first_difference.value_or(0);
}

Untouched::~Untouched() {
  EXPECT_TRUE(file_hash(path_) == before_) << path_ << " was changed";
}

}  // namespace vhdxm::test
