// A fixed number of aligned buffers: the memory ceiling of a job.
//
// The pool reserves address space once; a buffer costs memory from its first use. Nothing else
// holds payload, so memory is buffer_count x buffer_bytes however many disks and streams there are.
// It also counts what is done with the bytes in it: each is filled in once, hashed where it stands
// and sent or written from there, or something copied it.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

namespace vhdxm {

class BufferPool;

/// One buffer of a pool; goes back when destroyed. Movable. Must not outlive its pool.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  /// The whole buffer; aligned to BufferPool::kAlignment bytes.
  std::span<std::byte> bytes() const { return bytes_; }
  explicit operator bool() const { return pool_ != nullptr; }
  /// Gives the buffer back now.
  void release();

 private:
  friend class BufferPool;
  Buffer(BufferPool* pool, std::span<std::byte> bytes) : pool_(pool), bytes_(bytes) {}

  BufferPool* pool_ = nullptr;
  std::span<std::byte> bytes_;
};

/// Thread safety: all members may be called from any thread.
class BufferPool {
 public:
  /// What O_DIRECT asks of every storage device that is met: a page.
  static constexpr std::size_t kAlignment = 4096;

  /// What is done with bytes of a buffer, in the order of a move.
  enum class Stage : std::uint8_t {
    kFilled,   ///< Read from a disk, or received (and decrypted) from a socket.
    kHashed,   ///< Before they are sent, or to verify what came.
    kDrained,  ///< Sent to a socket (encrypted from here), or written to a disk.
  };
  /// Bytes that went through each stage.
  struct StageBytes {
    std::uint64_t filled = 0;
    std::uint64_t hashed = 0;
    std::uint64_t drained = 0;
    std::uint64_t foreign = 0;  ///< Noted at any stage, but not in this pool's memory.
  };

  /// Units: bytes (a multiple of kAlignment), buffers. Both greater than zero.
  BufferPool(std::size_t buffer_bytes, std::size_t buffer_count);
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  /// A buffer, or nothing if all are out.
  std::optional<Buffer> try_acquire();
  /// A buffer; waits for one to come back.
  Buffer acquire();

  /// Counts `bytes`, the place where they stand now, at a stage. Cost: a relaxed atomic.
  void note(Stage stage, std::span<const std::byte> bytes);
  StageBytes stage_bytes() const;

  std::size_t buffer_bytes() const { return buffer_bytes_; }
  std::size_t buffer_count() const { return buffer_count_; }
  /// The most buffers that were ever out at once.
  std::size_t high_water() const;
  /// Buffers that are out now.
  std::size_t in_use() const;

 private:
  friend class Buffer;
  void give_back(std::span<std::byte> bytes);
  std::span<std::byte> take_locked();

  const std::size_t buffer_bytes_;
  const std::size_t buffer_count_;
  std::byte* memory_ = nullptr;
  std::array<std::atomic<std::uint64_t>, 3> stages_{};
  std::atomic<std::uint64_t> foreign_{0};
  mutable std::mutex mutex_;
  std::condition_variable returned_;
  // State below is protected by mutex_.
  std::vector<std::size_t> free_;
  std::size_t high_water_ = 0;
};

}  // namespace vhdxm
