#include "tools/options.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace vhdxm::tools {
namespace {

/// An environment variable, for as long as this lives.
class Variable {
 public:
  Variable(std::string name, const char* value) : name_(std::move(name)) {
    ::setenv(name_.c_str(), value, 1);
  }
  ~Variable() { ::unsetenv(name_.c_str()); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const std::string name_;
};

struct Parsed {
  std::string disk;
  bool fixed = false;
  std::string name;
  std::optional<std::uint64_t> size;
  std::optional<unsigned> streams;
  std::string mode = "plain";
};

/// Throws CLI::ParseError.
Parsed parse(const std::vector<std::string>& words) {
  Parsed parsed;
  CLI::App app;
  OptionSet options(app);
  options.argument("DISK", parsed.disk, "");
  options.flag("--fixed", parsed.fixed, "");
  options.text("--as", "NAME", parsed.name, "");
  options.size("--block-size", parsed.size, "");
  options.number("--streams", parsed.streams, 1, 64, "");
  options.choice("--mode", parsed.mode, {"plain"}, "", "compression is not in this version");
  app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  return parsed;
}

std::string refusal(const std::vector<std::string>& words) {
  try {
    parse(words);
  } catch (const CLI::ParseError& error) {
    return error.what();
  }
  return "";
}

TEST(Options, EveryOptionHasItsEnvironmentVariable) {
  EXPECT_EQ(environment_name("--json"), "VHDX_MIGRATE_JSON");
  EXPECT_EQ(environment_name("--block-size"), "VHDX_MIGRATE_BLOCK_SIZE");
}

TEST(Options, DefaultsHoldWhereNothingIsSaid) {
  const Parsed parsed = parse({"a.vhdx"});
  EXPECT_EQ(parsed.disk, "a.vhdx");
  EXPECT_FALSE(parsed.fixed);
  EXPECT_EQ(parsed.size, std::nullopt);
  EXPECT_EQ(parsed.mode, "plain");
}

TEST(Options, TheEnvironmentIsTaken) {
  const Variable size("VHDX_MIGRATE_BLOCK_SIZE", "1M");
  const Variable fixed("VHDX_MIGRATE_FIXED", "1");
  const Variable name("VHDX_MIGRATE_AS", "b.vhdx");
  const Variable streams("VHDX_MIGRATE_STREAMS", "7");
  const Parsed parsed = parse({"a.vhdx"});
  EXPECT_EQ(parsed.size, std::uint64_t{1024} * 1024);
  EXPECT_TRUE(parsed.fixed);
  EXPECT_EQ(parsed.name, "b.vhdx");
  EXPECT_EQ(parsed.streams, 7U);
}

TEST(Options, TheCommandLineGoesBeforeTheEnvironment) {
  const Variable size("VHDX_MIGRATE_BLOCK_SIZE", "1M");
  const Variable streams("VHDX_MIGRATE_STREAMS", "no number");
  const Parsed parsed = parse({"a.vhdx", "--block-size", "2M", "--streams=3"});
  EXPECT_EQ(parsed.size, std::uint64_t{2} * 1024 * 1024);
  EXPECT_EQ(parsed.streams, 3U);
}

TEST(Options, ASwitchCanBeOffInTheEnvironment) {
  for (const char* value : {"0", "false", ""}) {
    const Variable fixed("VHDX_MIGRATE_FIXED", value);
    EXPECT_FALSE(parse({"a.vhdx"}).fixed) << value;
  }
}

TEST(Options, RefusalsNameTheOptionAndWhatItTakes) {
  EXPECT_EQ(
      refusal({"a", "--block-size", "8x"}),
      "--block-size: '8x' is not a size; sizes are bytes or take K, M, G, T: 4096, 32M, 1.5G");
  EXPECT_EQ(refusal({"a", "--streams", "65"}),
            "--streams: '65' is not a whole number from 1 to 64");
  EXPECT_EQ(refusal({"a", "--streams", "4x"}),
            "--streams: '4x' is not a whole number from 1 to 64");
  EXPECT_EQ(refusal({"a", "--mode", "auto"}),
            "--mode: 'auto' is not offered, only plain; compression is not in this version");
  EXPECT_EQ(refusal({}), "DISK is required");
  EXPECT_NE(refusal({"a", "--level", "3"}), "");
  EXPECT_NE(refusal({"a", "--as", "x", "--as", "y"}), "");
}

TEST(Options, TimesHaveAUnit) {
  EXPECT_EQ(parse_milliseconds("20ms"), 20U);
  EXPECT_EQ(parse_milliseconds("2s"), 2000U);
  EXPECT_EQ(parse_milliseconds("1000000000s"), 1'000'000'000'000U);
  for (const char* text : {"", "20", "0ms", "ms", "-1s", "1.5s", "2 s", "2m", "2S", "2sx",
                           "1000000001s", "99999999999999999999s"}) {
    EXPECT_FALSE(parse_milliseconds(text).has_value()) << text;
  }
}

TEST(Options, ADashAloneIsAnArgument) {
  EXPECT_EQ(parse({"-"}).disk, "-");
}

TEST(Options, WhatFollowsTwoDashesIsAnArgument) {
  EXPECT_EQ(parse({"--", "--fixed"}).disk, "--fixed");
}

}  // namespace
}  // namespace vhdxm::tools
