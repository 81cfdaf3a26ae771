// What the host service has to say to its administrator: sentences on stderr.
#pragma once

#include <mutex>
#include <string>

namespace vhdxm::tools {

/// Thread safety: all members may be called from any thread.
class ServiceLog {
 public:
  /// With the numbers that syslog and the journal have.
  enum class Level { kError = 3, kWarning = 4, kNotice = 5, kInfo = 6 };

  /// `to_journal`: each line begins with its level as the journal reads it, "<6>"; else with the
  /// time. `fd` is not closed.
  ServiceLog(int fd, bool to_journal) : fd_(fd), to_journal_(to_journal) {}
  /// Whether stderr is the journal's: JOURNAL_STREAM names its device and inode.
  static bool stderr_is_journal();

  void error(const std::string& text) { write(Level::kError, text); }
  void warning(const std::string& text) { write(Level::kWarning, text); }
  void notice(const std::string& text) { write(Level::kNotice, text); }
  void info(const std::string& text) { write(Level::kInfo, text); }

 private:
  void write(Level level, const std::string& text);

  const int fd_;
  const bool to_journal_;
  std::mutex mutex_;
};

/// Tells systemd what a service of Type=notify tells it, "READY=1"; nothing without systemd.
void notify_systemd(const std::string& state);

}  // namespace vhdxm::tools
