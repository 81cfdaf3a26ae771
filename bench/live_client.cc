// A guest for bench/live.sh: 4 KiB random writes at full speed over NBD, each of which is recorded.
//
//   live_client --socket PATH [--other PATH] --log FILE [--depth 16] [--seed 1] [--mib N]
//
// It writes everywhere in the first --mib MiB of the export at PATH (all of it unless told). When
// writes are answered with EPERM, the disk has moved: it waits for what is under way, disconnects,
// goes on at the other one of the two sockets as soon as that answers, and makes the refused writes
// there again, one at first, until that host takes it. Commands come on stdin, one a line, and each
// is answered with one line:
//
//   connect    to the other socket, now, as a guest does that waits there for its disk
//              ("connected", or "nobody" if nobody answers there yet)
//   stop       no more writes; answered ("stopped") when none is under way
//   go PATH    go on at that socket ("running")
//   end        stop, read back every page that was written, and compare it with what was
//   acknowledged
//              last; answered with a line of JSON, exit 0
//
// The log has a record of 24 bytes for each answer, in the order of answers, little endian: when
// the write was sent and when it was answered (ns, CLOCK_MONOTONIC), its page, and 0 (done) or 1
// (refused). Anything else that goes wrong, a page with other content above all, ends it with
// exit 1.
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

static_assert(std::endian::native == std::endian::little);  // of the log, and swapped for NBD

constexpr std::size_t kPageBytes = 4096;
constexpr std::uint64_t kNanosecondsInSecond = 1'000'000'000;
// The other host has the disk long before; then something is wrong.
constexpr std::uint64_t kConnectPatience = 60 * kNanosecondsInSecond;
constexpr std::chrono::microseconds kRetry{200};

// NBD, doc/proto.md of the NetworkBlockDevice project.
constexpr std::uint64_t kOptionMagic = 0x49484156454F5054;  // IHAVEOPT
constexpr std::uint32_t kFixedNewstyleNoZeroes = 3;
constexpr std::uint32_t kOptionExportName = 1;
constexpr std::string_view kExport = "disk";  // nbdkit takes any name
constexpr std::uint32_t kRequestMagic = 0x25609513;
constexpr std::uint32_t kReplyMagic = 0x67446698;
constexpr std::size_t kRequestBytes = 28;
constexpr std::size_t kReplyBytes = 16;
enum class Command : std::uint16_t { kRead = 0, kWrite = 1, kDisconnect = 2 };

[[noreturn]] void fail(const std::string& text) {
  fmt::print(stderr, "live_client: {}\n", text);
  std::exit(1);
}

std::uint64_t now_ns() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * kNanosecondsInSecond +
         static_cast<std::uint64_t>(time.tv_nsec);
}

/// Big endian, as NBD has it.
template <class Integer>
void put(std::byte* at, Integer value) {
  for (std::size_t i = 0; i < sizeof value; ++i) {
    at[i] = static_cast<std::byte>(value >> (8 * (sizeof value - 1 - i)) & 0xff);
  }
}
template <class Integer>
Integer get(const std::byte* at) {
  Integer value = 0;
  for (std::size_t i = 0; i < sizeof value; ++i) {
    value = static_cast<Integer>(value << 8 | static_cast<Integer>(at[i]));
  }
  return value;
}

/// A connection to the only export of a server.
class Nbd {
 public:
  Nbd() = default;
  ~Nbd() { close(); }
  Nbd(const Nbd&) = delete;
  Nbd& operator=(const Nbd&) = delete;

  void swap(Nbd& other) {
    std::swap(fd_, other.fd_);
    std::swap(size_bytes_, other.size_bytes_);
  }
  bool is_open() const { return fd_ >= 0; }
  /// False: nobody is there, or not yet.
  bool connect(const std::string& path) {
    close();
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) fail("the socket's path is too long: " + path);
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd_ < 0) fail("no socket");
    const bool ready =
        ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 && greet();
    if (!ready) close();
    return ready;
  }

  void leave() {
    std::array<std::byte, kRequestBytes> request{};
    fill_request(request, Command::kDisconnect, 0, 0, 0);
    (void)send(request);
    close();
  }

  static void fill_request(std::span<std::byte, kRequestBytes> out, Command command,
                           std::uint64_t handle, std::uint64_t offset, std::uint32_t length) {
    put(&out[0], kRequestMagic);
    put(&out[4], std::uint16_t{0});
    put(&out[6], static_cast<std::uint16_t>(command));
    put(&out[8], handle);
    put(&out[16], offset);
    put(&out[24], length);
  }

  bool send(std::span<const std::byte> bytes) const {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent <= 0) return false;
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
    return true;
  }

  bool receive(std::span<std::byte> out) const {
    while (!out.empty()) {
      const ssize_t got = ::recv(fd_, out.data(), out.size(), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      out = out.subspan(static_cast<std::size_t>(got));
    }
    return true;
  }

  int fd() const { return fd_; }
  std::uint64_t size_bytes() const { return size_bytes_; }

 private:
  bool greet() {
    std::array<std::byte, 18> hello{};
    if (!receive(hello)) return false;
    if (get<std::uint64_t>(&hello[8]) != kOptionMagic) fail("that is no newstyle NBD server");
    std::array<std::byte, 20> option{};
    put(&option[0], kFixedNewstyleNoZeroes);
    put(&option[4], kOptionMagic);
    put(&option[12], kOptionExportName);
    put(&option[16], static_cast<std::uint32_t>(kExport.size()));
    std::array<std::byte, 10> about{};
    if (!send(option) || !send(std::as_bytes(std::span(kExport))) || !receive(about)) return false;
    size_bytes_ = get<std::uint64_t>(about.data());
    return true;
  }

  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

  int fd_ = -1;
  std::uint64_t size_bytes_ = 0;
};

struct Record {
  std::uint64_t sent_ns = 0;
  std::uint64_t answered_ns = 0;
  std::uint32_t page = 0;
  std::uint32_t refused = 0;
};
static_assert(sizeof(Record) == 24);

struct Options {
  std::string socket;
  std::string other;
  std::string log;
  std::size_t depth = 16;
  std::uint64_t seed = 1;
  std::uint64_t mib = 0;
};

class Client {
 public:
  explicit Client(const Options& options)
      : options_(options), here_(options.socket), there_(options.other), random_(options.seed) {
    log_ = std::fopen(options.log.c_str(), "wb");
    if (log_ == nullptr) fail("cannot write " + options.log);
    connect();
    const std::uint64_t bytes = options.mib == 0 ? nbd_.size_bytes() : options.mib << 20;
    if (bytes < kPageBytes * options.depth * 2 || bytes > nbd_.size_bytes()) fail("bad --mib");
    versions_.resize(bytes / kPageBytes);
    busy_.resize(versions_.size());
  }

  void run() {
    fmt::print("running\n");
    std::fflush(stdout);
    while (!ended_) {
      if (running_) issue();
      wait();
      if (!under_way_.empty()) continue;
      if (moved_) move_on();
      if (stop_asked_) answer_stop();
    }
  }

 private:
  struct Write {
    std::uint64_t page = 0;
    std::uint64_t sent_ns = 0;
  };

  void connect() {
    const std::uint64_t begun = now_ns();
    while (!nbd_.connect(here_)) {
      if (now_ns() - begun > kConnectPatience) fail("nobody answers at " + here_);
      std::this_thread::sleep_for(kRetry);
    }
  }

  /// What page holds after its write of this number; no two are alike, and none is compressible.
  void fill_page(std::uint64_t page, std::uint32_t version, std::byte* out) const {
    std::uint64_t state = options_.seed ^ (page << 32 | version);
    for (std::size_t at = 0; at < kPageBytes; at += sizeof state) {
      state += 0x9E3779B97F4A7C15;
      std::uint64_t mixed = (state ^ state >> 30) * 0xBF58476D1CE4E5B9;
      mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB;
      mixed ^= mixed >> 31;
      std::memcpy(out + at, &mixed, sizeof mixed);
    }
  }

  std::uint64_t next_page() {
    if (!refused_.empty()) {
      const std::uint64_t page = refused_.back();
      refused_.pop_back();
      return page;
    }
    for (;;) {
      const std::uint64_t page = random_() % versions_.size();
      if (!busy_[page]) return page;  // two at once would have no order
    }
  }

  void issue() {
    out_.clear();
    const std::uint64_t first = next_handle_;
    while (under_way_.size() < (knocking_ ? 1 : options_.depth)) {
      const std::uint64_t page = next_page();
      busy_[page] = true;
      const std::size_t at = out_.size();
      out_.resize(at + kRequestBytes + kPageBytes);
      Nbd::fill_request(std::span<std::byte, kRequestBytes>(&out_[at], kRequestBytes),
                        Command::kWrite, next_handle_, page * kPageBytes, kPageBytes);
      fill_page(page, versions_[page] + 1, &out_[at + kRequestBytes]);
      under_way_.emplace(next_handle_++, Write{.page = page});
    }
    const std::uint64_t now = now_ns();
    for (auto write = under_way_.lower_bound(first); write != under_way_.end(); ++write) {
      write->second.sent_ns = now;
    }
    if (!out_.empty() && !nbd_.send(out_)) fail("the server is gone");
  }

  /// Until there are answers or a command, and takes them.
  void wait() {
    std::array<pollfd, 2> polled{{{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0},
                                  {.fd = nbd_.fd(), .events = POLLIN, .revents = 0}}};
    const nfds_t count = under_way_.empty() ? 1 : 2;
    const bool may_block = running_ || !under_way_.empty() || !(stop_asked_ || moved_);
    if (::poll(polled.data(), count, may_block ? -1 : 0) < 0 && errno != EINTR) fail("poll");
    if (count == 2 && polled[1].revents != 0) take_answers();
    if (polled[0].revents != 0) take_command();
  }

  void take_answers() {
    in_.resize(held_ + kReplyBytes * options_.depth);
    const ssize_t got = ::recv(nbd_.fd(), &in_[held_], in_.size() - held_, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) fail("the server has hung up with writes under way");
    const std::uint64_t now = now_ns();
    held_ += static_cast<std::size_t>(got);
    std::size_t at = 0;
    for (; at + kReplyBytes <= held_; at += kReplyBytes) take_answer(&in_[at], now);
    std::memmove(in_.data(), &in_[at], held_ - at);
    held_ -= at;
  }

  void take_answer(const std::byte* reply, std::uint64_t now) {
    const auto error = get<std::uint32_t>(reply + 4);
    const auto write = under_way_.find(get<std::uint64_t>(reply + 8));
    if (get<std::uint32_t>(reply) != kReplyMagic || write == under_way_.end()) fail("no reply");
    if (error != 0 && (error != EPERM || there_.empty())) {
      fail(fmt::format("a write failed: {}", std::strerror(static_cast<int>(error))));
    }
    const std::uint64_t page = write->second.page;
    const Record record{.sent_ns = write->second.sent_ns,
                        .answered_ns = now,
                        .page = static_cast<std::uint32_t>(page),
                        .refused = error != 0 ? 1U : 0U};
    if (std::fwrite(&record, sizeof record, 1, log_) != 1) fail("cannot write the log");
    busy_[page] = false;
    under_way_.erase(write);
    if (error == 0) {
      ++versions_[page];
      ++writes_;
      knocking_ = false;
      return;
    }
    // Nothing else may be written to it before.
    busy_[page] = true;
    refused_.push_back(page);
    ++refusals_;
    if (knocking_) {
      std::this_thread::sleep_for(kRetry);
      return;
    }
    moved_ = true;
    running_ = false;
  }

  /// To the host that has the disk now.
  void move_on() {
    moved_ = false;
    std::swap(here_, there_);
    nbd_.swap(other_);
    if (!nbd_.is_open()) connect();
    knocking_ = true;
    issue();  // before the other host has any more to do
    other_.leave();
    ++moves_;
    running_ = !stop_asked_;
  }

  /// A host that is about to get the disk.
  void connect_to_other() {
    const bool connected = !there_.empty() && (other_.is_open() || other_.connect(there_));
    fmt::print("{}\n", connected ? "connected" : "nobody");
    std::fflush(stdout);
  }

  void take_command() {
    std::string line;
    for (char c = 0;;) {
      const ssize_t got = ::read(STDIN_FILENO, &c, 1);
      if (got <= 0) fail("stdin ended");
      if (c == '\n') break;
      line += c;
    }
    if (line == "stop" || line == "end") {
      stop_asked_ = true;
      end_asked_ = line == "end";
      running_ = false;
    } else if (line == "connect") {
      connect_to_other();
    } else if (line.starts_with("go ")) {
      if (running_ || stop_asked_) fail("go without stop");
      nbd_.leave();
      here_ = line.substr(3);
      connect();
      running_ = true;
      fmt::print("running\n");
      std::fflush(stdout);
    } else {
      fail("unknown command " + line);
    }
  }

  void answer_stop() {
    if (!std::exchange(end_asked_, false)) {
      stop_asked_ = false;
      fmt::print("stopped\n");
      std::fflush(stdout);
      return;
    }
    const std::uint64_t pages = compare();
    nbd_.leave();
    if (std::fclose(log_) != 0) fail("cannot write the log");
    fmt::print("{{\"writes\":{},\"refused\":{},\"moves\":{},\"pages_compared\":{}}}\n", writes_,
               refusals_, moves_, pages);
    ended_ = true;
  }

  /// What was acknowledged is there. How many pages that were.
  std::uint64_t compare() {
    std::vector<std::uint64_t> pages;
    for (std::uint64_t page = 0; page < versions_.size(); ++page) {
      if (versions_[page] > 0) pages.push_back(page);
    }
    std::array<std::byte, kPageBytes> wanted{};
    std::array<std::byte, kReplyBytes + kPageBytes> reply{};
    std::array<std::byte, kRequestBytes> request{};
    for (std::size_t at = 0; at < pages.size(); at += options_.depth) {
      const std::size_t end = std::min(pages.size(), at + options_.depth);
      for (std::size_t i = at; i < end; ++i) {
        Nbd::fill_request(request, Command::kRead, pages[i], pages[i] * kPageBytes, kPageBytes);
        if (!nbd_.send(request)) fail("the server is gone");
      }
      for (std::size_t i = at; i < end; ++i) {
        if (!nbd_.receive(reply)) fail("the server is gone");
        const auto page = get<std::uint64_t>(&reply[8]);
        if (get<std::uint32_t>(&reply[4]) != 0 || page >= versions_.size()) fail("a read failed");
        fill_page(page, versions_[page], wanted.data());
        if (std::memcmp(wanted.data(), &reply[kReplyBytes], kPageBytes) != 0) {
          fail(fmt::format("page {} does not hold write {} of it", page, versions_[page]));
        }
      }
    }
    return pages.size();
  }

  const Options options_;
  std::string here_;
  std::string there_;
  std::mt19937_64 random_;
  Nbd nbd_;
  Nbd other_;  ///< Connected beforehand, perhaps.
  std::FILE* log_ = nullptr;
  std::vector<std::uint32_t> versions_;  ///< Of a page: its writes that were acknowledged.
  std::vector<bool> busy_;               ///< A write of the page is under way, or to be made again.
  std::map<std::uint64_t, Write> under_way_;  ///< By handle.
  std::vector<std::uint64_t> refused_;
  std::vector<std::byte> out_;
  std::vector<std::byte> in_;
  std::size_t held_ = 0;  ///< Bytes of a reply that is not complete.
  std::uint64_t next_handle_ = 1;
  std::uint64_t writes_ = 0;
  std::uint64_t refusals_ = 0;
  std::uint64_t moves_ = 0;
  bool running_ = true;
  bool moved_ = false;
  bool knocking_ = false;  ///< No write was taken since the last move.
  bool stop_asked_ = false;
  bool end_asked_ = false;
  bool ended_ = false;
};

std::uint64_t number(const char* text) {
  char* end = nullptr;
  const std::uint64_t value = std::strtoull(text, &end, 10);
  if (*text == '\0' || *end != '\0') fail(fmt::format("'{}' is no number", text));
  return value;
}

Options parse(std::span<char*> words) {
  Options options;
  if (words.size() % 2 != 0) fail("every option has a value");
  for (std::size_t i = 0; i < words.size(); i += 2) {
    const std::string_view name = words[i];
    if (name == "--socket") {
      options.socket = words[i + 1];
    } else if (name == "--other") {
      options.other = words[i + 1];
    } else if (name == "--log") {
      options.log = words[i + 1];
    } else if (name == "--depth") {
      options.depth = number(words[i + 1]);
    } else if (name == "--seed") {
      options.seed = number(words[i + 1]);
    } else if (name == "--mib") {
      options.mib = number(words[i + 1]);
    } else {
      fail(fmt::format("unknown option {}", name));
    }
  }
  if (options.socket.empty() || options.log.empty() || options.depth == 0) fail("see the source");
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(std::span(argv, static_cast<std::size_t>(argc)).subspan(1));
  Client(options).run();
  return 0;
}
