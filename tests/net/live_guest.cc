#include "tests/net/live_guest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/little_endian.h"
#include "base/posix_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/program.h"
#include "vhdx/check.h"
#include "vhdx/image.h"

namespace vhdxm::transfer {
namespace {

using test::succeeded;

struct SectorStamp {
  Le64 offset;
  Le64 number;
  Le64 seed;
};
static_assert(alignof(SectorStamp) == 1);

// Every sector says where it belongs and which write brought it.
std::vector<std::byte> stamped(std::uint64_t offset, std::uint64_t length, std::uint64_t sector,
                               std::uint64_t number, std::uint64_t seed) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(length), std::byte{0xa5});
  for (std::uint64_t at = 0; at < length; at += sector) {
    const SectorStamp stamp{.offset = offset + at, .number = number, .seed = seed};
    store_raw(bytes.data() + at, stamp);
  }
  return bytes;
}

}  // namespace

LiveGuest::LiveGuest(std::shared_ptr<LiveDisk> disk, std::uint64_t seed)
    : disk_(std::move(disk)), seed_(seed), content_(static_cast<std::size_t>(disk_->size_bytes())) {
  EXPECT_TRUE(succeeded(disk_->read(0, content_)));
}

void LiveGuest::start(unsigned writers, std::uint64_t bytes) {
  const std::uint64_t sector = disk_->geometry().logical_sector_bytes;
  const std::uint64_t each = bytes / writers / sector * sector;
  for (unsigned i = 0; i < writers; ++i) {
    threads_.emplace_back([this, begin = i * each, end = (i + 1) * each, seed = seed_ + i] {
      run(begin, end, seed);
    });
  }
}

void LiveGuest::stop() {
  stopping_ = true;
  join();
}

void LiveGuest::join() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void LiveGuest::run(std::uint64_t begin, std::uint64_t end, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const std::uint64_t sector = disk_->geometry().logical_sector_bytes;
  const std::uint64_t sectors = (end - begin) / sector;
  while (!stopping_) {
    const std::uint64_t first = random() % sectors;
    const unsigned kind = static_cast<unsigned>(random() % 16);
    // Zeroings and trims are long now and then, so that whole blocks go.
    const std::uint64_t longest = kind < 2 && random() % 4 == 0 ? sectors : 32;
    const std::uint64_t count = 1 + random() % std::min(longest, sectors - first);
    if (!change(begin + first * sector, count * sector, kind)) return;
  }
}

// False: it was refused.
bool LiveGuest::change(std::uint64_t offset, std::uint64_t length, unsigned kind) {
  const auto durability = kind == 15 ? LiveDisk::Durability::kNow : LiveDisk::Durability::kAtFlush;
  const std::span model = std::span(content_).subspan(static_cast<std::size_t>(offset),
                                                      static_cast<std::size_t>(length));
  Result<void> changed;
  if (kind == 0) {
    changed = disk_->write_zeroes(offset, length, LiveDisk::Zeroing::kMayTrim, durability);
    if (!changed.has_error()) std::fill(model.begin(), model.end(), std::byte{0});
  } else if (kind == 1) {
    changed = disk_->trim(offset, length, durability);
    // It reads as zero or as before: whichever it is now, it must be there as well.
    if (!changed.has_error()) changed = disk_->read(offset, model);
  } else {
    const auto bytes =
        stamped(offset, length, disk_->geometry().logical_sector_bytes, writes_ + 1, seed_);
    changed = disk_->write(offset, bytes, durability);
    if (!changed.has_error()) std::copy(bytes.begin(), bytes.end(), model.begin());
  }
  if (!changed.has_error()) {
    ++writes_;
    return true;
  }
  if (changed.error().code == boost::system::errc::operation_not_permitted) {
    ++refused_;
  } else {
    ++errors_;
    ADD_FAILURE() << "the guest sees: " << describe(changed.error());
  }
  return false;
}

void LiveGuest::write(std::uint64_t offset, std::uint64_t length) {
  (void)change(offset, length, 8);
}

void expect_disk(const std::string& path, const std::vector<std::byte>& content) {
  auto image = vhdx::Image::open(path);
  ASSERT_TRUE(succeeded(image)) << path;
  ASSERT_EQ((*image)->virtual_size_bytes(), content.size());
  std::vector<std::byte> found(content.size());
  ASSERT_TRUE(succeeded((*image)->read(0, found)));
  const auto differs = std::mismatch(content.begin(), content.end(), found.begin());
  EXPECT_TRUE(differs.first == content.end())
      << path << " differs first at byte " << differs.first - content.begin();
  const auto report = vhdx::check(PosixFile::open(path, {}).value());
  ASSERT_TRUE(succeeded(report));
  for (const vhdx::Finding& finding : report->findings) {
    EXPECT_EQ(finding.severity, vhdx::Finding::Severity::kNote) << finding.what;
  }
  // QEMU reads no disks of 4096-byte sectors.
  const bool too_large =
      (*image)->layers().front()->description().geometry.logical_sector_bytes > 512;
  if (too_large || !test::has_program("qemu-img")) return;
  const std::string raw = path + ".expected";
  {
    std::ofstream out(raw, std::ios::binary);
    out.write(reinterpret_cast<const char*>(content.data()),
              static_cast<std::streamsize>(content.size()));
  }
  const auto compared =
      test::run_program({"qemu-img", "compare", "-f", "vhdx", "-F", "raw", path, raw});
  EXPECT_EQ(compared.status, 0) << compared.output;
  std::filesystem::remove(raw);
}

}  // namespace vhdxm::transfer
