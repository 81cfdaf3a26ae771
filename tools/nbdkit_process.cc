#include "tools/nbdkit_process.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <utility>
#include <vector>

#include "tools/child_process.h"

namespace vhdxm::tools {
namespace {

constexpr const char* kPluginName = "nbdkit-vhdx-plugin.so";

bool is_there(const std::filesystem::path& path) {
  return ::access(path.c_str(), R_OK) == 0;
}

std::vector<std::string> words_of(const NbdkitProcess::Options& options) {
  std::vector<std::string> words{options.program,
                                 "--foreground",
                                 "--exit-with-parent",
                                 "--unix",
                                 options.socket,
                                 options.plugin,
                                 fmt::format("disk={}", options.disk),
                                 fmt::format("control-fd={}", kFirstKeptFd)};
  if (options.read_only) words.emplace_back("readonly=true");
  return words;
}

}  // namespace

std::string NbdkitProcess::find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "/usr/bin:/bin" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::filesystem::path program = std::filesystem::path(folder) / name;
    if (::access(program.c_str(), X_OK) == 0) return program;
  }
  return "";
}

std::string NbdkitProcess::find_plugin() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return "";
  const auto folder = self.parent_path();
  for (const auto& path : {folder / kPluginName, folder / VHDXM_PLUGIN_FOLDER / kPluginName}) {
    if (is_there(path)) return path.lexically_normal();
  }
  return "";
}

Result<NbdkitProcess> NbdkitProcess::start(const Options& options) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return errno_error("socketpair");
  }
  const auto pid = start_child(words_of(options), {ends[1]}, Apart::kGroup);
  ::close(ends[1]);
  if (pid.has_error()) {
    ::close(ends[0]);
    return pid.error();
  }
  return NbdkitProcess(*pid, ends[0]);
}

NbdkitProcess::NbdkitProcess(NbdkitProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      control_fd_(std::exchange(other.control_fd_, -1)),
      ready_(other.ready_),
      ended_(other.ended_) {}

NbdkitProcess::~NbdkitProcess() {
  if (pid_ > 0) {
    stop();
    wait();
  }
  if (control_fd_ >= 0) ::close(control_fd_);
}

bool NbdkitProcess::read_status() {
  std::array<char, 16> said{};
  ssize_t got = 0;
  do {
    got = ::read(control_fd_, said.data(), said.size());
  } while (got < 0 && errno == EINTR);
  if (got <= 0) return false;
  for (const char what : std::string_view(said.data(), static_cast<std::size_t>(got))) {
    if (what == 'R') ready_ = true;
    if (what == 'C') ended_.closed_disk = true;
  }
  return true;
}

NbdkitProcess::News NbdkitProcess::wait_for_news(int interrupt_fd) {
  const bool was_ready = ready_;
  while (ready_ == was_ready) {
    std::array<pollfd, 2> waits{};
    waits[0] = {.fd = control_fd_, .events = POLLIN, .revents = 0};
    waits[1] = {.fd = interrupt_fd, .events = POLLIN, .revents = 0};
    if (::poll(waits.data(), waits.size(), -1) < 0) continue;  // EINTR
    if (waits[1].revents != 0) return News::kInterrupted;
    if (waits[0].revents != 0 && !read_status()) return News::kEnded;
  }
  return News::kReady;
}

void NbdkitProcess::stop() {
  // It may have ended already: then there is nothing to ask.
  [[maybe_unused]] const ssize_t sent = ::send(control_fd_, "Q", 1, MSG_NOSIGNAL);
}

NbdkitProcess::Ended NbdkitProcess::wait() {
  if (pid_ <= 0) return ended_;
  while (read_status()) {
  }
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  if (WIFEXITED(status)) ended_.exit = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) ended_.signal = WTERMSIG(status);
  return ended_;
}

}  // namespace vhdxm::tools
