// HTTP over a real Unix socket, asked by the command's own client and by hand.
#include "tools/http_server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/support/temp_folder.h"
#include "tools/control_client.h"
#include "tools/mover_client.h"

namespace vhdxm::tools {
namespace {

using namespace std::chrono_literals;

class HttpServerTest : public testing::Test {
 protected:
  std::unique_ptr<HttpServer> serve(HttpServer::Options options = {}) {
    options.socket = socket_;
    return HttpServer::start(options,
                             [this](const HttpRequest& request) { return answer(request); })
        .value();
  }

  HttpReply answer(const HttpRequest& request) {
    ++asked_;
    if (request.path.at(0) == "throw") throw std::runtime_error("planted");
    boost::json::object fields;
    fields["method"] = request.method;
    fields["bytes"] = request.body.size();
    fields["revision"] = revision_.load();
    HttpReply reply = json_reply(200, fields);
    if (request.path.at(0) == "wait" && revision_ == 0) reply.wait = 60s;
    if (request.path.at(0) == "glance" && revision_ == 0) reply.wait = 1ms;
    return reply;
  }

  /// Sends `bytes`, and reads to the end of the connection.
  std::string raw(const std::string& bytes) const {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, socket_.c_str(), socket_.size() + 1);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    [[maybe_unused]] const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    std::string got;
    char buffer[4096];
    for (ssize_t n = 0; (n = ::recv(fd, buffer, sizeof buffer, 0)) > 0;) {
      got.append(buffer, static_cast<std::size_t>(n));
    }
    ::close(fd);
    return got;
  }

  const test::TempFolder folder_;
  const std::string socket_ = folder_ / "s";
  std::atomic<std::uint64_t> revision_ = 0;
  std::atomic<int> asked_ = 0;
};

TEST_F(HttpServerTest, AnswersManyAtOnce) {
  const auto server = serve();
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&] {
      const ControlClient client(socket_);
      for (int k = 0; k < 10; ++k) {
        boost::json::object body;
        body["x"] = k;
        const auto reply = client.ask("POST", "/a", body);
        if (reply.has_value() && text_of(*reply, "method") == "POST" &&
            number_of(*reply, "bytes") == 7) {
          ++good;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 160);
  EXPECT_EQ(asked_, 160);
}

TEST_F(HttpServerTest, OneWhoWaitsIsAnsweredWhenThereIsNews) {
  const auto server = serve();
  std::thread waits([&] {
    const auto reply = ControlClient(socket_).ask("GET", "/wait");
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(number_of(*reply, "revision"), 7u);
  });
  while (asked_ < 2) std::this_thread::yield();  // it was not answered the first time
  revision_ = 7;
  waits.join();
  EXPECT_EQ(number_of(*ControlClient(socket_).ask("GET", "/wait"), "revision"), 7u);
}

TEST_F(HttpServerTest, OneWhoHasWaitedLongEnoughIsAnsweredWithoutNews) {
  const auto server = serve();
  EXPECT_EQ(number_of(*ControlClient(socket_).ask("GET", "/glance"), "revision"), 0u);
}

TEST_F(HttpServerTest, TheEndOfTheServerAnswersThoseWhoWait) {
  auto server = serve();
  std::thread waits([&] {
    const auto reply = ControlClient(socket_).ask("GET", "/wait");
    EXPECT_TRUE(reply.has_value());
  });
  while (asked_ == 0) std::this_thread::yield();
  server.reset();
  waits.join();
  EXPECT_FALSE(std::filesystem::exists(socket_));
  EXPECT_EQ(ControlClient(socket_).ask("GET", "/a").error().exit, ExitCode::kFailed);
}

TEST_F(HttpServerTest, AFaultOfAHandlerIsAnAnswer) {
  const auto server = serve();
  const auto reply = ControlClient(socket_).ask("GET", "/throw");
  ASSERT_TRUE(reply.has_error());
  EXPECT_NE(reply.error().message.find("planted"), std::string::npos);
}

TEST_F(HttpServerTest, LimitsAndFormAreKept) {
  const auto server = serve({.header_bytes_max = 512, .body_bytes_max = 64});
  EXPECT_TRUE(raw("garbage\r\n\r\n").starts_with("HTTP/1.1 400"));
  EXPECT_TRUE(raw("GET nothing HTTP/1.1\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 400"));
  EXPECT_TRUE(raw("POST /a HTTP/1.1\r\nContent-Length: 65\r\n\r\n").starts_with("HTTP/1.1 413"));
  EXPECT_TRUE(raw("GET /a HTTP/1.1\r\nX: " + std::string(1000, 'x')).starts_with("HTTP/1.1 4"));
  EXPECT_EQ(asked_, 0);
  const std::string two =
      raw("POST /a HTTP/1.1\r\nContent-Length: 64\r\n\r\n" + std::string(64, 'x') +
          "GET /a HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_NE(two.find("\"bytes\":64"), std::string::npos) << two;
  EXPECT_NE(two.find("\"method\":\"GET\""), std::string::npos) << two;
}

TEST_F(HttpServerTest, WhoDoesNotFinishAskingIsLetGo) {
  const auto server = serve({.patience = 50ms});
  EXPECT_EQ(raw("GET /a HT"), "");
  EXPECT_EQ(asked_, 0);
}

TEST_F(HttpServerTest, ALivingServersSocketIsNotTaken) {
  const auto server = serve();
  EXPECT_TRUE(
      HttpServer::start({.socket = socket_}, [](const auto&) { return HttpReply(); }).has_error());
  EXPECT_TRUE(ControlClient(socket_).ask("GET", "/a").has_value());
  struct stat status {};
  ASSERT_EQ(::lstat(socket_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0660u);
}

TEST_F(HttpServerTest, ADeadOnesSocketIs) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket_.c_str(), socket_.size() + 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(fd);
  const auto server = serve();
  EXPECT_TRUE(ControlClient(socket_).ask("GET", "/a").has_value());
}

}  // namespace
}  // namespace vhdxm::tools
