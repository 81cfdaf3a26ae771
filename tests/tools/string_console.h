// A console whose words a test can read, at a fixed time.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "tools/console.h"

namespace vhdxm::test {

class StringSink final : public tools::TextSink {
 public:
  explicit StringSink(std::string& text, int failure = 0) : text_(text), failure_(failure) {}
  int write(std::string_view text) override {
    if (failure_ == 0) text_ += text;
    return failure_;
  }

 private:
  std::string& text_;
  const int failure_;
};

struct StringConsole {
  /// 2026-11-23T22:51:23.042Z
  static constexpr std::chrono::system_clock::time_point kNow{
      std::chrono::milliseconds{1'795'474'283'042}};

  explicit StringConsole(tools::Console::Settings settings = {}, int out_failure = 0)
      : console(std::make_unique<StringSink>(out, out_failure), std::make_unique<StringSink>(err),
                [] { return kNow; }) {
    console.configure(settings);
  }

  /// What was written since the last call.
  std::string take_out() {
    console.flush();
    return std::exchange(out, {});
  }
  std::string take_err() { return std::exchange(err, {}); }

  std::string out;
  std::string err;
  tools::Console console;  // After the strings: it writes to them until it is gone.
};

}  // namespace vhdxm::test
