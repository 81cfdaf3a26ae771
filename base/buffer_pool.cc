#include "base/buffer_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace vhdxm {

Buffer::Buffer(Buffer&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)), bytes_(std::exchange(other.bytes_, {})) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    release();
    pool_ = std::exchange(other.pool_, nullptr);
    bytes_ = std::exchange(other.bytes_, {});
  }
  return *this;
}

Buffer::~Buffer() {
  release();
}

void Buffer::release() {
  if (pool_ != nullptr) pool_->give_back(bytes_);
  pool_ = nullptr;
  bytes_ = {};
}

BufferPool::BufferPool(std::size_t buffer_bytes, std::size_t buffer_count)
    : buffer_bytes_(buffer_bytes), buffer_count_(buffer_count) {
  VHDXM_CHECK(buffer_bytes > 0 && buffer_bytes % kAlignment == 0 && buffer_count > 0);
  void* memory = ::mmap(nullptr, buffer_bytes * buffer_count, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  VHDXM_CHECK(memory != MAP_FAILED);
  memory_ = static_cast<std::byte*>(memory);
  free_.reserve(buffer_count);
  // Handed out from the back, last used first: the warmest buffer is used again.
  for (std::size_t i = buffer_count; i > 0; --i) free_.push_back(i - 1);
}

BufferPool::~BufferPool() {
  VHDXM_CHECK(free_.size() == buffer_count_);
  ::munmap(memory_, buffer_bytes_ * buffer_count_);
}

std::span<std::byte> BufferPool::take_locked() {
  const std::size_t index = free_.back();
  free_.pop_back();
  high_water_ = std::max(high_water_, buffer_count_ - free_.size());
  return {memory_ + index * buffer_bytes_, buffer_bytes_};
}

std::optional<Buffer> BufferPool::try_acquire() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) return std::nullopt;
  return Buffer(this, take_locked());
}

Buffer BufferPool::acquire() {
  std::unique_lock lock(mutex_);
  returned_.wait(lock, [this] { return !free_.empty(); });
  return Buffer(this, take_locked());
}

void BufferPool::give_back(std::span<std::byte> bytes) {
  {
    const std::lock_guard lock(mutex_);
    const auto index = static_cast<std::size_t>(bytes.data() - memory_) / buffer_bytes_;
    VHDXM_CHECK(index < buffer_count_ && free_.size() < buffer_count_);
    free_.push_back(index);
  }
  returned_.notify_one();
}

void BufferPool::note(Stage stage, std::span<const std::byte> bytes) {
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
  const auto pool = reinterpret_cast<std::uintptr_t>(memory_);
  const std::size_t pool_bytes = buffer_bytes_ * buffer_count_;
  const bool inside =
      begin >= pool && begin - pool <= pool_bytes && bytes.size() <= pool_bytes - (begin - pool);
  auto& counter = inside ? stages_[static_cast<std::size_t>(stage)] : foreign_;
  counter.fetch_add(bytes.size(), std::memory_order_relaxed);
}

BufferPool::StageBytes BufferPool::stage_bytes() const {
  const auto at = [this](Stage stage) {
    return stages_[static_cast<std::size_t>(stage)].load(std::memory_order_relaxed);
  };
  return {.filled = at(Stage::kFilled),
          .hashed = at(Stage::kHashed),
          .drained = at(Stage::kDrained),
          .foreign = foreign_.load(std::memory_order_relaxed)};
}

std::size_t BufferPool::high_water() const {
  const std::lock_guard lock(mutex_);
  return high_water_;
}

std::size_t BufferPool::in_use() const {
  const std::lock_guard lock(mutex_);
  return buffer_count_ - free_.size();
}

}  // namespace vhdxm
