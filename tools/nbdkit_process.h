// nbdkit with our plugin, as a child process that serves one disk on a Unix socket.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/result.h"

namespace vhdxm::tools {

class NbdkitProcess {
 public:
  struct Options {
    std::string program;  ///< nbdkit, by path.
    std::string plugin;   ///< Our plugin, by path.
    std::string disk;
    std::string socket;  ///< nbdkit makes it.
    bool read_only = false;
  };
  /// How it ended.
  struct Ended {
    int exit = -1;             ///< -1 if it was killed by a signal.
    int signal = 0;            ///< That signal.
    bool closed_disk = false;  ///< It flushed the disk and left its log empty.
  };

  /// Where `name` is by PATH; empty if it is nowhere.
  static std::string find_program(const std::string& name);
  /// Where the plugin is: beside this program in a build tree, else where it is installed; empty if
  /// it is at neither.
  static std::string find_plugin();

  /// Starts it; it ends when this process ends, too. What it has to say goes to stderr.
  static Result<NbdkitProcess> start(const Options& options);
  /// Stops it, and waits.
  ~NbdkitProcess();
  NbdkitProcess(NbdkitProcess&& other) noexcept;
  NbdkitProcess& operator=(NbdkitProcess&&) = delete;

  enum class News { kReady, kEnded, kInterrupted };
  /// Waits until clients can connect, it ended, or `interrupt_fd` is readable. When it said that
  /// it is ready, waits for the others.
  News wait_for_news(int interrupt_fd);

  /// Asks it to close the disk and end. It finishes what clients have asked for, and does not wait
  /// for them to go.
  void stop();
  /// Waits until it ended.
  Ended wait();

  pid_t pid() const { return pid_; }

 private:
  NbdkitProcess(pid_t pid, int control_fd) : pid_(pid), control_fd_(control_fd) {}

  /// Reads what the plugin said; false at its end.
  bool read_status();

  pid_t pid_;       ///< -1 when it was waited for.
  int control_fd_;  ///< Our end of the plugin's control-fd.
  bool ready_ = false;
  Ended ended_;
};

}  // namespace vhdxm::tools
