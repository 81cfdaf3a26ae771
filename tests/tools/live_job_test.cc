// A disk's mover moves its disk while it is in use, asked over its control socket.
#include "tools/live_job.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "migration/host_records.h"
#include "migration/live_move.h"
#include "migration/service_job.h"
#include "tests/net/disk_file.h"
#include "tests/net/live_guest.h"
#include "tests/net/running_receiver.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "tools/detached_process.h"
#include "tools/disk_mover.h"
#include "tools/job_files.h"
#include "tools/mover_client.h"

namespace vhdxm::tools {
namespace {

using namespace std::chrono_literals;
using migration::ServiceJob;
using migration::ServiceJobStore;
using test::succeeded;
using transfer::LiveDisk;
using vhdx::kMiB;

class LiveJobTest : public testing::Test {
 protected:
  LiveJobTest() : trace_(__FILE__, __LINE__, test::repeat_with(seed_)) {
    std::filesystem::create_directories(run_folder() + "/jobs");
    path_ = test::write_disk(disks_, "web01.vhdx",
                             test::data_disk(test::small_geometry(16 * kMiB), 6 * kMiB, seed_),
                             [](vhdx::Description& one) { one.opaque_items.clear(); });
    mover_ =
        DiskMover::start(folder_ / "s",
                         {.state_folder = folder_ / "state", .run_folder = run_folder()}, [] {})
            .value();
    disk_ = LiveDisk::open(path_, mover_->disks().gate(), {}).value();
    mover_->add(std::make_shared<MoverDisk>("web01", path_, false, disk_));
    there_ = migration::HostRecords::open(folder_ / "there", {arrivals_.path()}).value();
    receiver_ = std::make_unique<transfer::RunningReceiver>(transfer::ReceiverOptions{
        .into = arrivals_.path(),
        .key = transfer::PairingKey::read_or_create_file(folder_ / "key").value(),
        .cutover_target = migration::arrivals(there_->ownership(), {.into = arrivals_.path()})});
    store_ = ServiceJobStore::open(folder_ / "state/jobs").value();
  }

  std::string run_folder() const { return folder_ / "run"; }

  ServiceJob wish(const std::string& id) const {
    ServiceJob job;
    job.id = id;
    job.disks = {{.name = "web01", .path = path_, .name_there = {}}};
    job.host = "127.0.0.1";
    job.port = receiver_->port();
    job.key_file = folder_ / "key";
    job.max_pause_ms = 20'000;
    return job;
  }

  /// What the mover says to `move`, and whether it has begun.
  bool begin(MoverClient& client, const ServiceJob& job) {
    EXPECT_TRUE(succeeded(store_->write(job)));
    const auto answer = ask(client, job.id);
    EXPECT_FALSE(answer.contains("error")) << text_of(answer, "message");
    const auto event = client.next(60s).value().value();
    EXPECT_EQ(text_of(event, "event"), "move");
    return event.at("begun").as_bool();
  }
  static boost::json::object ask(MoverClient& client, const std::string& id) {
    boost::json::object fields;
    fields["id"] = id;
    return client.ask("move", fields, 60s).value();
  }
  /// The record once its process, or thread, has let go of the job.
  ServiceJob over(const std::string& id) {
    for (;;) {
      const auto lock = ProcessLock::take(job_lock_path(run_folder(), id)).value();
      if (lock) break;
      std::this_thread::yield();
    }
    return store_->read(id).value();
  }
  MoverClient job_client(const std::string& id) const {
    return MoverClient::connect(job_socket_path(run_folder(), id)).value();
  }

  const std::uint64_t seed_ = test::random_seed();
  const testing::ScopedTrace trace_;
  const test::TempFolder folder_;
  const test::TempFolder disks_;
  const test::TempFolder arrivals_;
  std::string path_;
  std::shared_ptr<LiveDisk> disk_;
  std::unique_ptr<DiskMover> mover_;
  std::unique_ptr<migration::HostRecords> there_;
  std::unique_ptr<ServiceJobStore> store_;
  std::unique_ptr<transfer::RunningReceiver> receiver_;
};

TEST_F(LiveJobTest, MovesTheDiskAndTellsOfIt) {
  transfer::LiveGuest guest(disk_, seed_);
  guest.start(2, 14 * kMiB);
  auto client = MoverClient::connect(folder_ / "s").value();
  ServiceJob job = wish("j1");
  job.cutover = "manual";
  ASSERT_TRUE(begin(client, job));
  EXPECT_EQ(store_->read("j1").value().state, ServiceJob::State::kRunning);
  // One at a time, and nobody closes the disk meanwhile.
  EXPECT_EQ(text_of(ask(client, "j2"), "error"), "in_use");
  boost::json::object force;
  force["force"] = true;
  EXPECT_EQ(text_of(client.ask("end", force, 60s).value(), "error"), "moving");
  EXPECT_EQ(text_of(client.ask("status", {}, 60s).value(), "job"), "j1");

  auto watcher = job_client("j1");
  ASSERT_FALSE(watcher.ask("subscribe", {}, 60s).value().contains("error"));
  std::string phase;
  while (phase != "ready") {
    const auto event = watcher.next(60s).value().value();
    ASSERT_EQ(text_of(event, "event"), "progress");
    phase = text_of(event.at("progress").at("live").as_object(), "phase");
  }
  auto control = job_client("j1");
  boost::json::object set;
  set["limit"] = 1'000'000'000;
  set["max_pause_ms"] = 30'000;
  EXPECT_FALSE(control.ask("set", set, 60s).value().contains("error"));
  set["mode"] = "plain";
  EXPECT_FALSE(control.ask("set", set, 60s).value().contains("error"));
  set["mode"] = "lzma";
  EXPECT_EQ(text_of(control.ask("set", set, 60s).value(), "error"), "bad_request");
  EXPECT_FALSE(control.ask("cutover", {}, 60s).value().contains("error"));
  guest.join();
  const ServiceJob done = over("j1");
  EXPECT_EQ(done.state, ServiceJob::State::kDone) << done.message;
  EXPECT_EQ(done.exit, 0);
  EXPECT_EQ(done.ownership, "web01.vhdx: the destination owns it.");
  EXPECT_EQ(done.limit, 1'000'000'000U);
  EXPECT_EQ(done.max_pause_ms, 30'000U);
  EXPECT_EQ(done.mode, "plain");
  EXPECT_TRUE(done.report.at("live").as_object().contains("pause_us"));
  EXPECT_EQ(guest.refused(), 2U);
  EXPECT_EQ(guest.errors(), 0U);
  EXPECT_TRUE(client.ask("status", {}, 60s).value().at("fenced").as_bool());
  // The lock is free a little before the thread has ended: then nothing moves any more.
  while (client.ask("status", {}, 60s).value().contains("job")) std::this_thread::yield();
  receiver_->stop();
  transfer::expect_disk(arrivals_ / "web01.vhdx", guest.content());
}

TEST_F(LiveJobTest, PausedCancelledOrClosedTheSourceOwnsAndGuestsGoOn) {
  transfer::LiveGuest guest(disk_, seed_);
  guest.start(1, 14 * kMiB);
  auto client = MoverClient::connect(folder_ / "s").value();
  using enum ServiceJob::State;
  for (const auto& [id, op, state] :
       {std::tuple("a", "pause", kPaused), std::tuple("b", "cancel", kCancelled),
        std::tuple("c", "", kInterrupted)}) {
    SCOPED_TRACE(id);
    ServiceJob job = wish(id);
    job.cutover = "manual";
    ASSERT_TRUE(begin(client, job));
    if (*op != 0) {
      EXPECT_FALSE(job_client(id).ask(op, {}, 60s).value().contains("error"));
    } else {
      mover_->end_job();
    }
    const ServiceJob ended = over(id);
    EXPECT_EQ(ended.state, state) << ended.message;
    EXPECT_EQ(ended.ownership, "web01.vhdx: the source owns it.");
    const std::uint64_t before = guest.writes();
    while (guest.writes() == before) std::this_thread::yield();
    while (client.ask("status", {}, 60s).value().contains("job")) std::this_thread::yield();
  }
  EXPECT_EQ(text_of(ask(client, "d"), "error"), "in_use") << "it is being closed";
  guest.stop();
  EXPECT_EQ(guest.errors() + guest.refused(), 0U);
}

TEST_F(LiveJobTest, WritesMayWaitForLongOnlyWhileNobodyIsThere) {
  auto client = MoverClient::connect(folder_ / "s").value();
  ServiceJob job = wish("j1");
  job.max_pause_ms = 0;
  job.mode = "plain";
  job.cutover = "manual";
  ASSERT_TRUE(begin(client, job));
  auto watcher = job_client("j1");
  ASSERT_FALSE(watcher.ask("subscribe", {}, 60s).value().contains("error"));
  const auto wait_for_pause = [&watcher](std::int64_t wanted_us) {
    std::int64_t told = 0;
    while (told != wanted_us) {
      const auto event = watcher.next(60s).value().value();
      told = event.at("progress").at("live").at("max_pause_us").as_int64();
    }
  };
  wait_for_pause(60'000'000);
  const auto held = mover_->client_opens("").disk;
  ASSERT_NE(held, nullptr);
  ASSERT_NE(mover_->client_opens("web01").disk, nullptr);
  wait_for_pause(300'000);
  mover_->client_closes(*held);
  mover_->client_closes(*held);
  wait_for_pause(60'000'000);
  // One that began as plain has nothing to compress with.
  boost::json::object compress;
  compress["mode"] = "auto";
  compress["limit"] = 1'000'000;
  EXPECT_EQ(text_of(job_client("j1").ask("set", compress, 60s).value(), "error"), "not_now");
  // What somebody says stands, whoever comes.
  boost::json::object set;
  set["max_pause_ms"] = 7'000;
  EXPECT_FALSE(job_client("j1").ask("set", set, 60s).value().contains("error"));
  wait_for_pause(7'000'000);
  ASSERT_NE(mover_->client_opens("").disk, nullptr);
  EXPECT_FALSE(job_client("j1").ask("cutover", {}, 60s).value().contains("error"));
  const ServiceJob done = over("j1");
  EXPECT_EQ(done.state, ServiceJob::State::kDone) << done.message;
  EXPECT_EQ(done.report.at("live").at("max_pause_us").as_int64(), 7'000'000);
  EXPECT_EQ(done.max_pause_ms, 7'000U);
  EXPECT_EQ(done.limit, 0U) << "of what is refused nothing is set";
}

TEST_F(LiveJobTest, WhatCannotBeginSaysWhyInItsRecord) {
  auto client = MoverClient::connect(folder_ / "s").value();
  ServiceJob job = wish("j1");
  job.key_file = folder_ / "none";
  EXPECT_FALSE(begin(client, job));
  const ServiceJob failed = over("j1");
  EXPECT_EQ(failed.state, ServiceJob::State::kFailed);
  EXPECT_NE(failed.message.find("none"), std::string::npos);
  EXPECT_FALSE(failed.ownership.empty());
  EXPECT_EQ(text_of(ask(client, "../x"), "error"), "bad_request");
  EXPECT_EQ(disk_->gate().state(), transfer::WriteGate::State::kOpen);
}

}  // namespace
}  // namespace vhdxm::tools
