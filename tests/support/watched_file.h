// A file that tells a test of every change before it is made, and lets it fail.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/file.h"

namespace vhdxm::test {

class WatchedFile final : public File {
 public:
  enum class Change { kWrite, kPunchHole, kSync };
  using Watch = std::function<Result<void>(Change)>;

  explicit WatchedFile(std::shared_ptr<File> file) : file_(std::move(file)) {}

  /// Calls `watch` from here on; what it returns becomes of the change. Requires: no other thread
  /// uses the file at that moment.
  void watch(Watch watch) { watch_ = std::move(watch); }

  Result<std::size_t> read_some_at(std::uint64_t offset, std::span<std::byte> out) override {
    return file_->read_some_at(offset, out);
  }
  Result<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    VHDXM_TRY_VOID(tell(Change::kWrite));
    return file_->write_at(offset, bytes);
  }
  Result<void> sync() override {
    VHDXM_TRY_VOID(tell(Change::kSync));
    return file_->sync();
  }
  Result<std::uint64_t> size() override { return file_->size(); }
  Result<void> resize(std::uint64_t size_bytes) override { return file_->resize(size_bytes); }
  Result<void> allocate(std::uint64_t offset, std::uint64_t length) override {
    return file_->allocate(offset, length);
  }
  Result<void> punch_hole(std::uint64_t offset, std::uint64_t length) override {
    VHDXM_TRY_VOID(tell(Change::kPunchHole));
    return file_->punch_hole(offset, length);
  }
  Result<DataRun> next_data(std::uint64_t offset) override { return file_->next_data(offset); }
  const std::string& name() const override { return file_->name(); }

 private:
  Result<void> tell(Change change) { return watch_ ? watch_(change) : Result<void>{}; }

  const std::shared_ptr<File> file_;
  Watch watch_;
};

}  // namespace vhdxm::test
