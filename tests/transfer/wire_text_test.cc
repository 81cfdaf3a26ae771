#include "transfer/wire_text.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tests/support/random_seed.h"

namespace vhdxm::transfer {
namespace {

using namespace std::string_literals;

TEST(WireText, GoodTextIsTaken) {
  for (const std::string& text :
       {""s, "disk.vhdx"s, "Gr\xc3\xbc\xc3\x9f"s, "\xe2\x82\xac"s, "\xf0\x9f\x92\xbe"s,
        "\xed\x9f\xbf\xee\x80\x80"s /* around the surrogates */, "\xf4\x8f\xbf\xbf"s}) {
    EXPECT_TRUE(is_utf8(text));
    EXPECT_TRUE(is_printable_text(text));
    EXPECT_EQ(to_printable_text(text, 100), text);
  }
}

TEST(WireText, BrokenUtf8IsRefused) {
  for (const std::string& text :
       {"\x80"s, "\xc3"s, "a\xc3"s, "\xc3("s, "\xe2\x82"s, "\xe2(\xa1"s, "\xf0\x9f\x92"s, "\xff"s,
        "\xfe"s, "\xf8\x88\x80\x80\x80"s, "\xc0\xaf"s /* overlong */, "\xc1\xbf"s, "\xe0\x9f\xbf"s,
        "\xf0\x8f\xbf\xbf"s, "\xed\xa0\x80"s /* surrogate */, "\xed\xbf\xbf"s,
        "\xf4\x90\x80\x80"s /* above U+10FFFF */}) {
    EXPECT_FALSE(is_utf8(text));
    EXPECT_FALSE(is_printable_text(text));
    const std::string fixed = to_printable_text("a" + text + "b", 100);
    EXPECT_TRUE(is_printable_text(fixed));
    EXPECT_EQ(fixed.front(), 'a');
    EXPECT_EQ(fixed.back(), 'b');
  }
}

TEST(WireText, ControlCharactersAreUtf8ButNotPrintable) {
  for (const std::string& text : {"\0"s, "\n"s, "\x1b[2J"s, "\x7f"s, "\xc2\x80"s,
                                  "\xc2\x9b"s /* CSI in one character */, "\xc2\x9f"s}) {
    EXPECT_TRUE(is_utf8(text));
    EXPECT_FALSE(is_printable_text(text));
    EXPECT_EQ(to_printable_text(text, 100)[0], '?');
  }
  EXPECT_TRUE(is_printable_text("\xc2\xa0"));
}

TEST(WireText, NamesOfFoldersAreOneComponentOfPlainLetters) {
  for (const std::string name : {"a", "Z", "0", "-", "_", "fast-2_B"}) {
    EXPECT_TRUE(is_folder_name(name)) << name;
  }
  EXPECT_TRUE(is_folder_name(std::string(kFolderNameBytesMax, 'a')));
  EXPECT_FALSE(is_folder_name(std::string(kFolderNameBytesMax + 1, 'a')));
  EXPECT_FALSE(is_folder_name(""));
  EXPECT_FALSE(is_folder_name(std::string("a\0b", 3)));
  // Each byte alone: letters, digits and two more.
  unsigned count = 0;
  for (unsigned byte = 0; byte < 256; ++byte) {
    count += is_folder_name(std::string(1, static_cast<char>(byte))) ? 1u : 0u;
  }
  EXPECT_EQ(count, 26u + 26u + 10u + 2u);
}

TEST(WireText, CutFallsBetweenCharacters) {
  const std::string text = "ab\xe2\x82\xac\xf0\x9f\x92\xbe";
  const std::vector<std::size_t> kept = {0, 1, 2, 2, 2, 5, 5, 5, 5, 9, 9};
  for (std::size_t limit = 0; limit < kept.size(); ++limit) {
    EXPECT_EQ(to_printable_text(text, limit), text.substr(0, kept[limit])) << limit;
  }
}

TEST(WireText, WhatIsMadePrintableIs) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 2000; ++round) {
    std::string text(random() % 50, '\0');
    for (char& c : text) c = static_cast<char>(random());
    const std::size_t limit = random() % 60;
    const std::string made = to_printable_text(text, limit);
    ASSERT_TRUE(is_printable_text(made));
    ASSERT_LE(made.size(), limit);
    if (is_printable_text(text) && text.size() <= limit) {
      ASSERT_EQ(made, text);
    }
  }
}

}  // namespace
}  // namespace vhdxm::transfer
