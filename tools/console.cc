#include "tools/console.h"

#include <unistd.h>

#include <cerrno>
#include <utility>

#include "tools/json_output.h"

namespace vhdxm::tools {
namespace {

/// What print() may hold back before it is written. Bytes.
constexpr std::size_t kPendingBytesMax = 64 * 1024;

constexpr std::string_view kClearLine = "\r\x1b[K";

class DescriptorSink final : public TextSink {
 public:
  explicit DescriptorSink(int fd) : fd_(fd) {}

  int write(std::string_view text) override {
    while (!text.empty() && broken_ == 0) {
      const ssize_t written = ::write(fd_, text.data(), text.size());
      if (written >= 0) {
        text.remove_prefix(static_cast<std::size_t>(written));
      } else if (errno != EINTR) {
        broken_ = errno;
      }
    }
    return broken_;
  }

 private:
  const int fd_;
  int broken_ = 0;
};

}  // namespace

std::unique_ptr<TextSink> descriptor_sink(int fd) {
  return std::make_unique<DescriptorSink>(fd);
}

Console::Console(std::unique_ptr<TextSink> out, std::unique_ptr<TextSink> err, WallClock clock)
    : out_(std::move(out)), err_(std::move(err)), clock_(std::move(clock)) {}

Console::~Console() {
  show_status("");
  flush();
}

void Console::configure(Settings settings) {
  const std::lock_guard lock(mutex_);
  settings_ = settings;
}

bool Console::json() const {
  const std::lock_guard lock(mutex_);
  return settings_.json;
}

bool Console::color() const {
  const std::lock_guard lock(mutex_);
  return settings_.color;
}

void Console::give_stdout_to_data() {
  const std::lock_guard lock(mutex_);
  stdout_is_data_ = true;
}

void Console::print(std::string_view text) {
  const std::lock_guard lock(mutex_);
  write_results_locked(text);
}

void Console::object(std::string_view type, const boost::json::object& fields) {
  const std::string line = json_line(type, clock_(), fields);
  const std::lock_guard lock(mutex_);
  write_results_locked(line);
}

void Console::talk(std::string_view line) {
  const std::lock_guard lock(mutex_);
  flush_locked();
  clear_status_locked();
  std::string text(line);
  text += '\n';
  err_->write(text);
  draw_status_locked();
}

void Console::show_status(std::string_view line) {
  const std::lock_guard lock(mutex_);
  if (!settings_.redraw || (line.empty() && status_.empty())) return;
  clear_status_locked();
  status_ = line;
  draw_status_locked();
}

void Console::flush() {
  const std::lock_guard lock(mutex_);
  flush_locked();
}

int Console::output_errno() const {
  const std::lock_guard lock(mutex_);
  return output_errno_;
}

void Console::write_results_locked(std::string_view text) {
  pending_ += text;
  if (pending_.size() >= kPendingBytesMax) flush_locked();
}

void Console::flush_locked() {
  if (pending_.empty()) return;
  // stdout and stderr are mostly the same terminal: the status line must not end up in the middle.
  clear_status_locked();
  const int failed = (stdout_is_data_ ? err_ : out_)->write(pending_);
  if (output_errno_ == 0) output_errno_ = failed;
  pending_.clear();
  draw_status_locked();
}

void Console::clear_status_locked() {
  if (!status_.empty()) err_->write(kClearLine);
}

void Console::draw_status_locked() {
  if (!status_.empty()) err_->write(status_);
}

}  // namespace vhdxm::tools
