// What a job compresses with: a few contexts for all of its streams.
//
// Compression is a processor's work: more contexts than processors would cost memory and win no
// time. So they are shared, and a stream holds one only while it compresses.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "compression/compressor.h"

namespace vhdxm::transfer {

/// Thread safety: leases from any thread.
class CompressorPool {
  struct Place {
    std::unique_ptr<compression::Compressor> compressor;
    std::vector<std::byte> room;
  };

 public:
  /// A context and room for what it makes. Goes back when it is destroyed.
  class Lease {
   public:
    explicit Lease(CompressorPool& pool);
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    compression::Compressor& compressor() const { return *place_->compressor; }
    /// As long as an extent.
    std::span<std::byte> room() const { return place_->room; }

   private:
    CompressorPool& pool_;
    Place* place_;
  };

  /// `count`: contexts, at least one. `level_max`: the highest level they will be asked for.
  CompressorPool(std::size_t extent_bytes, int level_max, std::size_t count);
  ~CompressorPool();

  /// What each context of such a pool may cost. Units: bytes.
  static std::size_t memory_bytes(std::size_t extent_bytes, int level_max);
  int level_max() const { return level_max_; }

 private:
  Place* take();
  void give_back(Place* place);

  const std::size_t extent_bytes_;
  const int level_max_;
  const std::size_t count_;
  std::mutex mutex_;
  std::condition_variable returned_;
  // State below is protected by mutex_.
  std::vector<std::unique_ptr<Place>> places_;  ///< Made when they are first needed.
  std::vector<Place*> free_;
};

}  // namespace vhdxm::transfer
