#include "compression/probe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <random>

#include "compression/compressor.h"
#include "tests/support/program.h"
#include "tests/support/random_seed.h"
#include "tests/support/sample_data.h"
#include "tests/support/temp_folder.h"

namespace vhdxm::compression {
namespace {

using test::sample_data;
using test::SampleKind;
using Bytes = std::vector<std::byte>;

constexpr std::size_t kExtent = 1 << 20;
constexpr std::size_t kSizes[] = {kProbeBytesMin, 5000,    65536,      256 << 10,
                                  700001,         kExtent, 4 * kExtent};

TEST(Probe, SaysYesToWhatCompresses) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  for (const SampleKind kind : test::kCompressibleKinds) {
    const Bytes bytes = sample_data(kind, 4 * kExtent, seed);
    for (const std::size_t size : kSizes) {
      const ProbeResult result = probe(std::span(bytes).first(size));
      EXPECT_TRUE(result.worth_trying)
          << test::to_string(kind) << ", " << size << " bytes: " << result.entropy_bits;
    }
  }
}

TEST(Probe, SaysNoToRandomEncryptedAndCompressedData) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  for (const SampleKind kind : test::kIncompressibleKinds) {
    const Bytes bytes = sample_data(kind, 4 * kExtent, seed);
    for (const std::size_t size : kSizes) {
      const ProbeResult result = probe(std::span(bytes).first(size));
      EXPECT_FALSE(result.worth_trying)
          << test::to_string(kind) << ", " << size << " bytes: " << result.entropy_bits << ", "
          << result.repeats;
      EXPECT_NEAR(result.entropy_bits, 8, 0.15) << test::to_string(kind);
    }
  }
}

// The estimate of a piece scatters by 0.016 bits, the decision is 0.25 bits away.
TEST(Probe, NeverTakesRandomDataForCompressible) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  const Bytes bytes = sample_data(SampleKind::kRandom, 64 << 20, seed);
  for (std::size_t at = 0; at + kProbeBytesMin <= bytes.size(); at += 16384) {
    ASSERT_FALSE(probe(std::span(bytes).subspan(at, kProbeBytesMin)).worth_trying) << at;
  }
}

TEST(Probe, SaysNoToTheFilesOfPackers) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  const test::TempFolder folder;
  const Bytes text = sample_data(SampleKind::kText, 6 << 20, seed);
  for (const std::string name : {"gzip .gz", "bzip2 .bz2", "xz .xz", "zstd .zst"}) {
    const std::string packer = name.substr(0, name.find(' '));
    if (!test::has_program(packer)) GTEST_SKIP() << packer << " is not installed";
    const std::string path = folder / packer;
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(text.data()),
               static_cast<std::streamsize>(text.size()));
    const auto run = test::run_program({packer, "-1", "-k", "-q", path});
    ASSERT_EQ(run.status, 0) << packer << ": " << run.output;
    const std::string made = path + name.substr(name.find('.'));
    std::ifstream in(made, std::ios::binary);
    const std::vector<char> all{std::istreambuf_iterator<char>(in), {}};
    ASSERT_GE(all.size(), kExtent) << made;
    const ProbeResult result = probe(std::as_bytes(std::span(all).first(kExtent)));
    EXPECT_FALSE(result.worth_trying) << packer << ": " << result.entropy_bits;
  }
}

TEST(Probe, SeesWhatIsOnlyInAPartOfTheExtent) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  const Bytes text = sample_data(SampleKind::kText, kExtent, seed);
  Bytes in_a_run = sample_data(SampleKind::kRandom, kExtent, seed);
  Bytes in_pages = in_a_run;
  Bytes hardly = in_a_run;
  std::copy_n(text.begin(), kExtent / 4, in_a_run.begin() + kExtent / 2);
  for (std::size_t page = 0; page + 4096 <= kExtent; page += std::size_t{3} * 4096) {
    std::copy_n(text.begin(), 4096, in_pages.begin() + static_cast<std::ptrdiff_t>(page));
  }
  std::copy_n(text.begin(), kExtent / 64, hardly.begin() + kExtent / 2);
  EXPECT_TRUE(probe(in_a_run).worth_trying);
  EXPECT_TRUE(probe(in_pages).worth_trying);
  EXPECT_FALSE(probe(hardly).worth_trying) << "no sixteenth to gain";
}

TEST(Probe, SeesRandomBytesThatRepeatAtAMultipleOf64KiB) {
  EXPECT_TRUE(probe(sample_data(SampleKind::kRepeatedRandom, kExtent, 3)).worth_trying);
  // Further apart, no piece has fewer bytes than others; only the comparison of pieces shows it.
  const Bytes once = sample_data(SampleKind::kRandom, kExtent / 4, 3);
  Bytes bytes;
  for (int i = 0; i < 4; ++i) bytes.insert(bytes.end(), once.begin(), once.end());
  const ProbeResult result = probe(bytes);
  EXPECT_TRUE(result.worth_trying);
  EXPECT_NEAR(result.repeats, 0.75, 0.05);
  EXPECT_GT(result.entropy_bits, 7.9);
}

// The documented gap: these compress, and the sample cannot know.
TEST(Probe, MissesRandomBytesThatRepeatElsewhere) {
  const Bytes once = sample_data(SampleKind::kRandom, 50021, 4);
  Bytes bytes;
  while (bytes.size() < kExtent) bytes.insert(bytes.end(), once.begin(), once.end());
  bytes.resize(kExtent);
  EXPECT_FALSE(probe(bytes).worth_trying);
}

TEST(Probe, ShortExtentsAreAlwaysTried) {
  const Bytes bytes = sample_data(SampleKind::kRandom, kProbeBytesMin, 5);
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{512}, kProbeBytesMin - 1}) {
    EXPECT_TRUE(probe(std::span(bytes).first(size)).worth_trying) << size;
  }
  EXPECT_FALSE(probe(bytes).worth_trying);
}

TEST(Probe, AgreesWithTheCodec) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  Compressor compressor(kExtent, 1);
  Bytes packed(kExtent + 256);
  const Bytes noise = sample_data(SampleKind::kRandom, kExtent, seed);
  const Bytes text = sample_data(SampleKind::kText, kExtent, seed);
  for (int i = 0; i < 40; ++i) {
    Bytes bytes = noise;  // with text in 4 KiB pages: from none to all
    for (std::size_t page = 0; page < kExtent; page += 4096) {
      if (random() % 40 >= static_cast<std::uint64_t>(i)) continue;
      std::copy_n(text.begin() + static_cast<std::ptrdiff_t>(page), 4096,
                  bytes.begin() + static_cast<std::ptrdiff_t>(page));
    }
    const double ratio = static_cast<double>(compressor.compress(bytes, 1, packed).value()) /
                         static_cast<double>(kExtent);
    // Where it matters, both say the same; near the border either may be right.
    if (ratio < 0.75) {
      EXPECT_TRUE(probe(bytes).worth_trying) << ratio;
    }
    if (ratio > 0.99) {
      EXPECT_FALSE(probe(bytes).worth_trying) << ratio;
    }
  }
}

}  // namespace
}  // namespace vhdxm::compression
