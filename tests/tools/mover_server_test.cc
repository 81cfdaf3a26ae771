// A mover's control socket and the service's end of it, over a real Unix socket.
#include "tools/mover_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>
#include <vector>

#include "tests/support/temp_folder.h"
#include "tools/disk_mover.h"
#include "tools/mover_client.h"

namespace vhdxm::tools {
namespace {

using namespace std::chrono_literals;

class MoverServerTest : public testing::Test {
 protected:
  std::unique_ptr<MoverServer> serve() {
    return MoverServer::start(socket_,
                              [](const std::string& op, const boost::json::object& request) {
                                MoverAnswer answer;
                                answer.subscribes = op == "subscribe";
                                answer.fields["op"] = op;
                                answer.fields["members"] = request.size();
                                return answer;
                              })
        .value();
  }

  const test::TempFolder folder_;
  const std::string socket_ = folder_ / "s";
};

TEST_F(MoverServerTest, AnswersInOrder) {
  const auto server = serve();
  auto client = MoverClient::connect(socket_).value();
  boost::json::object wish;
  wish["name"] = "a";
  for (int i = 0; i < 100; ++i) {
    const auto answer = client.ask("status", wish, 60s).value();
    EXPECT_EQ(text_of(answer, "op"), "status");
    EXPECT_EQ(number_of(answer, "version"), 2u);
    EXPECT_EQ(number_of(answer, "members"), 1u);  // neither its version nor its op
  }
}

TEST_F(MoverServerTest, RefusesAnotherVersionByName) {
  const auto server = serve();
  auto client = MoverClient::connect(socket_).value();
  boost::json::object wish;
  wish["version"] = 1;
  const auto answer = client.ask("status", wish, 60s).value();
  EXPECT_EQ(text_of(answer, "error"), "version");
  EXPECT_EQ(number_of(answer, "version"), 2u);
  EXPECT_EQ(text_of(client.ask("status", {}, 60s).value(), "op"), "status");
}

TEST_F(MoverServerTest, WhoSubscribedGetsWhatIsPublishedAndOthersDoNot) {
  auto server = serve();
  auto listener = MoverClient::connect(socket_).value();
  auto other = MoverClient::connect(socket_).value();
  ASSERT_TRUE(listener.ask("subscribe", {}, 60s).has_value());
  ASSERT_TRUE(other.ask("status", {}, 60s).has_value());
  for (int i = 0; i < 10; ++i) {
    boost::json::object event;
    event["event"] = "progress";
    event["i"] = i;
    server->publish(event);
  }
  server.reset();  // what was published is still sent
  for (unsigned i = 0; i < 10; ++i) {
    const auto event = listener.next(60s).value();
    ASSERT_TRUE(event);
    EXPECT_EQ(number_of(*event, "i"), i);
  }
  EXPECT_FALSE(listener.next(60s).value());
  EXPECT_FALSE(other.next(60s).value());
  EXPECT_FALSE(std::filesystem::exists(socket_));
}

TEST_F(MoverServerTest, AClientThatIsCancelledReturnsFromAnotherThread) {
  const auto server = serve();
  auto client = MoverClient::connect(socket_).value();
  std::atomic<bool> ended = false;
  std::thread waits([&] {
    EXPECT_FALSE(client.next(std::nullopt).value());
    ended = true;
  });
  client.cancel();
  waits.join();
  EXPECT_TRUE(ended);
}

TEST_F(MoverServerTest, OneWhoDoesNotReadHoldsNobodyUp) {
  const auto server = serve();
  auto deaf = MoverClient::connect(socket_).value();
  ASSERT_TRUE(deaf.ask("subscribe", {}, 60s).has_value());
  auto listener = MoverClient::connect(socket_).value();
  boost::json::object event;
  event["event"] = "progress";
  event["text"] = std::string(60'000, 'x');
  for (int i = 0; i < 100; ++i) server->publish(event);
  EXPECT_TRUE(listener.ask("status", {}, 60s).has_value());
}

TEST_F(MoverServerTest, NobodyListensWhereTheServerHasGone) {
  serve().reset();
  EXPECT_TRUE(MoverClient::connect(socket_).has_error());
  EXPECT_TRUE(MoverClient::connect(std::string(200, 'x')).has_error());
}

class DiskMoverTest : public testing::Test {
 protected:
  void SetUp() override {
    mover_ = DiskMover::start(folder_ / "s", {}, [this] { ++ends_; }).value();
    mover_->add(std::make_shared<MoverDisk>("web01", "/srv/a", false, nullptr));
  }
  boost::json::object ask(MoverClient& client, bool force) {
    boost::json::object wish;
    wish["force"] = force;
    return client.ask("end", wish, 60s).value();
  }

  const test::TempFolder folder_;
  std::atomic<int> ends_ = 0;
  std::unique_ptr<DiskMover> mover_;
};

TEST_F(DiskMoverTest, EndsWhenNoClientIsThereAndTellsThatTheDiskWasClosed) {
  auto client = MoverClient::connect(folder_ / "s").value();
  const auto disk = mover_->client_opens("any").disk;
  ASSERT_NE(disk, nullptr);
  const auto status = client.ask("status", {}, 60s).value();
  EXPECT_EQ(number_of(status.at("disks").at(0).as_object(), "clients"), 1u);
  EXPECT_EQ(text_of(ask(client, false), "error"), "in_use");
  EXPECT_EQ(ends_, 0);
  mover_->client_closes(*disk);
  EXPECT_FALSE(ask(client, false).contains("error"));
  EXPECT_EQ(ends_, 1);
  EXPECT_EQ(mover_->client_opens("any").disk, nullptr);
  mover_->close_all();
  EXPECT_EQ(text_of(*client.next(60s).value(), "event"), "closed");
}

TEST_F(DiskMoverTest, EndsByForceWhateverClientsThereAre) {
  auto client = MoverClient::connect(folder_ / "s").value();
  EXPECT_NE(mover_->client_opens("").disk, nullptr);
  EXPECT_FALSE(ask(client, true).contains("error"));
  EXPECT_EQ(ends_, 1);
}

TEST_F(DiskMoverTest, NamesWhatItDoesNotKnow) {
  auto client = MoverClient::connect(folder_ / "s").value();
  EXPECT_EQ(text_of(client.ask("dance", {}, 60s).value(), "error"), "unknown_op");
  boost::json::object wish;
  wish["forse"] = true;
  EXPECT_EQ(text_of(client.ask("end", wish, 60s).value(), "error"), "bad_request");
  EXPECT_EQ(ends_, 0);
}

}  // namespace
}  // namespace vhdxm::tools
