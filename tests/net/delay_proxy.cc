#include "tests/net/delay_proxy.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <random>
#include <span>

#include "base/check.h"

namespace vhdxm::test {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kPieceBytes = 64 * 1024;

}  // namespace

/// What one side of a connection says: taken by one thread, delivered by another when it is due.
class DelayProxy::Direction {
 public:
  Direction(int from, int to, const Link& link, Wire& wire, std::uint64_t seed)
      : from_(from), to_(to), link_(link), wire_(wire), random_(seed) {
    taker_ = std::thread([this] { take(); });
    deliverer_ = std::thread([this] { deliver(); });
  }
  void join() {
    taker_.join();
    deliverer_.join();
  }

 private:
  struct Piece {
    Clock::time_point due;
    std::vector<std::byte> bytes;  ///< None: the end.
  };

  void take() {
    for (bool ended = false; !ended;) {
      std::vector<std::byte> bytes(kPieceBytes);
      ssize_t got = 0;
      do got = ::recv(from_, bytes.data(), bytes.size(), 0);
      while (got < 0 && errno == EINTR);
      bytes.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
      ended = bytes.empty();
      const Clock::time_point due = arrival(bytes.size());
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] {
        return closed_ || on_the_way_ == 0 || on_the_way_ + bytes.size() <= link_.window_bytes;
      });
      on_the_way_ += bytes.size();
      pieces_.push_back({due, std::move(bytes)});
      changed_.notify_all();
    }
  }

  Clock::time_point arrival(std::size_t bytes) {
    Clock::time_point due;
    {
      const std::lock_guard lock(wire_.mutex);
      const auto takes = std::chrono::nanoseconds(1'000'000'000 * bytes / link_.bytes_per_second);
      wire_.free = std::max(wire_.free, Clock::now()) + takes;
      due = wire_.free + link_.one_way;
    }
    if (std::uniform_real_distribution<>()(random_) < link_.loss) due += 2 * link_.one_way;
    last_due_ = std::max(last_due_, due);
    return last_due_;
  }

  void deliver() {
    for (;;) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return !pieces_.empty(); });
      const Piece piece = std::move(pieces_.front());
      pieces_.pop_front();
      lock.unlock();
      std::this_thread::sleep_until(piece.due);
      const bool ok = !piece.bytes.empty() && send_all(to_, piece.bytes);
      lock.lock();
      on_the_way_ -= piece.bytes.size();
      closed_ = !ok;
      changed_.notify_all();
      lock.unlock();
      if (!ok) break;
    }
    ::shutdown(to_, SHUT_WR);
    ::shutdown(from_, SHUT_RD);  // ends take(), should it still read
  }

  const int from_;
  const int to_;
  const Link link_;
  Wire& wire_;
  std::mt19937_64 random_;        ///< take()'s.
  Clock::time_point last_due_{};  ///< take()'s.
  std::mutex mutex_;
  std::condition_variable changed_;
  // State below is protected by mutex_.
  std::deque<Piece> pieces_;
  std::uint64_t on_the_way_ = 0;
  bool closed_ = false;
  std::thread taker_;
  std::thread deliverer_;
};

class DelayProxy::Connection {
 public:
  Connection(int client, int server, DelayProxy& proxy, std::uint64_t seed)
      : fds_{client, server},
        up_(client, server, proxy.link_, proxy.up_, seed),
        down_(server, client, proxy.link_, proxy.down_, seed + 1) {}
  ~Connection() {
    for (const int fd : fds_) ::shutdown(fd, SHUT_RDWR);
    up_.join();
    down_.join();
    for (const int fd : fds_) ::close(fd);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

 private:
  const std::array<int, 2> fds_;
  Direction up_;
  Direction down_;
};

DelayProxy::DelayProxy(std::uint16_t target_port, Link link)
    : link_(link), relay_(target_port, [this](std::size_t number, int client, int server) {
        for (const int fd : {client, server}) {
          const int yes = 1;
          ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        }
        connections_.push_back(
            std::make_unique<Connection>(client, server, *this, link_.seed + 2 * number));
      }) {
  VHDXM_CHECK(link.bytes_per_second > 0);
}

DelayProxy::~DelayProxy() {
  relay_.stop();
}

}  // namespace vhdxm::test
