#include "tools/key_prompt.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <string_view>

#include "base/result.h"

namespace vhdxm::tools {
namespace {

constexpr int kAttempts = 3;
/// More than any way to write a key takes. Bytes.
constexpr std::size_t kLineBytesMax = 512;

/// The controlling terminal, without echo for as long as this lives.
class QuietTerminal {
 public:
  explicit QuietTerminal(int fd) : fd_(fd) {
    if (::tcgetattr(fd_, &before_) != 0) return;
    termios quiet = before_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    quiet.c_lflag |= ECHONL;
    restore_on_kill_.emplace(fd_, before_);
    ::tcsetattr(fd_, TCSAFLUSH, &quiet);
  }
  ~QuietTerminal() {
    if (restore_on_kill_) ::tcsetattr(fd_, TCSAFLUSH, &before_);
    ::close(fd_);
  }
  QuietTerminal(const QuietTerminal&) = delete;
  QuietTerminal& operator=(const QuietTerminal&) = delete;

  void say(std::string_view text) const {
    [[maybe_unused]] const ssize_t written = ::write(fd_, text.data(), text.size());
  }
  int fd() const { return fd_; }

 private:
  const int fd_;
  termios before_{};
  std::optional<RestoreTerminalOnKill> restore_on_kill_;
};

/// A line that holds a secret; wiped when done with.
struct SecretLine {
  std::array<char, kLineBytesMax> bytes{};
  std::size_t size = 0;

  SecretLine() = default;
  SecretLine(const SecretLine&) = delete;
  SecretLine& operator=(const SecretLine&) = delete;
  ~SecretLine() { OPENSSL_cleanse(bytes.data(), bytes.size()); }
  std::string_view text() const { return {bytes.data(), size}; }
};

enum class ReadEnd { kLine, kClosed, kInterrupted };

/// Reads up to the end of a line. What is longer than any key is cut, and so is no key.
ReadEnd read_line(const QuietTerminal& terminal, Interrupt& interrupt, SecretLine& line) {
  std::array<pollfd, 2> waits{};
  waits[0] = {.fd = interrupt.fd(), .events = POLLIN, .revents = 0};
  waits[1] = {.fd = terminal.fd(), .events = POLLIN, .revents = 0};
  while (true) {
    if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) return ReadEnd::kClosed;
    if (interrupt.requested()) return ReadEnd::kInterrupted;
    if (waits[1].revents == 0) continue;
    char c = 0;
    const ssize_t got = ::read(terminal.fd(), &c, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return ReadEnd::kClosed;
    if (c == '\n') return ReadEnd::kLine;
    if (line.size < line.bytes.size()) line.bytes[line.size++] = c;
  }
}

CommandFailure key_file_failure(const Error& error, const std::string& path) {
  if (error.code == BaseErrc::kInvalidArgument) {
    return usage_failure(
        fmt::format("{}: is not a key file: one line, vhdx-migrate: and 64 lower-case hex digits, "
                    "is expected",
                    path),
        "Copy the file again from the host where `vhdx-migrate receive --key-file` made it.");
  }
  CommandFailure failure = failure_of(error);
  failure.exit = ExitCode::kUsage;
  return failure;
}

KeyResult key_of(Result<transfer::PairingKey> key, const std::string& path) {
  if (key.has_error()) return key_file_failure(std::move(key.error()).about(path), path);
  return std::move(*key);
}

}  // namespace

KeyResult key_from_file(const std::string& path) {
  return key_of(transfer::PairingKey::read_file(path), path);
}

KeyResult key_from_file_or_new(const std::string& path) {
  return key_of(transfer::PairingKey::read_or_create_file(path), path);
}

KeyResult key_from_terminal(Interrupt& interrupt) {
  const int fd = ::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) {
    return usage_failure(
        "there is no key, and no terminal to ask for it",
        "Give --key-file with a copy of the file that `vhdx-migrate receive --key-file` made.");
  }
  const QuietTerminal terminal(fd);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    terminal.say("Key that the receiving host shows (not echoed): ");
    SecretLine line;
    const ReadEnd end = read_line(terminal, interrupt, line);
    if (end == ReadEnd::kInterrupted) {
      terminal.say("\n");
      return interrupted("interrupted before a key was given");
    }
    if (end == ReadEnd::kClosed) break;
    auto key = transfer::PairingKey::parse(line.text());
    if (key.has_value()) return std::move(*key);
    terminal.say("That is not a key: it has 64 hex digits, in eight groups of eight.\n");
  }
  return usage_failure("no key was given",
                       "Type or paste the key that `vhdx-migrate receive` shows, or give "
                       "--key-file.");
}

}  // namespace vhdxm::tools
