#include "tools/talk_queue.h"

#include <utility>

namespace vhdxm::tools {
namespace {

constexpr std::size_t kTasksMax = 10'000;

}  // namespace

TalkQueue::TalkQueue() : thread_([this] { work(); }) {}

TalkQueue::~TalkQueue() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void TalkQueue::post(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    if (tasks_.size() >= kTasksMax) return;
    tasks_.push_back({.key = {}, .run = std::move(task)});
  }
  changed_.notify_one();
}

void TalkQueue::post_latest(const std::string& key, std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    if (!tasks_.empty() && !key.empty() && tasks_.back().key == key) {
      tasks_.back().run = std::move(task);
      return;
    }
    if (tasks_.size() >= kTasksMax) return;
    tasks_.push_back({.key = key, .run = std::move(task)});
  }
  changed_.notify_one();
}

void TalkQueue::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return ending_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    const Task task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task.run();
    lock.lock();
  }
}

}  // namespace vhdxm::tools
