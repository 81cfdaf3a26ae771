#include "transfer/compressor_pool.h"

#include "base/check.h"

namespace vhdxm::transfer {

CompressorPool::CompressorPool(std::size_t extent_bytes, int level_max, std::size_t count)
    : extent_bytes_(extent_bytes), level_max_(level_max), count_(count) {
  VHDXM_CHECK(count > 0);
}

CompressorPool::~CompressorPool() {
  VHDXM_CHECK(free_.size() == places_.size());
}

std::size_t CompressorPool::memory_bytes(std::size_t extent_bytes, int level_max) {
  return compression::Compressor::memory_bytes(extent_bytes, level_max) + extent_bytes;
}

CompressorPool::Place* CompressorPool::take() {
  std::unique_lock lock(mutex_);
  if (free_.empty() && places_.size() < count_) {
    auto place = std::make_unique<Place>();
    place->compressor = std::make_unique<compression::Compressor>(extent_bytes_, level_max_);
    place->room.resize(extent_bytes_);
    places_.push_back(std::move(place));
    return places_.back().get();
  }
  returned_.wait(lock, [this] { return !free_.empty(); });
  Place* const place = free_.back();
  free_.pop_back();
  return place;
}

void CompressorPool::give_back(Place* place) {
  {
    const std::lock_guard lock(mutex_);
    free_.push_back(place);
  }
  returned_.notify_one();
}

CompressorPool::Lease::Lease(CompressorPool& pool) : pool_(pool), place_(pool.take()) {}

CompressorPool::Lease::~Lease() {
  pool_.give_back(place_);
}

}  // namespace vhdxm::transfer
