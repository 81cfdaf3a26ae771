#include "transfer/pairing_key.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/temp_folder.h"

namespace vhdxm::transfer {
namespace {

using test::TempFolder;

constexpr const char* kDigits = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

void put(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

std::string get(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string line() {
  return fmt::format("vhdx-migrate:{}", kDigits);
}

TEST(PairingKey, ComesBackFromItsLineAndItsGroups) {
  const PairingKey key = PairingKey::generate();
  EXPECT_EQ(PairingKey::parse(key.to_line())->bytes(), key.bytes());
  EXPECT_EQ(PairingKey::parse(key.to_groups())->bytes(), key.bytes());
  EXPECT_EQ(PairingKey::parse(line())->to_line(), line());
  EXPECT_EQ(PairingKey::parse(line())->to_groups(),
            "00112233 44556677 8899aabb ccddeeff 01234567 89abcdef 01234567 89abcdef");
  EXPECT_NE(PairingKey::generate().bytes(), key.bytes());
}

TEST(PairingKey, IsReadAsPeopleTypeIt) {
  const PairingKey key = *PairingKey::parse(line());
  std::string upper = line();
  std::transform(upper.begin(), upper.end(), upper.begin(), ::toupper);
  for (const std::string& text :
       {std::string(kDigits), upper, "  " + line() + "\n", line() + "\r\n",
        fmt::format("vhdx-migrate: {}\t{}", "00112233-44556677",
                    "8899aabb ccddeeff 01234567--89abcdef 01234567 89abcdef")}) {
    const Result<PairingKey> parsed = PairingKey::parse(text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_EQ(parsed->bytes(), key.bytes()) << text;
  }
}

TEST(PairingKey, OtherTextIsRefusedAndNotRepeated) {
  const std::string digits = kDigits;
  for (const std::string& text :
       {std::string(), std::string("vhdx-migrate:"), digits.substr(1), digits + "0",
        digits + digits, fmt::format("x{}", digits.substr(1)), fmt::format("vhdx:{}", digits),
        digits + ".", digits.substr(0, 32) + std::string(1, '\0') + digits.substr(32)}) {
    const Result<PairingKey> parsed = PairingKey::parse(text);
    ASSERT_TRUE(parsed.has_error()) << text;
    EXPECT_EQ(parsed.error().code, BaseErrc::kInvalidArgument);
    EXPECT_EQ(describe(parsed.error()).find("0011"), std::string::npos);
  }
}

TEST(PairingKey, FileIsMadeOncePrivateAndWithoutLeftovers) {
  const TempFolder folder;
  const std::string path = folder / "host.key";
  const Result<PairingKey> made = PairingKey::read_or_create_file(path);
  ASSERT_TRUE(made) << describe(made.error());
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  EXPECT_EQ(get(path), made->to_line() + "\n");
  const Result<PairingKey> again = PairingKey::read_or_create_file(path);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->bytes(), made->bytes());
  EXPECT_EQ(PairingKey::read_file(path)->bytes(), made->bytes());
  const auto files = std::filesystem::directory_iterator(folder.path());
  EXPECT_EQ(std::distance(begin(files), end(files)), 1);
}

TEST(PairingKey, ProgramsThatStartTogetherGetOneKey) {
  const TempFolder folder;
  const std::string path = folder / "host.key";
  std::vector<std::string> lines(8);
  {
    std::vector<std::jthread> threads;
    for (std::string& mine : lines) {
      threads.emplace_back([&mine, &path] {
        const Result<PairingKey> key = PairingKey::read_or_create_file(path);
        mine = key ? key->to_line() : describe(key.error());
      });
    }
  }
  for (const std::string& mine : lines) EXPECT_EQ(mine + "\n", get(path));
}

TEST(PairingKey, FileIsExactlyOneLine) {
  const TempFolder folder;
  const std::string path = folder / "key";
  put(path, line());
  EXPECT_TRUE(PairingKey::read_file(path)) << "without the last newline";
  std::string upper = line();
  std::transform(upper.begin() + 13, upper.end(), upper.begin() + 13, ::toupper);
  for (const std::string& content :
       {std::string(), std::string("\n"), std::string(kDigits) + "\n", line() + "\n\n",
        line() + "\r\n", " " + line() + "\n", line() + " \n", line() + "\n# mine\n", upper + "\n",
        line().substr(0, 60) + "\n", line() + "00\n", std::string(1024, 'a'),
        std::string(100'000, '0')}) {
    put(path, content);
    const Result<PairingKey> read = PairingKey::read_file(path);
    ASSERT_TRUE(read.has_error()) << content;
    EXPECT_EQ(read.error().code, BaseErrc::kInvalidArgument);
    EXPECT_EQ(read.error().subject, path);
    EXPECT_EQ(describe(read.error()).find("0011"), std::string::npos);
    const Result<PairingKey> created = PairingKey::read_or_create_file(path);
    EXPECT_TRUE(created.has_error());
    EXPECT_EQ(get(path), content) << "a file that is something else is left alone";
  }
}

TEST(PairingKey, WhatIsNoFileIsRefusedByName) {
  const TempFolder folder;
  EXPECT_EQ(PairingKey::read_file(folder / "none").error().code,
            boost::system::errc::no_such_file_or_directory);
  EXPECT_TRUE(PairingKey::read_file(folder.path()).has_error());
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_TRUE(PairingKey::read_file(folder / "pipe").has_error()) << "and does not hang";
  EXPECT_TRUE(PairingKey::read_or_create_file(folder / "none/key").has_error());
  EXPECT_TRUE(PairingKey::read_or_create_file(folder.path() + "/").has_error());
  std::filesystem::create_symlink("nowhere", folder / "link");
  EXPECT_TRUE(PairingKey::read_or_create_file(folder / "link").has_error());
}

TEST(PairingKey, SymbolicLinkToAKeyFileIsRead) {
  const TempFolder folder;
  put(folder / "real", line() + "\n");
  std::filesystem::create_symlink("real", folder / "link");
  EXPECT_TRUE(PairingKey::read_file(folder / "link"));
}

}  // namespace
}  // namespace vhdxm::transfer
