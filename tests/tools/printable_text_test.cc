#include "tools/printable_text.h"

#include <gtest/gtest.h>

namespace vhdxm::tools {
namespace {

TEST(PrintableText, LeavesOrdinaryTextAlone) {
  EXPECT_EQ(printable("web01.vhdx"), "web01.vhdx");
  EXPECT_EQ(printable("Gr\xc3\xbc\xc3\x9f\x65 \xe6\x97\xa5 \xf0\x9f\x92\xbe"),
            "Gr\xc3\xbc\xc3\x9f\x65 \xe6\x97\xa5 \xf0\x9f\x92\xbe");
}

TEST(PrintableText, CannotDriveATerminal) {
  EXPECT_EQ(printable("\x1b[2J\r\n"), "\\x1b[2J\\x0d\\x0a");
  EXPECT_EQ(printable("\x7f"), "\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"), "\\x9b");        // C1: CSI in one character
  EXPECT_EQ(printable("\xe2\x80\xae"), "\\u202e");  // right-to-left override
}

TEST(PrintableText, ReplacesWhatIsNotUtf8) {
  EXPECT_EQ(valid_utf8("\xff"), "\xef\xbf\xbd");
  EXPECT_EQ(valid_utf8("\xc3"), "\xef\xbf\xbd");                                  // cut short
  EXPECT_EQ(valid_utf8("\xc0\x80"), "\xef\xbf\xbd\xef\xbf\xbd");                  // overlong
  EXPECT_EQ(valid_utf8("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");  // surrogate
  EXPECT_EQ(valid_utf8("\xf4\x90\x80\x80"),
            "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");  // past Unicode
}

TEST(PrintableText, QuotesWordsForAShell) {
  EXPECT_EQ(shell_word("pair.key"), "pair.key");
  EXPECT_EQ(shell_word("a b"), "'a b'");
  EXPECT_EQ(shell_word("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_word(""), "''");
  EXPECT_EQ(shell_word("$(rm)"), "'$(rm)'");
}

}  // namespace
}  // namespace vhdxm::tools
