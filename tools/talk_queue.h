// A thread that does the talking, so that a full pipe or a paused terminal holds up no work.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace vhdxm::tools {

/// Thread safety: post() and post_latest() from any thread; they never wait.
class TalkQueue {
 public:
  TalkQueue();
  /// Does what was posted, then ends.
  ~TalkQueue();
  TalkQueue(const TalkQueue&) = delete;
  TalkQueue& operator=(const TalkQueue&) = delete;

  /// Where nobody reads for so long that 10,000 tasks wait, further ones are dropped.
  void post(std::function<void()> task);
  /// As post(), but takes the place of the task posted last if that has the same key and was not
  /// begun: what it had to say is out of date.
  void post_latest(const std::string& key, std::function<void()> task);

 private:
  struct Task {
    std::string key;
    std::function<void()> run;
  };
  void work();

  std::mutex mutex_;
  std::condition_variable changed_;
  // State below is protected by mutex_.
  std::deque<Task> tasks_;
  bool ending_ = false;

  std::thread thread_;
};

}  // namespace vhdxm::tools
