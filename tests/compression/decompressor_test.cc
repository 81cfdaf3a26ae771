// What a hostile or broken peer can send: each kind is refused, by its own name.
#include <gtest/gtest.h>
#include <zstd.h>

#include <random>

#include "compression/compressor.h"
#include "compression/errc.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "tests/support/sample_data.h"

namespace vhdxm::compression {
namespace {

using test::failed_with;
using test::succeeded;
using Bytes = std::vector<std::byte>;

template <class... T>
Bytes bytes_of(T... values) {
  return {static_cast<std::byte>(values)...};
}

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

const Bytes kMagic = bytes_of(0x28, 0xb5, 0x2f, 0xfd);
constexpr std::size_t kRawBytes = 3000;

Bytes raw() {
  return test::sample_data(test::SampleKind::kText, kRawBytes, 1);
}

Bytes frame(const Bytes& content = raw()) {
  Compressor compressor(1 << 20, 3);
  Bytes packed(content.size() + 64);
  packed.resize(compressor.compress(content, 3, packed).value());
  return packed;
}

/// `packed` as a message of exactly its length, into a buffer of exactly `raw_bytes`.
Result<void> unpack(const Bytes& packed, std::size_t raw_bytes = kRawBytes) {
  Bytes exact(packed.begin(), packed.end());
  exact.shrink_to_fit();
  Bytes out(raw_bytes);
  Decompressor decompressor;
  return decompressor.decompress(exact, out);
}

/// A frame by hand: header with these bytes, then one raw block of `content`, the last.
Bytes by_hand(const Bytes& header, const Bytes& content) {
  const std::size_t block = content.size() << 3 | 1;
  return kMagic + header + bytes_of(block & 0xff, block >> 8 & 0xff, block >> 16) + content;
}

TEST(Decompressor, AFrameCutAnywhereIsTruncated) {
  const Bytes whole = frame();
  ASSERT_TRUE(succeeded(unpack(whole)));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_TRUE(failed_with(unpack(cut), Errc::kTruncated)) << length;
  }
}

TEST(Decompressor, WhatIsNoFrameIsSaidToBeNone) {
  EXPECT_TRUE(failed_with(unpack(raw()), Errc::kNotZstd, "Magic_Number"));
  EXPECT_TRUE(failed_with(unpack(Bytes(100)), Errc::kNotZstd));
  EXPECT_TRUE(failed_with(unpack({}), Errc::kTruncated));
}

TEST(Decompressor, OldFormatsOfZstdAreNotRead) {
  for (const int version : {0x22, 0x23, 0x24, 0x25, 0x26, 0x27}) {  // 0.2 to 0.7
    Bytes old = frame();
    old[0] = static_cast<std::byte>(version);
    EXPECT_TRUE(failed_with(unpack(old), Errc::kNotZstd)) << version;
  }
  EXPECT_TRUE(failed_with(unpack(bytes_of(0xfd, 0x2f, 0xb5, 0x1e) + Bytes(20)), Errc::kNotZstd));
}

TEST(Decompressor, SkippableFramesAreRefused) {
  const Bytes skippable = bytes_of(0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4);
  EXPECT_TRUE(failed_with(unpack(skippable), Errc::kSkippable));
  EXPECT_TRUE(failed_with(unpack(skippable + frame()), Errc::kSkippable));
  EXPECT_TRUE(failed_with(unpack(frame() + skippable), Errc::kTrailing));
}

TEST(Decompressor, WhatFollowsTheFrameIsRefused) {
  const Bytes whole = frame();
  EXPECT_TRUE(failed_with(unpack(whole + whole), Errc::kTrailing));
  EXPECT_TRUE(failed_with(unpack(whole + bytes_of(0)), Errc::kTrailing));
  // Two frames that together have the length of the extent.
  const Bytes all = raw();
  const Bytes first(all.begin(), all.begin() + 1000);
  const Bytes second(all.begin() + 1000, all.end());
  EXPECT_TRUE(failed_with(unpack(frame(first) + frame(second)), Errc::kTooShort));
}

TEST(Decompressor, ContentOfAnotherLengthIsRefused) {
  const Bytes whole = frame();
  EXPECT_TRUE(failed_with(unpack(whole, kRawBytes - 1), Errc::kTooLong, "Frame_Content_Size"));
  EXPECT_TRUE(failed_with(unpack(whole, kRawBytes + 1), Errc::kTooShort, "Frame_Content_Size"));
  EXPECT_TRUE(failed_with(unpack(whole, 0), Errc::kTooLong));
}

TEST(Decompressor, AContentSizeThatIsNotTrueIsRefused) {
  const Bytes content(100, std::byte{'x'});
  const Bytes said_100 = bytes_of(0x20, 100);  // single segment, one byte of content size
  EXPECT_TRUE(succeeded(unpack(by_hand(said_100, content), 100)));
  const Bytes shorter(99, std::byte{'x'});
  const Bytes longer(101, std::byte{'x'});
  EXPECT_TRUE(failed_with(unpack(by_hand(said_100, shorter), 100), Errc::kCorrupt));
  // A block of 101 bytes in a window of 100 breaks a rule by itself.
  EXPECT_TRUE(unpack(by_hand(said_100, longer), 100).has_error());
  EXPECT_TRUE(unpack(by_hand(said_100, longer), 101).has_error());
}

TEST(Decompressor, WithoutAContentSizeTheContentMustFillTheExtent) {
  const Bytes window_1_kib = bytes_of(0x00, 0x00);
  const Bytes content(100, std::byte{'x'});
  EXPECT_TRUE(succeeded(unpack(by_hand(window_1_kib, content), 100)));
  EXPECT_TRUE(failed_with(unpack(by_hand(window_1_kib, content), 99), Errc::kTooLong));
  EXPECT_TRUE(failed_with(unpack(by_hand(window_1_kib, content), 101), Errc::kTooShort));
}

TEST(Decompressor, AContentSizeIsNeverAllocated) {
  // 2^62 bytes, as the header says it.
  const Bytes huge = bytes_of(0xe0, 0, 0, 0, 0, 0, 0, 0, 0x40);
  EXPECT_TRUE(failed_with(unpack(by_hand(huge, Bytes(10))), Errc::kTooLong));
}

TEST(Decompressor, AWindowLargerThanAnyExtentIsRefused) {
  const Bytes content(100, std::byte{'x'});
  const auto window = [](int log) { return bytes_of(0x00, (log - 10) << 3); };
  EXPECT_TRUE(succeeded(unpack(by_hand(window(23), content), 100)));
  for (const int log : {24, 27, 31, 41}) {
    EXPECT_TRUE(failed_with(unpack(by_hand(window(log), content), 100), Errc::kWindowTooLarge))
        << log;
  }
}

TEST(Decompressor, ADictionaryIsRefused) {
  const Bytes content(100, std::byte{'x'});
  EXPECT_TRUE(failed_with(unpack(by_hand(bytes_of(0x21, 7, 100), content), 100), Errc::kDictionary,
                          "Dictionary_ID"));
}

TEST(Decompressor, AReservedBitIsRefused) {
  const Bytes content(100, std::byte{'x'});
  EXPECT_TRUE(failed_with(unpack(by_hand(bytes_of(0x28, 100), content), 100), Errc::kBadHeader));
}

TEST(Decompressor, AReservedBlockTypeIsCorrupt) {
  const Bytes packed = kMagic + bytes_of(0x20, 1, 0x0f, 0, 0, 'x');
  EXPECT_TRUE(failed_with(unpack(packed, 1), Errc::kCorrupt));
}

TEST(Decompressor, ABlockThatUnpacksToMoreThanTheExtentStaysInside) {
  // One block: 100000 times the same byte.
  const std::size_t block = 100000U << 3 | 1U << 1 | 1;
  const Bytes packed =
      kMagic + bytes_of(0x00, 13 << 3, block & 0xff, block >> 8 & 0xff, block >> 16, 'x');
  EXPECT_TRUE(succeeded(unpack(packed, 100000)));
  EXPECT_TRUE(failed_with(unpack(packed, 99999), Errc::kTooLong));
  EXPECT_TRUE(failed_with(unpack(packed, 10), Errc::kTooLong));
}

TEST(Decompressor, AChecksumIsCheckedIfThereIsOne) {
  const Bytes content = raw();
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ASSERT_EQ(ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)), 0U);
  Bytes packed(kRawBytes + 64);
  packed.resize(
      ZSTD_compress2(context, packed.data(), packed.size(), content.data(), content.size()));
  ZSTD_freeCCtx(context);
  EXPECT_TRUE(succeeded(unpack(packed)));
  packed.back() ^= std::byte{1};
  EXPECT_TRUE(failed_with(unpack(packed), Errc::kCorrupt));
}

// A changed bit is refused, or gives an extent of the right length, which the hash in the frame
// header then tells from the true one. The buffers are exact: AddressSanitizer sees every step out.
TEST(Decompressor, ChangedBitsNeverLeaveTheExtent) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  const Bytes whole = frame();
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    Bytes changed = whole;
    for (std::uint64_t n = 1 + random() % 3; n > 0; --n) {
      changed[random() % changed.size()] ^= static_cast<std::byte>(1U << random() % 8);
    }
    if (unpack(changed).has_error()) ++refused;
  }
  EXPECT_GT(refused, 0);
}

TEST(Decompressor, IsGoodAfterWhatItRefused) {
  Decompressor decompressor;
  const Bytes whole = frame();
  Bytes broken = whole;
  broken[broken.size() / 2] ^= std::byte{0xff};
  Bytes out(kRawBytes);
  for (const Bytes& packed : {broken, Bytes(40), whole + whole, broken}) {
    static_cast<void>(decompressor.decompress(packed, out).has_error());
    ASSERT_TRUE(succeeded(decompressor.decompress(whole, out)));
    EXPECT_TRUE(out == raw());
  }
}

TEST(Decompressor, EveryCodeHasASentence) {
  for (int code = 1; code <= static_cast<int>(Errc::kCorrupt); ++code) {
    EXPECT_NE(make_error_code(static_cast<Errc>(code)).message(), "unknown error") << code;
  }
  EXPECT_EQ(make_error_code(static_cast<Errc>(11)).message(), "unknown error");
}

}  // namespace
}  // namespace vhdxm::compression
