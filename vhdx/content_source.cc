#include "vhdx/content_source.h"

#include <algorithm>
#include <utility>

#include "base/posix_file.h"
#include "vhdx/format.h"

namespace vhdxm::vhdx {
namespace {

class ImageContent final : public ContentSource {
 public:
  explicit ImageContent(std::unique_ptr<Image> image) : image_(std::move(image)) {}

  std::uint64_t size_bytes() const override { return image_->virtual_size_bytes(); }

  Result<std::uint64_t> runs(std::uint64_t offset, std::vector<ContentRun>& out) override {
    std::vector<Extent> extents;
    VHDXM_TRY(const std::uint64_t end, image_->map(offset, size_bytes() - offset, extents));
    for (const Extent& extent : extents) {
      const bool is_zero = extent.kind != ExtentKind::kData;
      if (!out.empty() && out.back().is_zero == is_zero &&
          out.back().end() == extent.virtual_offset) {
        out.back().length += extent.length;
      } else {
        out.push_back(
            {.offset = extent.virtual_offset, .length = extent.length, .is_zero = is_zero});
      }
    }
    return end;
  }

  Result<void> read(std::uint64_t offset, std::span<std::byte> out) override {
    return image_->read(offset, out);
  }

  const std::string& name() const override { return image_->layers().front()->name(); }

 private:
  const std::unique_ptr<Image> image_;
};

class RawContent final : public ContentSource {
 public:
  RawContent(std::shared_ptr<File> file, std::uint64_t size_bytes)
      : file_(std::move(file)), size_bytes_(size_bytes) {}

  std::uint64_t size_bytes() const override { return size_bytes_; }

  Result<std::uint64_t> runs(std::uint64_t offset, std::vector<ContentRun>& out) override {
    VHDXM_TRY(const File::DataRun data, file_->next_data(offset));
    // The file may have grown or shrunk since it was opened.
    const std::uint64_t begin =
        data.begin >= data.end ? size_bytes_ : std::clamp(data.begin, offset, size_bytes_);
    const std::uint64_t end = std::clamp(data.end, begin, size_bytes_);
    if (begin > offset)
      out.push_back({.offset = offset, .length = begin - offset, .is_zero = true});
    if (end > begin) out.push_back({.offset = begin, .length = end - begin, .is_zero = false});
    return end;
  }

  Result<void> read(std::uint64_t offset, std::span<std::byte> out) override {
    return read_exact_at(*file_, offset, out, "raw disk");
  }

  const std::string& name() const override { return file_->name(); }

 private:
  const std::shared_ptr<File> file_;
  const std::uint64_t size_bytes_;
};

Result<bool> has_vhdx_signature(File& file) {
  std::array<std::byte, sizeof(RawFileIdentifier::signature)> bytes{};
  VHDXM_TRY(const std::size_t got, file.read_some_at(kFileIdentifierOffset, bytes));
  return got == bytes.size() && load_raw<Le64>(bytes.data()) == kFileSignature;
}

}  // namespace

Result<std::unique_ptr<ContentSource>> open_content(const std::string& path, ContentFormat format) {
  if (format != ContentFormat::kVhdx) {
    VHDXM_TRY(std::shared_ptr<File> file, PosixFile::open(path, {}));
    bool is_raw = format == ContentFormat::kRaw;
    if (!is_raw) {
      VHDXM_TRY(const bool is_vhdx, has_vhdx_signature(*file));
      is_raw = !is_vhdx;
    }
    if (is_raw) return content_of_raw(std::move(file));
  }
  VHDXM_TRY(auto image, Image::open(path));
  return content_of(std::move(image));
}

std::unique_ptr<ContentSource> content_of(std::unique_ptr<Image> image) {
  return std::make_unique<ImageContent>(std::move(image));
}

Result<std::unique_ptr<ContentSource>> content_of_raw(std::shared_ptr<File> file) {
  VHDXM_TRY(const std::uint64_t size_bytes, file->size());
  return std::make_unique<RawContent>(std::move(file), size_bytes);
}

Result<ContentRun> RunCursor::at(std::uint64_t offset) {
  while (next_ < runs_.size() && runs_[next_].end() <= offset) ++next_;
  if (next_ == runs_.size()) {
    runs_.clear();
    next_ = 0;
    VHDXM_TRY_VOID(source_.runs(offset, runs_));
  }
  ContentRun run = runs_[next_];
  run.length -= offset - run.offset;
  run.offset = offset;
  return run;
}

}  // namespace vhdxm::vhdx
