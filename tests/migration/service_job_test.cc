#include "migration/service_job.h"

#include <gtest/gtest.h>

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <set>

#include "tests/support/temp_folder.h"

namespace vhdxm::migration {
namespace {

using State = ServiceJob::State;

ServiceJob a_job() {
  ServiceJob job;
  job.id = "web01-0a";
  job.disks = {
      {.name = "web01", .path = "/srv/web \"01\".vhdx", .name_there = "b.vhdx"},
      {.name = "data", .path = "/srv/data.vhdx", .name_there = {}, .folder_there = "fast"}};
  job.group = "g";
  job.host = "newhost";
  job.port = 6600;
  job.key_file = "/k";
  job.mode = "plain";
  job.streams = 3;
  job.limit = ~std::uint64_t{0};
  job.max_pause_ms = 20;
  job.cutover = "manual";
  job.mirror = "always";
  job.after = "forward";
  job.verify = true;
  job.state = State::kFailed;
  job.created = "2026-11-29T17:00:00.000Z";
  job.started = "2026-11-29T17:00:01.000Z";
  job.ended = "2026-11-29T17:00:02.000Z";
  job.exit = 5;
  job.message = "m";
  job.advice = "a";
  job.ownership = "o";
  job.report["bytes_total"] = 7;
  return job;
}

TEST(ServiceJob, ItsRecordHasEveryMember) {
  const ServiceJob job = a_job();
  const auto read = decode_service_job(encode(job), "f");
  ASSERT_TRUE(read.has_value()) << describe(read.error());
  EXPECT_EQ(encode(*read), encode(job));
  EXPECT_TRUE(read->asks_the_same(job));
  EXPECT_EQ(read->state, State::kFailed);
  EXPECT_EQ(read->limit, ~std::uint64_t{0});
  EXPECT_EQ(read->port, 6600);
}

TEST(ServiceJob, ARecordThatMissesOrHasMoreIsRefusedByName) {
  auto whole = boost::json::parse(encode(a_job())).as_object();
  // What earlier versions did not know may be missing.
  const std::set<std::string> later = {"max_pause_ms", "cutover", "mirror",
                                       "after",        "verify",  "group"};
  for (const auto& member : whole) {
    auto less = whole;
    less.erase(member.key());
    const auto read = decode_service_job(boost::json::serialize(less), "job.json");
    if (later.contains(std::string(member.key()))) {
      EXPECT_TRUE(read.has_value()) << member.key();
      continue;
    }
    ASSERT_TRUE(read.has_error()) << member.key();
    EXPECT_NE(describe(read.error()).find(std::string(member.key())), std::string::npos);
    EXPECT_NE(describe(read.error()).find("job.json"), std::string::npos);
  }
  for (const auto& [name, value] : {std::pair<const char*, boost::json::value>("extra", 1),
                                    {"state", "lost"},
                                    {"version", 0},
                                    {"version", 5},
                                    {"disks", 1},
                                    {"disks", boost::json::array{}},
                                    {"disks", boost::json::array{"web01"}},
                                    {"verify", 1},
                                    {"after", "never"},
                                    {"port", 65536},
                                    {"id", "../x"},
                                    {"exit", -1},
                                    {"streams", 1.5},
                                    {"cutover", "later"},
                                    {"mirror", "often"},
                                    {"max_pause_ms", 60001},
                                    {"report", 1}}) {
    auto wrong = whole;
    wrong[name] = value;
    EXPECT_TRUE(decode_service_job(boost::json::serialize(wrong), "f").has_error()) << name;
  }
}

TEST(ServiceJob, KnowsItsDisks) {
  const ServiceJob job = decode_service_job(encode(a_job()), "f").value();
  EXPECT_EQ(job.disks, a_job().disks);
  EXPECT_EQ(job.disk_names(), "web01, data");
  EXPECT_TRUE(job.has_disk("data"));
  EXPECT_FALSE(job.has_disk("b.vhdx"));
  EXPECT_TRUE(job.has_path("/srv/data.vhdx"));
  EXPECT_EQ(job.disks[0].file_there(), "b.vhdx");
  EXPECT_EQ(job.disks[1].file_there(), "data.vhdx");
  EXPECT_EQ(job.disks[0].place_there(), "b.vhdx");
  EXPECT_EQ(job.disks[1].place_there(), "fast/data.vhdx");
}

TEST(ServiceJob, OneOfVersionThreeHasNoFolders) {
  auto old = boost::json::parse(encode(a_job())).as_object();
  old["version"] = 3;
  EXPECT_TRUE(decode_service_job(boost::json::serialize(old), "f").has_error());
  for (auto& disk : old["disks"].as_array()) disk.as_object().erase("folder");
  const auto read = decode_service_job(boost::json::serialize(old), "f");
  ASSERT_TRUE(read.has_value()) << describe(read.error());
  EXPECT_EQ(read->disks[1].place_there(), "data.vhdx");
  old["version"] = 4;
  EXPECT_TRUE(decode_service_job(boost::json::serialize(old), "f").has_error());
}

TEST(PlaceThere, IsANameOrAFolderAndAName) {
  const auto expect = [](const std::string& text, const std::string& folder,
                         const std::string& name) {
    const auto place = PlaceThere::parse(text);
    ASSERT_TRUE(place.has_value()) << text;
    EXPECT_EQ(place->folder, folder);
    EXPECT_EQ(place->name, name);
  };
  expect("a.vhdx", "", "a.vhdx");
  expect("fast/a.vhdx", "fast", "a.vhdx");
  expect("b-2_X/", "b-2_X", "");
  expect("a b.vhdx", "", "a b.vhdx");
  for (const std::string text :
       {"", "/", "/a.vhdx", "/fast/a.vhdx", "fast/b/a.vhdx", "fast//a.vhdx", "fast//", "../a.vhdx",
        "./a.vhdx", "..", ".", "fast/..", "fast/.", "fa st/a.vhdx", "f.x/a.vhdx",
        "fast/a\n.vhdx"}) {
    EXPECT_FALSE(PlaceThere::parse(text).has_value()) << text;
  }
  EXPECT_TRUE(PlaceThere::parse(std::string(64, 'f') + "/a.vhdx").has_value());
  EXPECT_FALSE(PlaceThere::parse(std::string(65, 'f') + "/a.vhdx").has_value());
}

TEST(ServiceJob, OneOfAnEarlierVersionHasOneDisk) {
  auto old = boost::json::parse(encode(a_job())).as_object();
  old["version"] = 2;
  EXPECT_TRUE(decode_service_job(boost::json::serialize(old), "f").has_error());
  old.erase("disks");
  old["disk"] = "web01";
  old["path"] = "/srv/web01.vhdx";
  old["as"] = "b.vhdx";
  const ServiceJob job = decode_service_job(boost::json::serialize(old), "f").value();
  ASSERT_EQ(job.disks.size(), 1u);
  EXPECT_EQ(job.disks[0].name, "web01");
  EXPECT_EQ(job.disks[0].path, "/srv/web01.vhdx");
  EXPECT_EQ(job.disks[0].name_there, "b.vhdx");
}

TEST(ServiceJob, TwoAskTheSameWhateverBecameOfThem) {
  const ServiceJob job = a_job();
  ServiceJob other = job;
  other.id = "x";
  other.state = State::kDone;
  other.message = "else";
  EXPECT_TRUE(job.asks_the_same(other));
  other.max_pause_ms = 21;
  EXPECT_FALSE(job.asks_the_same(other));
  other = job;
  other.mirror = "never";
  EXPECT_FALSE(job.asks_the_same(other));
  other = job;
  other.verify = false;
  EXPECT_FALSE(job.asks_the_same(other));
  other = job;
  other.after = "fence";
  EXPECT_FALSE(job.asks_the_same(other));
  other = job;
  other.disks[1].folder_there = "bulk";
  EXPECT_FALSE(job.asks_the_same(other));
  other = job;
  other.port = 1;
  EXPECT_FALSE(job.asks_the_same(other));
}

TEST(ServiceJob, OneThatWasToCopyIsNotTakenForOneThatHandsOver) {
  const auto read = [](State state, bool live) {
    ServiceJob job = a_job();
    job.state = state;
    auto old = boost::json::parse(encode(job)).as_object();
    old["version"] = 1;
    old.erase("disks");
    for (const char* name : {"disk", "path", "as"}) old[name] = "a";
    old["verify"] = false;
    old["live"] = live;
    return decode_service_job(boost::json::serialize(old), "f").value();
  };
  for (const State state : {State::kQueued, State::kRunning, State::kPaused, State::kInterrupted}) {
    EXPECT_EQ(read(state, true).state, state);
    const ServiceJob copy = read(state, false);
    EXPECT_EQ(copy.state, State::kCancelled);
    EXPECT_NE(copy.message.find("copy"), std::string::npos);
  }
  EXPECT_EQ(read(State::kDone, false).state, State::kDone);
  EXPECT_EQ(read(State::kBlocked, true).state, State::kBlocked);
}

TEST(ServiceJob, NewIdsAreIdsAndDiffer) {
  const std::string name(64, 'n');
  EXPECT_TRUE(is_job_id(new_job_id(name)));
  EXPECT_NE(new_job_id("a"), new_job_id("a"));
}

TEST(ServiceJobStore, KeepsRecords) {
  const test::TempFolder folder;
  const auto store = ServiceJobStore::open(folder.path() + "/jobs").value();
  EXPECT_EQ(store->read("web01-0a").error().code.value(), ENOENT);
  ASSERT_TRUE(store->write(a_job()).has_value());
  ServiceJob changed = a_job();
  changed.state = State::kDone;
  ASSERT_TRUE(store->write(changed).has_value());
  EXPECT_EQ(store->read("web01-0a").value().state, State::kDone);
  EXPECT_EQ(store->list().value().size(), 1u);
  ASSERT_TRUE(store->remove("web01-0a").has_value());
  EXPECT_TRUE(store->list().value().empty());
}

}  // namespace
}  // namespace vhdxm::migration
