// Images that other people's programs made: the whole virtual disk must hash to what the table of
// their README says. They are not part of the project; see docs/vhdx.md for where they come from.
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/posix_file.h"
#include "tests/support/temp_folder.h"
#include "vhdx/image.h"

namespace vhdxm::vhdx {
namespace {

using test::TempFolder;

std::filesystem::path images_folder() {
  if (const char* folder = std::getenv("VHDX_IMAGES")) return folder;
  return std::filesystem::path(VHDXM_SOURCE_FOLDER) / "../shared/images";
}

class Sha256 {
 public:
  Sha256() { EXPECT_EQ(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr), 1); }

  void update(std::span<const std::byte> bytes) {
    EXPECT_EQ(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()), 1);
  }

  void update_zeros(std::uint64_t length) {
    static const std::vector<std::byte> zeros(kMiB);
    for (; length != 0; length -= std::min<std::uint64_t>(length, zeros.size())) {
      update(std::span(zeros).first(std::min<std::uint64_t>(length, zeros.size())));
    }
  }

  std::string hex() {
    std::array<unsigned char, 32> digest{};
    EXPECT_EQ(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr), 1);
    std::string text;
    for (const unsigned char byte : digest) {
      constexpr std::string_view kDigits = "0123456789abcdef";
      text += kDigits[byte >> 4];
      text += kDigits[byte & 15];
    }
    return text;
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_{EVP_MD_CTX_new()};
};

/// Hashes the disk as the map shows it: data is read, the rest is zero.
std::string sha256_of(Image& image) {
  Sha256 hash;
  std::vector<Extent> extents;
  std::vector<std::byte> buffer(kMiB);
  for (std::uint64_t at = 0; at < image.virtual_size_bytes();) {
    extents.clear();
    auto mapped = image.map(at, image.virtual_size_bytes() - at, extents, 16);
    if (mapped.has_error()) {
      ADD_FAILURE() << describe(mapped.error());
      return {};
    }
    for (const Extent& extent : extents) {
      EXPECT_EQ(extent.virtual_offset, at);
      if (extent.kind != ExtentKind::kData) hash.update_zeros(extent.length);
      for (std::uint64_t done = 0; extent.kind == ExtentKind::kData && done < extent.length;) {
        const auto piece =
            std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), extent.length - done));
        auto read = read_exact_at(*extent.file, extent.file_offset + done, piece, "payload");
        if (read.has_error()) ADD_FAILURE() << describe(read.error());
        hash.update(piece);
        done += piece.size();
      }
      at += extent.length;
    }
    EXPECT_EQ(at, *mapped);
  }
  return hash.hex();
}

class RealImages : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::is_directory(images_folder())) {
      GTEST_SKIP() << "no folder " << images_folder() << " (VHDX_IMAGES names another)";
    }
  }

  /// Unpacks `name` + `suffix` into the test's folder and returns its path.
  std::string unpack(const std::string& name, const std::string& suffix = ".gz") {
    const std::string program = suffix == ".gz" ? "gzip -dc" : "bzip2 -dc";
    const std::string path = folder_ / name;
    const std::string command =
        program + " '" + (images_folder() / (name + suffix)).string() + "' > '" + path + "'";
    const int status = std::system(command.c_str());
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << command;
    return path;
  }

  std::unique_ptr<Image> open(const std::string& path) {
    auto image = Image::open(path);
    if (image.has_error()) {
      ADD_FAILURE() << describe(image.error());
      return nullptr;
    }
    return std::move(*image);
  }

  /// Opens, proves the BAT of every layer, and hashes.
  void expect_content(const std::string& path, std::string_view sha256, std::uint64_t size_bytes) {
    const auto image = open(path);
    ASSERT_NE(image, nullptr);
    EXPECT_EQ(image->virtual_size_bytes(), size_bytes);
    for (const auto& layer : image->layers()) {
      auto valid = layer->validate_bat();
      EXPECT_FALSE(valid.has_error()) << describe(valid.error());
    }
    EXPECT_EQ(sha256_of(*image), sha256);
  }

  TempFolder folder_;
};

TEST_F(RealImages, WindowsParent) {
  expect_content(unpack("ntfs-parent.vhdx"),
                 "c5523065bc6ef82267be56c5f8888e2876ead8ba7edba2a65a3da8b076231b68", 4194304);
}

TEST_F(RealImages, WindowsChildShowsItsParent) {
  unpack("ntfs-parent.vhdx");
  expect_content(unpack("ntfs-differential.vhdx"),
                 "1ef1fb5360247aa7d36a38415bc7bf6e1e52f62af5e6bd1283815e82584c7efc", 4194304);
}

TEST_F(RealImages, WindowsChildWithoutItsParentIsRefused) {
  const std::string path = unpack("ntfs-differential.vhdx");
  const auto image = Image::open(path);
  ASSERT_TRUE(image.has_error());
  const std::string text = describe(image.error());
  EXPECT_NE(text.find("the parent disk was not found"), std::string::npos) << text;
  EXPECT_NE(text.find("ntfs-parent.vhdx"), std::string::npos) << text;
}

TEST_F(RealImages, WindowsFixed) {
  expect_content(unpack("ntfs-fixed.vhdx"),
                 "5237dd895f38052344e2ef35a207fe9df08cd18d17b6ea857a1b93cc475e1f2e", 4194304);
}

TEST_F(RealImages, WindowsDynamicWithABlockLargerThanTheDisk) {
  expect_content(unpack("ntfs-dynamic.vhdx"),
                 "b92731f8e4bf3532418444d22a9086823a8122569500acd09cd8d2ce20eb98e9", 4194304);
}

TEST_F(RealImages, HyperVZeroBlocks) {
  expect_content(unpack("iotest-dynamic-1G.vhdx", ".bz2"),
                 "d3d112d8dab7fd360609f7d5a7b769904b7a2a7d7b6b8c535f65a23293c05478", 1073741824);
}

TEST_F(RealImages, QemuDirtyLog) {
  expect_content(unpack("iotest-dirtylog-10G-4M.vhdx", ".bz2"),
                 "179cefe8b0587f123393eedf2aa7aa8d25798591178e6bc3950a09762f38f96f", 10737418240);
}

TEST_F(RealImages, WindowsDirtyLogWhoseTailIsNotItsFirstEntry) {
  const std::string path = unpack("vhdx-log-replay.vhdx");
  {
    const auto image = open(path);
    ASSERT_NE(image, nullptr);
    EXPECT_EQ(image->layers().front()->replayed_entries(), 2U);
  }
  expect_content(path, "3ba3b309425b7ff5e8e0199edceed95226250f880c53b24e8eae93865f3fad5e",
                 1073741824);
}

TEST_F(RealImages, DirtyLogReplayedOnTheFileReadsTheSame) {
  const std::string path = unpack("vhdx-log-replay.vhdx");
  Guid identity;
  {
    auto image = Image::open(path, {.replay = Layer::Replay::kOnFile});
    ASSERT_FALSE(image.has_error()) << describe(image.error());
    EXPECT_EQ((*image)->layers().front()->replayed_entries(), 2U);
    identity = (*image)->layers().front()->description().data_write_guid;
  }
  const auto image = open(path);
  ASSERT_NE(image, nullptr);
  EXPECT_EQ(image->layers().front()->replayed_entries(), 0U);
  EXPECT_EQ(image->layers().front()->description().data_write_guid, identity);
  EXPECT_EQ(sha256_of(*image), "3ba3b309425b7ff5e8e0199edceed95226250f880c53b24e8eae93865f3fad5e");
}

TEST_F(RealImages, HyperVMoreThanOneChunk) {
  expect_content(unpack("swap.vhdx"),
                 "60dd30b4c74361427d1089510cabb36e2eeda0cc4747f467ea43173acd358c49", 10737418240);
}

TEST_F(RealImages, HyperVBtrfs) {
  expect_content(unpack("btrfs.vhdx"),
                 "0b959f9cb4e18348ad8b646f152178282542c8304f02fddf765e3fd1a1de6864", 1073741824);
}

}  // namespace
}  // namespace vhdxm::vhdx
