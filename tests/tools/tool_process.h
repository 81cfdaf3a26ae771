// The built tool as a process: started with arguments, read, signalled, waited for.
#pragma once

#include <sys/types.h>

#include <boost/json/object.hpp>
#include <map>
#include <string>
#include <vector>

namespace vhdxm::test {

using Words = std::vector<std::string>;
/// Environment variables beside those of the test, VHDX_MIGRATE_... of which are left out.
using Environment = std::map<std::string, std::string>;

struct Ended {
  int exit = -1;  ///< 128 + signal if it was killed by one.
  std::string out;
  std::string err;

  /// The lines of `out`, each a JSON object. Adds a test failure for one that is not.
  std::vector<boost::json::object> objects() const;
  /// The first object of that type; an empty one, and a test failure, if there is none.
  boost::json::object object(const std::string& type) const;
};

/// Runs the tool to its end, without a controlling terminal.
Ended run_tool(const Words& arguments, const Environment& environment = {});

/// Runs any program, found by PATH.
Ended run_program(const Words& words);

/// Whether a program is there to be used as an oracle.
bool has_program(const std::string& name);

/// The tool running beside the test; ended by force at the latest when this is destroyed.
class ToolProcess {
 public:
  enum class Streams {
    kPipes,
    kTerminal,  ///< stdin, stdout and stderr are one terminal, the controlling one.
  };
  explicit ToolProcess(const Words& arguments, Streams streams = Streams::kPipes,
                       const Environment& environment = {});
  ~ToolProcess();
  ToolProcess(const ToolProcess&) = delete;
  ToolProcess& operator=(const ToolProcess&) = delete;

  /// Reads stdout (or the terminal) until it has `text`; everything read so far.
  /// Adds a test failure if the stream ends, or a minute passes, before that.
  const std::string& read_until(const std::string& text);
  /// The same until a regular expression matches somewhere in it.
  void read_until_match(const std::string& pattern);
  /// Types into the terminal.
  void type(const std::string& text);
  void signal(int number);
  /// Reads to the end, and waits for the process.
  Ended wait();

  int pid() const { return pid_; }

 private:
  /// Reads what is there into out_ and err_; false when both ended.
  bool read_some();

  pid_t pid_ = -1;
  int out_fd_ = -1;
  int err_fd_ = -1;
  std::string out_;
  std::string err_;
};

}  // namespace vhdxm::test
