#include "tools/host_config.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temp_folder.h"

namespace vhdxm::tools {
namespace {

TEST(HostConfig, AnEmptyFileIsTheDefaultsWithBothDirectionsOff) {
  const auto settings = parse_host_config("", "f").value();
  EXPECT_FALSE(settings.incoming);
  EXPECT_FALSE(settings.outgoing);
  EXPECT_EQ(settings.port, 6600);
  EXPECT_EQ(settings.control_path(), "/run/vhdx-migrate/control.sock");
  EXPECT_EQ(problem_with(settings), "");
}

TEST(HostConfig, TakesEverySetting) {
  const auto settings = parse_host_config(R"(
incoming = true
outgoing = true
listen = "10.0.0.5"
port = 7000
auth = "pairing"
key_file = "/k"
folder = "/srv"
owner = "0:0"
file_mode = "0640"
max_migrations = 3
max_arrivals = 9
bandwidth_limit = "400M"
performance = "tcpip"
resolve_retry = "20s"
state_folder = "/s"
run_folder = "/r"
control_socket = "/c"
[peers.a]
[peers.b]
address = "[::1]:7001"
key_file = "/kb"
)",
                                          "f");
  ASSERT_TRUE(settings.has_value()) << settings.error().message;
  EXPECT_TRUE(settings->incoming && settings->outgoing);
  EXPECT_EQ(settings->listen_address, "10.0.0.5");
  EXPECT_EQ(settings->port, 7000);
  EXPECT_EQ(settings->key_file, "/k");
  EXPECT_EQ(settings->folder, "/srv");
  EXPECT_EQ(settings->owner_uid, 0u);
  EXPECT_EQ(settings->owner_gid, 0u);
  EXPECT_EQ(settings->file_mode, 0640u);
  EXPECT_EQ(settings->max_migrations, 3u);
  EXPECT_EQ(settings->max_arrivals, 9u);
  EXPECT_EQ(settings->bandwidth_limit, 400ull << 20);
  EXPECT_EQ(settings->performance, transfer::Mode::kPlain);
  EXPECT_EQ(settings->resolve_retry, std::chrono::seconds(20));
  EXPECT_EQ(settings->state_folder, "/s");
  EXPECT_EQ(settings->run_folder, "/r");
  EXPECT_EQ(settings->control_path(), "/c");
  ASSERT_NE(settings->find_peer("a"), nullptr);
  EXPECT_EQ(settings->find_peer("a")->address, "");
  ASSERT_NE(settings->find_peer("b"), nullptr);
  EXPECT_EQ(settings->find_peer("b")->address, "::1");
  EXPECT_EQ(settings->find_peer("b")->port, 7001);
  EXPECT_EQ(settings->find_peer("b")->key_file, "/kb");
  EXPECT_EQ(settings->find_peer("c"), nullptr);
}

TEST(HostConfig, WhatIsWrongIsNamedWithFileLineAndKey) {
  struct Case {
    const char* text;
    const char* place;
    const char* key;
  };
  for (const Case& one : {Case{"incoming = 1", "f:1:", "incoming"},
                          {"\nincomming = true", "f:2:", "incomming"},
                          {"port = -1", "f:1:", "port"},
                          {"port = 65536", "f:1:", "port"},
                          {"port = \"6600\"", "f:1:", "port"},
                          {"port = 6600\nport = 6600", "f:2:", "port"},
                          {"auth = \"kerberos\"", "f:1:", "auth"},
                          {"max_migrations = 0", "f:1:", "max_migrations"},
                          {"max_arrivals = 1.5", "f:1:", "max_arrivals"},
                          {"bandwidth_limit = \"400\"", "f:1:", "bandwidth_limit"},
                          {"bandwidth_limit = 400", "f:1:", "bandwidth_limit"},
                          {"performance = \"smb\"", "f:1:", "performance"},
                          {"resolve_retry = 5", "f:1:", "resolve_retry"},
                          {"resolve_retry = \"0s\"", "f:1:", "resolve_retry"},
                          {"resolve_retry = \"2d\"", "f:1:", "resolve_retry"},
                          {"resolve_retry = \"86401s\"", "f:1:", "resolve_retry"},
                          {"file_mode = \"999\"", "f:1:", "file_mode"},
                          {"owner = \"no-such-user-here\"", "f:1:", "owner"},
                          {"peers = 1", "f:1:", "peers"},
                          {"[peers]\na = 1", "f:2:", "peers.a"},
                          {"[peers.a]\naddress = \"b:0\"", "f:2:", "peers.a.address"},
                          {"[peers.a]\n\nkey = \"b\"", "f:3:", "peers.a.key"},
                          {"[incoming]", "f:1:", "incoming"},
                          {"folders = \"/a\"", "f:1:", "folders"},
                          {"folders = [\"/a\"]", "f:1:", "folders"},
                          {"[folders]\na = 1", "f:2:", "folders.a"},
                          {"[folders]\n\na = \"\"", "f:3:", "folders.a"},
                          {"[folders]\n\"a/b\" = \"/a\"", "f:2:", "folders.a/b"},
                          {"[folders]\n\"\" = \"/a\"", "f:2:", "folders."},
                          {"[folders]\n\"..\" = \"/a\"", "f:2:", "folders..."},
                          {"[folders]\na = \"/a\"\na = \"/b\"", "f:3:", ""},
                          {"folder = \"/a", "f:1:", ""}}) {
    const auto settings = parse_host_config(one.text, "f");
    ASSERT_TRUE(settings.has_error()) << one.text;
    EXPECT_EQ(settings.error().exit, ExitCode::kUsage);
    EXPECT_TRUE(settings.error().message.starts_with(one.place)) << settings.error().message;
    EXPECT_NE(settings.error().message.find(one.key), std::string::npos)
        << settings.error().message;
    EXPECT_NE(settings.error().advice, "");
  }
}

TEST(HostConfig, IncomingNeedsAFolderAndAKey) {
  migration::HostSettings settings;
  settings.incoming = true;
  EXPECT_NE(problem_with(settings).find("folder"), std::string::npos);
  settings.folder = "srv";
  settings.key_file = "/k";
  EXPECT_NE(problem_with(settings).find("folder"), std::string::npos);
  settings.folder = "/srv";
  EXPECT_EQ(problem_with(settings), "");
  settings.folders = {{"fast", "/srv/fast"}, {"bulk", "srv/bulk"}};
  EXPECT_NE(problem_with(settings).find("folders.bulk"), std::string::npos);
  settings.folders["bulk"] = "/srv/bulk";
  EXPECT_EQ(problem_with(settings), "");
  settings.key_file = "";
  EXPECT_NE(problem_with(settings).find("key_file"), std::string::npos);
  settings = {};
  settings.state_folder = "s";
  EXPECT_NE(problem_with(settings).find("state_folder"), std::string::npos);
}

TEST(HostConfig, FoldersHaveNames) {
  const auto settings = parse_host_config(
      "folder = \"/srv\"\n[folders]\nfast = \"/srv/fast\"\nBulk_2-x = \"/srv/bulk\"\n", "f");
  ASSERT_TRUE(settings.has_value()) << settings.error().message;
  EXPECT_EQ(settings->folders,
            (std::map<std::string, std::string>{{"fast", "/srv/fast"}, {"Bulk_2-x", "/srv/bulk"}}));
  EXPECT_EQ(settings->arrival_folders().into, "/srv");
  EXPECT_EQ(*settings->arrival_folders().find("fast"), "/srv/fast");
}

TEST(HostConfig, EachFolderHasOnePathWhenTheServiceStarts) {
  const test::TempFolder one;
  const test::TempFolder two;
  std::filesystem::create_directory_symlink(two.path(), one / "link");
  std::ofstream(one / "file") << "no folder";
  migration::HostSettings settings;
  settings.folder = one.path();
  settings.folders = {{"fast", one / "link"}};
  ASSERT_FALSE(find_folders(settings));
  EXPECT_EQ(settings.folders.at("fast"), std::filesystem::canonical(two.path()));
  const auto expect_refused = [&](const std::map<std::string, std::string>& folders,
                                  const std::string& key, const std::string& text) {
    migration::HostSettings wrong = settings;
    wrong.folders = folders;
    const auto failure = find_folders(wrong);
    ASSERT_TRUE(failure.has_value()) << key;
    EXPECT_TRUE(failure->message.starts_with(key + ": ")) << failure->message;
    EXPECT_NE(failure->message.find(text), std::string::npos) << failure->message;
    EXPECT_NE(failure->advice, "");
  };
  expect_refused({{"a", one / "no"}}, "folders.a", one / "no");
  expect_refused({{"a", one / "file"}}, "folders.a", one / "file");
  expect_refused({{"a", one / "link/.."}, {"b", two.path()}, {"c", one / "link"}}, "folders.c",
                 "folders.b");
  expect_refused({{"a", one.path() + "/."}}, "folders.a", "that of folder");
  settings.folder = one / "no";
  EXPECT_TRUE(find_folders(settings)->message.starts_with("folder: "));
}

TEST(HostConfig, AFileThatIsNotThereIsNamed) {
  const auto settings = read_host_config("/no/such/host.toml");
  ASSERT_TRUE(settings.has_error());
  EXPECT_NE(settings.error().message.find("/no/such/host.toml"), std::string::npos);
}

}  // namespace
}  // namespace vhdxm::tools
