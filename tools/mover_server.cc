#include "tools/mover_server.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <cstring>
#include <list>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/signal_free_thread.h"
#include "migration/json_fields.h"
#include "tools/json_output.h"

namespace vhdxm::tools {
namespace {

namespace json = boost::json;

constexpr std::size_t kConnectionsMax = 32;
/// What is owed to one who does not read.
constexpr std::size_t kOwedBytesMax = 1 << 20;

struct Connection {
  int fd = -1;
  std::string in;
  std::string out;
  bool subscribed = false;
  bool ends = false;
};

std::string line_of(json::object fields) {
  fields["version"] = kMoverProtocol;
  return json::serialize(fields) + "\n";
}

}  // namespace

MoverAnswer mover_error(const std::string& code, const std::string& message) {
  MoverAnswer answer;
  answer.fields["error"] = json_text(code);
  answer.fields["message"] = json_text(message);
  return answer;
}

struct MoverServer::Impl {
  explicit Impl(Handler answer) : handler(std::move(answer)) {}
  ~Impl() {
    for (const Connection& one : connections) ::close(one.fd);
    if (listen_fd >= 0) ::close(listen_fd);
    if (wake_fd >= 0) ::close(wake_fd);
  }

  Result<void> listen(const std::string& where);
  void run();
  void wait_for_events(std::vector<pollfd>& waits);
  void accept_one();
  void read_some(Connection& connection);
  void obey_lines(Connection& connection);
  std::string answer_line(Connection& connection, const std::string& line);
  void write_some(Connection& connection) const;
  /// False: it is to end, and nothing will be published any more.
  bool take_published();
  void wake() const;

  const Handler handler;
  std::string path;
  int listen_fd = -1;
  int wake_fd = -1;
  std::list<Connection> connections;  ///< Of the thread.
  std::thread thread;
  std::mutex mutex;
  // Protected by mutex:
  std::vector<std::string> published;
  bool stopping = false;
};

Result<void> MoverServer::Impl::listen(const std::string& where) {
  path = where;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return errno_error("name a control socket").about(path);
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  wake_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  listen_fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (wake_fd < 0 || listen_fd < 0) return errno_error("make a control socket").about(path);
  ::unlink(path.c_str());
  // The folder keeps others out from here to chmod().
  if (::bind(listen_fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::chmod(path.c_str(), S_IRUSR | S_IWUSR) != 0 || ::listen(listen_fd, SOMAXCONN) != 0) {
    return errno_error("listen at a control socket").about(path);
  }
  return {};
}

void MoverServer::Impl::wake() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_fd, &one, sizeof one);
}

void MoverServer::Impl::wait_for_events(std::vector<pollfd>& waits) {
  waits.clear();
  waits.push_back({.fd = wake_fd, .events = POLLIN, .revents = 0});
  const bool room = connections.size() < kConnectionsMax;
  waits.push_back({.fd = room ? listen_fd : -1, .events = POLLIN, .revents = 0});
  for (const Connection& one : connections) {
    const int events = one.out.empty() ? POLLIN : POLLIN | POLLOUT;
    waits.push_back({.fd = one.fd, .events = static_cast<short>(events), .revents = 0});
  }
  while (::poll(waits.data(), waits.size(), -1) < 0 && errno == EINTR) {
  }
}

void MoverServer::Impl::run() {
  std::vector<pollfd> waits;
  for (bool goes_on = true; goes_on;) {
    wait_for_events(waits);
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t woken = ::read(wake_fd, &count, sizeof count);
    goes_on = take_published();
    std::size_t i = 2;
    for (Connection& one : connections) {
      const short happened = waits[i++].revents;
      if ((happened & (POLLIN | POLLHUP | POLLERR)) != 0) read_some(one);
      if (!one.out.empty()) write_some(one);
    }
    if (waits[1].revents != 0) accept_one();  // after the loop: it appends
    connections.remove_if([](const Connection& one) {
      const bool gone = one.ends && one.out.empty();
      if (gone) ::close(one.fd);
      return gone;
    });
  }
}

void MoverServer::Impl::accept_one() {
  const int fd = ::accept4(listen_fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  connections.emplace_back();
  connections.back().fd = fd;
}

void MoverServer::Impl::read_some(Connection& connection) {
  std::array<char, 4096> buffer{};
  const ssize_t got = ::recv(connection.fd, buffer.data(), buffer.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    connection.ends = true;
    connection.out.clear();
    return;
  }
  connection.in.append(buffer.data(), static_cast<std::size_t>(got));
  obey_lines(connection);
  if (connection.in.size() > kMoverLineBytesMax) {
    connection.out += line_of(mover_error("too_large", "the line is too long").fields);
    connection.ends = true;
  }
}

void MoverServer::Impl::obey_lines(Connection& connection) {
  for (auto end = connection.in.find('\n'); end != std::string::npos && !connection.ends;
       end = connection.in.find('\n')) {
    const std::string line = connection.in.substr(0, end);
    connection.in.erase(0, end + 1);
    connection.out += answer_line(connection, line);
    if (connection.out.size() > kOwedBytesMax) connection.ends = true;
  }
}

std::string MoverServer::Impl::answer_line(Connection& connection, const std::string& line) {
  std::string complaint;
  auto request = migration::parse_json_object(line, complaint);
  if (!request) return line_of(mover_error("bad_request", "the line " + complaint).fields);
  const json::value* version = request->if_contains("version");
  if (version == nullptr || *version != json::value(kMoverProtocol)) {
    return line_of(mover_error("version", fmt::format("this mover speaks version {} of its "
                                                      "protocol",
                                                      kMoverProtocol))
                       .fields);
  }
  const json::value* told = request->if_contains("op");
  if (told == nullptr || !told->is_string()) {
    return line_of(mover_error("bad_request", "op: must be a text").fields);
  }
  const std::string op = told->as_string().c_str();
  request->erase("version");
  request->erase("op");
  MoverAnswer answer = handler(op, *request);
  connection.subscribed = connection.subscribed || answer.subscribes;
  return line_of(std::move(answer.fields));
}

void MoverServer::Impl::write_some(Connection& connection) const {
  while (!connection.out.empty()) {
    const ssize_t sent =
        ::send(connection.fd, connection.out.data(), connection.out.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      connection.out.erase(0, static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN || errno == EINTR) {
      return;
    } else {
      connection.ends = true;
      connection.out.clear();
    }
  }
}

bool MoverServer::Impl::take_published() {
  std::vector<std::string> lines;
  bool goes_on = false;
  {
    const std::lock_guard lock(mutex);
    lines.swap(published);
    goes_on = !stopping;
  }
  for (Connection& one : connections) {
    if (!one.subscribed || one.ends) continue;
    for (const std::string& line : lines) one.out += line;
    if (one.out.size() <= kOwedBytesMax) continue;
    one.ends = true;
    one.out.clear();
  }
  return goes_on;
}

Result<std::unique_ptr<MoverServer>> MoverServer::start(const std::string& path, Handler handler) {
  auto impl = std::make_unique<Impl>(std::move(handler));
  VHDXM_TRY_VOID(impl->listen(path));
  impl->thread = signal_free_thread([self = impl.get()] { self->run(); });
  return std::unique_ptr<MoverServer>(new MoverServer(std::move(impl)));
}

MoverServer::MoverServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

MoverServer::~MoverServer() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->wake();
  impl_->thread.join();
  ::unlink(impl_->path.c_str());
}

void MoverServer::publish(const json::object& event) {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->published.push_back(line_of(event));
  }
  impl_->wake();
}

}  // namespace vhdxm::tools
