// Bytes that go in at one end and out at the other, always in one piece of memory.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace vhdxm::transfer {

/// Cost: a byte is moved at most once more after it was appended, however it is taken out.
class ByteQueue {
 public:
  std::span<const std::byte> bytes() const {
    return std::span<const std::byte>(buffer_).subspan(begin_);
  }
  std::size_t size() const { return buffer_.size() - begin_; }
  bool empty() const { return size() == 0; }

  void append(std::span<const std::byte> bytes) {
    make_room();
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }
  /// Makes room for `bytes` more, so that appending them in pieces does not grow in steps.
  void reserve(std::size_t bytes) {
    make_room();
    buffer_.reserve(buffer_.size() + bytes);
  }
  /// Requires: count <= size().
  void consume(std::size_t count) {
    begin_ += count;
    if (begin_ == buffer_.size()) clear();
  }
  void clear() {
    buffer_.clear();
    begin_ = 0;
  }

 private:
  /// The rest moves to the front only when no more is left than was taken: so the moves cost no
  /// more than the appends did.
  void make_room() {
    if (begin_ == 0 || size() > begin_) return;
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(begin_));
    begin_ = 0;
  }

  std::vector<std::byte> buffer_;
  std::size_t begin_ = 0;
};

}  // namespace vhdxm::transfer
