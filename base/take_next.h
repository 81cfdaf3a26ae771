// Taking what comes next off a queue that may be empty.
#pragma once

#include <deque>
#include <optional>
#include <utility>

namespace vhdxm {

template <class T>
std::optional<T> take_next(std::deque<T>& queue) {
  if (queue.empty()) return std::nullopt;
  std::optional<T> front(std::move(queue.front()));
  queue.pop_front();
  return front;
}

}  // namespace vhdxm
