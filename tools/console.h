// Where a command's words go: results to stdout, talk to stderr, and over both one status line.
#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

namespace vhdxm::tools {

/// A stream that text goes to.
class TextSink {
 public:
  virtual ~TextSink() = default;
  /// 0, or the errno of a write that failed. After a failure nothing more is written.
  virtual int write(std::string_view text) = 0;
};

/// A descriptor; does not close it.
std::unique_ptr<TextSink> descriptor_sink(int fd);

/// Thread safety: all members may be called from any thread.
class Console {
 public:
  using WallClock = std::function<std::chrono::system_clock::time_point()>;
  struct Settings {
    bool json = false;
    bool color = false;   ///< Of stderr.
    bool redraw = false;  ///< Whether stderr can show a status line.
  };

  Console(std::unique_ptr<TextSink> out, std::unique_ptr<TextSink> err, WallClock clock);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  void configure(Settings settings);
  bool json() const;
  bool color() const;

  /// stdout carries a disk's content from now on: results and JSON go to stderr.
  void give_stdout_to_data();

  /// Result text, as it is, with its line ends. Buffered: see flush().
  void print(std::string_view text);
  /// A JSON line among the results. Buffered: see flush().
  void object(std::string_view type, const boost::json::object& fields);
  /// One line of talk, without its line end.
  void talk(std::string_view line);
  /// Draws `line` at the bottom of the terminal, over the one before; empty clears it.
  /// Requires: no line end in it, and it fits the terminal.
  void show_status(std::string_view line);

  /// Writes out what print() and object() hold.
  void flush();
  /// 0, or the errno that stopped the results: nobody reads them any more, or the disk is full.
  int output_errno() const;

 private:
  void write_results_locked(std::string_view text);
  void flush_locked();
  void clear_status_locked();
  void draw_status_locked();

  const std::unique_ptr<TextSink> out_;
  const std::unique_ptr<TextSink> err_;
  const WallClock clock_;
  mutable std::mutex mutex_;
  // State below is protected by mutex_.
  Settings settings_;
  bool stdout_is_data_ = false;
  std::string pending_;
  std::string status_;
  int output_errno_ = 0;
};

}  // namespace vhdxm::tools
