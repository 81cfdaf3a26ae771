// The zstd program reads our frames, and we read its: two independent users of the format.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <sstream>

#include "compression/compressor.h"
#include "tests/support/expect_error.h"
#include "tests/support/program.h"
#include "tests/support/sample_data.h"
#include "tests/support/temp_folder.h"

namespace vhdxm::compression {
namespace {

using test::SampleKind;
using Bytes = std::vector<std::byte>;

void write_file(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(out.good()) << path;
}

Bytes read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::vector<char> text{std::istreambuf_iterator<char>(in), {}};
  Bytes bytes;
  for (const char letter : text) bytes.push_back(static_cast<std::byte>(letter));
  return bytes;
}

class ZstdProgram : public testing::TestWithParam<SampleKind> {
 protected:
  void SetUp() override {
    if (!test::has_program("zstd")) GTEST_SKIP() << "zstd is not installed";
  }
  test::TempFolder folder_;
};

TEST_P(ZstdProgram, ReadsOurFrames) {
  const Bytes raw = test::sample_data(GetParam(), 1 << 20, 11);
  Compressor compressor(1 << 20, kLevelMax);
  for (const int level : {kLevelMin, 1, 3, 6, kLevelMax}) {
    Bytes packed((1 << 20) + 256);
    packed.resize(compressor.compress(raw, level, packed).value());
    write_file(folder_ / "ours.zst", packed);
    const auto result = test::run_program(
        {"zstd", "-d", "-q", "-f", folder_ / "ours.zst", "-o", folder_ / "unpacked"});
    ASSERT_EQ(result.status, 0) << result.output;
    EXPECT_TRUE(read_file(folder_ / "unpacked") == raw) << "level " << level;
  }
}

TEST_P(ZstdProgram, ItsFramesAreReadByUs) {
  const Bytes raw = test::sample_data(GetParam(), 1 << 20, 12);
  write_file(folder_ / "raw", raw);
  Decompressor decompressor;
  for (const std::string option : {"-1", "-3", "-19", "--fast=5", "--no-check"}) {
    const auto result = test::run_program(
        {"zstd", option, "-q", "-f", folder_ / "raw", "-o", folder_ / "theirs.zst"});
    ASSERT_EQ(result.status, 0) << result.output;
    Bytes unpacked(raw.size());
    EXPECT_TRUE(
        test::succeeded(decompressor.decompress(read_file(folder_ / "theirs.zst"), unpacked)));
    EXPECT_TRUE(unpacked == raw) << option;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, ZstdProgram,
                         testing::Values(SampleKind::kText, SampleKind::kZeros, SampleKind::kRandom,
                                         SampleKind::kDatabase),
                         [](const auto& kind) { return test::to_string(kind.param); });

}  // namespace
}  // namespace vhdxm::compression
