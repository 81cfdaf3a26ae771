#include "tools/mover_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

#include "migration/json_fields.h"
#include "tools/mover_server.h"

namespace vhdxm::tools {
namespace {

namespace json = boost::json;

/// Answers are longer than requests: a job's report.
constexpr std::size_t kAnswerBytesMax = 1 << 20;

Error client_error(int number, const char* where) {
  errno = number;
  return errno_error(where);
}

}  // namespace

Result<int> connect_local(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return client_error(ENAMETOOLONG, "name a local socket").about(path);
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno_error("make a socket");
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
  Error error = errno_error("connect to a local socket");
  ::close(fd);
  return std::move(error).about(path);
}

Result<MoverClient> MoverClient::connect(const std::string& path) {
  VHDXM_TRY(const int fd, connect_local(path));
  return MoverClient(fd);
}

MoverClient::MoverClient(MoverClient&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), in_(std::move(other.in_)) {}

MoverClient::~MoverClient() {
  if (fd_ >= 0) ::close(fd_);
}

Result<json::object> MoverClient::ask(const std::string& op, json::object fields,
                                      Patience patience) {
  if (!fields.contains("version")) fields["version"] = kMoverProtocol;
  fields["op"] = op;
  const std::string line = json::serialize(fields) + "\n";
  // A line is shorter than a socket's buffer, and one request is under way at a time.
  if (::send(fd_, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) {
    return errno_error("ask a mover");
  }
  for (;;) {
    VHDXM_TRY(auto answer, next(patience));
    if (!answer) return Error{.code = BaseErrc::kShortRead, .where = "answer of a mover"};
    if (!answer->contains("event")) return std::move(*answer);
  }
}

Result<std::optional<json::object>> MoverClient::next(std::optional<Patience> patience) {
  const auto deadline =
      std::chrono::steady_clock::now() + patience.value_or(std::chrono::milliseconds(0));
  for (;;) {
    if (const auto end = in_.find('\n'); end != std::string::npos) {
      std::string complaint;
      auto object = migration::parse_json_object(in_.substr(0, end), complaint);
      in_.erase(0, end + 1);
      if (!object) return Error{.code = BaseErrc::kInvalidArgument, .where = "line of a mover"};
      return std::optional(std::move(*object));
    }
    if (in_.size() > kAnswerBytesMax) {
      return Error{.code = BaseErrc::kInvalidArgument, .where = "length of a mover's line"};
    }
    int wait_ms = -1;
    if (patience) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      wait_ms = left.count() < 0 ? 0 : static_cast<int>(left.count());
    }
    pollfd wait{.fd = fd_, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&wait, 1, wait_ms);
    if (ready == 0) return client_error(ETIMEDOUT, "wait for a mover");
    if (ready < 0) continue;  // EINTR
    std::array<char, 4096> buffer{};
    const ssize_t got = ::recv(fd_, buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return std::optional<json::object>();
    in_.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

void MoverClient::cancel() {
  ::shutdown(fd_, SHUT_RDWR);
}

Result<json::object> ask_mover(const std::string& path, const std::string& op, json::object fields,
                               MoverClient::Patience patience) {
  VHDXM_TRY(auto client, MoverClient::connect(path));
  auto answer = client.ask(op, std::move(fields), patience);
  if (answer.has_error()) return std::move(answer).error().about(path);
  return answer;
}

std::string text_of(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
}

std::uint64_t number_of(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_number()) return 0;
  json::error_code ec;
  const auto number = value->to_number<std::uint64_t>(ec);
  return ec ? 0 : number;
}

}  // namespace vhdxm::tools
