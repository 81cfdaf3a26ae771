#include "tests/tools/tool_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/json/parse.hpp>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <regex>
#include <sstream>
#include <string_view>

extern char** environ;

namespace vhdxm::test {
namespace {

/// A process that says nothing for so long will not. Milliseconds.
constexpr int kPatience = 60'000;

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  all.reserve(texts.size() + 1);
  for (std::string& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

std::vector<std::string> merged_environment(const Environment& environment) {
  std::vector<std::string> all;
  for (char** one = environ; *one != nullptr; ++one) {
    const std::string_view text = *one;
    const std::string name(text.substr(0, text.find('=')));
    if (!name.starts_with("VHDX_MIGRATE_") && !environment.contains(name)) all.emplace_back(text);
  }
  for (const auto& [name, value] : environment) all.push_back(name + "=" + value);
  return all;
}

struct Pipe {
  int read_end = -1;
  int write_end = -1;
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) std::abort();
    read_end = ends[0];
    write_end = ends[1];
  }
};

/// In the child, between fork and exec: only what is safe there.
[[noreturn]] void become(const char* program, char** arguments, char** environment) {
  // The parent's test framework may have blocked or ignored signals.
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execvpe(program, arguments, environment);
  ::_exit(127);
}

/// Starts a program with pipes for its output and nothing to read, in a session of its own.
pid_t start_with_pipes(const std::string& program, Words words, const Environment& environment,
                       int& out_fd, int& err_fd) {
  auto variables = merged_environment(environment);
  auto argument_pointers = pointers(words);
  auto environment_pointers = pointers(variables);
  const Pipe out;
  const Pipe err;
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::setsid();
    const int nothing = ::open("/dev/null", O_RDONLY);
    ::dup2(nothing, STDIN_FILENO);
    ::dup2(out.write_end, STDOUT_FILENO);
    ::dup2(err.write_end, STDERR_FILENO);
    become(program.c_str(), argument_pointers.data(), environment_pointers.data());
  }
  ::close(out.write_end);
  ::close(err.write_end);
  out_fd = out.read_end;
  err_fd = err.read_end;
  return pid;
}

pid_t start_on_terminal(const std::string& program, Words words, const Environment& environment,
                        int& terminal_fd) {
  auto variables = merged_environment(environment);
  auto argument_pointers = pointers(words);
  auto environment_pointers = pointers(variables);
  winsize size{.ws_row = 24, .ws_col = 100, .ws_xpixel = 0, .ws_ypixel = 0};
  const pid_t pid = ::forkpty(&terminal_fd, nullptr, nullptr, &size);
  if (pid == 0) become(program.c_str(), argument_pointers.data(), environment_pointers.data());
  ::fcntl(terminal_fd, F_SETFD, FD_CLOEXEC);
  return pid;
}

/// Appends what can be read; closes the descriptor at its end.
void drain(int& fd, std::string& text) {
  std::array<char, 4096> buffer{};
  const ssize_t got = ::read(fd, buffer.data(), buffer.size());
  if (got > 0) {
    text.append(buffer.data(), static_cast<std::size_t>(got));
  } else if (got == 0 || errno != EINTR) {  // EIO: nobody has the terminal any more
    ::close(fd);
    fd = -1;
  }
}

bool wait_readable(int out_fd, int err_fd, bool& out_ready, bool& err_ready) {
  std::array<pollfd, 2> waits{};
  waits[0] = {.fd = out_fd, .events = POLLIN, .revents = 0};
  waits[1] = {.fd = err_fd, .events = POLLIN, .revents = 0};
  const int ready = ::poll(waits.data(), waits.size(), kPatience);
  out_ready = ready > 0 && waits[0].revents != 0;
  err_ready = ready > 0 && waits[1].revents != 0;
  return ready > 0 || (ready < 0 && errno == EINTR);
}

int exit_of(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

std::vector<boost::json::object> Ended::objects() const {
  std::vector<boost::json::object> all;
  std::istringstream lines(out);
  for (std::string line; std::getline(lines, line);) {
    boost::system::error_code error;
    const boost::json::value value = boost::json::parse(line, error);
    if (error || !value.is_object()) {
      ADD_FAILURE() << "not a JSON object: " << line;
      continue;
    }
    all.push_back(value.as_object());
  }
  return all;
}

boost::json::object Ended::object(const std::string& type) const {
  for (const auto& object : objects()) {
    if (object.at("type").as_string() == type) return object;
  }
  ADD_FAILURE() << "no object of type " << type << " in:\n" << out << "stderr:\n" << err;
  return {};
}

Ended run_tool(const Words& arguments, const Environment& environment) {
  ToolProcess process(arguments, ToolProcess::Streams::kPipes, environment);
  return process.wait();
}

Ended run_program(const Words& words) {
  Ended ended;
  int out_fd = -1;
  int err_fd = -1;
  const pid_t pid = start_with_pipes(words.front(), words, {}, out_fd, err_fd);
  while (out_fd >= 0 || err_fd >= 0) {
    bool out_ready = false;
    bool err_ready = false;
    if (!wait_readable(out_fd, err_fd, out_ready, err_ready)) break;
    if (out_ready) drain(out_fd, ended.out);
    if (err_ready) drain(err_fd, ended.err);
  }
  ended.exit = exit_of(pid);
  return ended;
}

bool has_program(const std::string& name) {
  std::istringstream folders(std::getenv("PATH") == nullptr ? "" : std::getenv("PATH"));
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (::access((folder + "/" + name).c_str(), X_OK) == 0) return true;
  }
  return false;
}

ToolProcess::ToolProcess(const Words& arguments, Streams streams, const Environment& environment) {
  Words words = {"vhdx-migrate"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  pid_ = streams == Streams::kPipes
             ? start_with_pipes(VHDXM_TOOL, words, environment, out_fd_, err_fd_)
             : start_on_terminal(VHDXM_TOOL, words, environment, out_fd_);
  if (pid_ < 0) ADD_FAILURE() << "fork: " << std::strerror(errno);
}

ToolProcess::~ToolProcess() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    exit_of(pid_);
  }
  if (out_fd_ >= 0) ::close(out_fd_);
  if (err_fd_ >= 0) ::close(err_fd_);
}

const std::string& ToolProcess::read_until(const std::string& text) {
  while (out_.find(text) == std::string::npos) {
    if (!read_some()) {
      ADD_FAILURE() << "the tool never said \"" << text << "\" but:\n" << out_ << "\n" << err_;
      break;
    }
  }
  return out_;
}

void ToolProcess::read_until_match(const std::string& pattern) {
  const std::regex wanted(pattern);
  while (!std::regex_search(out_, wanted)) {
    if (!read_some()) {
      ADD_FAILURE() << "the tool never said what matches " << pattern << " but:\n" << out_;
      break;
    }
  }
}

void ToolProcess::type(const std::string& text) {
  if (::write(out_fd_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    ADD_FAILURE() << "typing: " << std::strerror(errno);
  }
}

void ToolProcess::signal(int number) {
  ::kill(pid_, number);
}

Ended ToolProcess::wait() {
  while (out_fd_ >= 0 || err_fd_ >= 0) {
    if (!read_some()) break;
  }
  if (out_fd_ >= 0 || err_fd_ >= 0) {
    ADD_FAILURE() << "the tool does not end; it said:\n" << out_ << "\n" << err_;
    ::kill(pid_, SIGKILL);
  }
  Ended ended{.exit = exit_of(pid_), .out = out_, .err = err_};
  pid_ = -1;
  return ended;
}

bool ToolProcess::read_some() {
  if (out_fd_ < 0 && err_fd_ < 0) return false;
  bool out_ready = false;
  bool err_ready = false;
  if (!wait_readable(out_fd_, err_fd_, out_ready, err_ready)) return false;
  if (out_ready) drain(out_fd_, out_);
  if (err_ready) drain(err_fd_, err_);
  return true;
}

}  // namespace vhdxm::test
