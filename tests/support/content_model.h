// Content for tests that is known byte for byte, with the runs that a source says it has.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "vhdx/content_source.h"

namespace vhdxm::test {

/// A source whose runs and bytes the test chose; counts what was read.
class ContentModel final : public vhdx::ContentSource {
 public:
  /// `runs` cover `bytes`; where they say zero, the bytes are zero.
  ContentModel(std::vector<std::byte> bytes, std::vector<vhdx::ContentRun> runs,
               std::size_t runs_at_once = 3)
      : bytes_(std::move(bytes)), runs_(std::move(runs)), runs_at_once_(runs_at_once) {}

  std::uint64_t size_bytes() const override { return bytes_.size(); }

  Result<std::uint64_t> runs(std::uint64_t offset, std::vector<vhdx::ContentRun>& out) override {
    std::uint64_t end = offset;
    std::size_t count = 0;
    for (vhdx::ContentRun run : runs_) {
      if (run.end() <= offset || count == runs_at_once_) continue;
      const std::uint64_t begin = std::max(run.offset, offset);
      run.length = run.end() - begin;
      run.offset = begin;
      out.push_back(run);
      end = run.end();
      ++count;
    }
    return end;
  }

  Result<void> read(std::uint64_t offset, std::span<std::byte> out) override {
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    bytes_read_ += out.size();
    return {};
  }

  const std::string& name() const override { return name_; }
  std::uint64_t bytes_read() const { return bytes_read_; }

 private:
  const std::vector<std::byte> bytes_;
  const std::vector<vhdx::ContentRun> runs_;
  const std::size_t runs_at_once_;
  const std::string name_ = "model";
  std::uint64_t bytes_read_ = 0;
};

}  // namespace vhdxm::test
