// A disk in use, as QEMU sees it: what we wrote, what we left in the log, what it left in the log,
// and whose turn it is to write.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <random>

#include "base/directory.h"
#include "tests/support/expect_error.h"
#include "tests/support/program.h"
#include "tests/support/random_seed.h"
#include "tests/support/temp_folder.h"
#include "tests/support/writable_disk.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/content_compare.h"
#include "vhdx/errc.h"
#include "vhdx/parent_link.h"

namespace vhdxm::vhdx {
namespace {

using test::failed_with;
using test::run_program;
using test::succeeded;

constexpr std::uint64_t kDiskBytes = 40 * kMiB + 512;

class DiskWriterQemu : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* program : {"qemu-img", "qemu-io"}) {
      if (!test::has_program(program)) GTEST_SKIP() << "no " << program << " (qemu-utils)";
    }
  }

  std::string run(const std::vector<std::string>& words) {
    const auto result = run_program(words);
    EXPECT_EQ(result.status, 0) << fmt::format("{}: {}", fmt::join(words, " "), result.output);
    return result.output;
  }

  void make(const std::string& name, DiskType type, const std::string& parent = {}) {
    auto folder = Directory::open(folder_.path());
    auto file = (*folder)->create_file(name, false);
    ASSERT_TRUE(succeeded(file));
    Description description;
    description.geometry = {.virtual_size_bytes = kDiskBytes, .block_bytes = 2 << 20, .type = type};
    if (!parent.empty()) {
      auto image = Image::open(folder_ / parent);
      ASSERT_TRUE(succeeded(image));
      const Description& of_parent = (*image)->layers().front()->description();
      auto locator =
          make_parent_locator(folder_ / parent, folder_ / name, of_parent.data_write_guid);
      ASSERT_TRUE(succeeded(locator));
      description = describe_child(of_parent, *locator);
    }
    ASSERT_TRUE(succeeded(create(std::move(*file), description)));
  }

  /// Random writes, zeroings and trims on the disk, and the same on a raw file. A trim's range is
  /// zeroed in both, so that the content is known.
  void play(DiskWriter& disk, File& raw, int operations) {
    std::vector<std::byte> bytes;
    for (int i = 0; i < operations; ++i) {
      auto operation =
          test::random_operation(disk.geometry(), static_cast<std::uint32_t>(i + 1), random_);
      ASSERT_TRUE(succeeded(test::apply(disk, operation)));
      if (operation.kind == test::DiskOperation::Kind::kFlush) continue;
      if (operation.kind == test::DiskOperation::Kind::kTrim) {
        ASSERT_TRUE(succeeded(disk.write_zeroes(operation.offset, operation.length)));
      }
      const bool write = operation.kind == test::DiskOperation::Kind::kWrite;
      bytes.resize(static_cast<std::size_t>(operation.length));
      test::fill_tagged(bytes, operation.offset / test::kTornUnitBytes, write ? operation.tag : 0);
      ASSERT_TRUE(succeeded(raw.write_at(operation.offset, bytes)));
    }
  }

  std::shared_ptr<PosixFile> make_raw(const std::string& name) {
    auto folder = Directory::open(folder_.path());
    auto file = (*folder)->create_file(name, false);
    EXPECT_TRUE(succeeded((*file)->resize(kDiskBytes)));
    return std::move(*file);
  }

  void expect_qemu_agrees(const std::string& disk, const std::string& raw) {
    run({"qemu-img", "check", "-q", "-f", "vhdx", folder_ / disk});
    EXPECT_NE(run({"qemu-img", "compare", "-f", "vhdx", "-F", "raw", folder_ / disk, folder_ / raw})
                  .find("identical"),
              std::string::npos);
    run({"qemu-img", "map", "--output=json", "-f", "vhdx", folder_ / disk});
  }

  void expect_we_agree(const std::string& disk, const std::string& raw) {
    auto a = open_content(folder_ / disk, ContentFormat::kVhdx);
    auto b = open_content(folder_ / raw, ContentFormat::kRaw);
    ASSERT_TRUE(succeeded(a));
    ASSERT_TRUE(succeeded(b));
    const auto compared = compare_content(**a, **b);
    ASSERT_TRUE(succeeded(compared));
    EXPECT_TRUE(compared->same());
  }

  const std::uint64_t seed_ = test::random_seed();
  const testing::ScopedTrace trace_{__FILE__, __LINE__, test::repeat_with(seed_)};
  std::mt19937_64 random_{seed_};
  const test::TempFolder folder_;
};

TEST_F(DiskWriterQemu, ReadsWhatWasWrittenWhileInUse) {
  for (const DiskType type : {DiskType::kDynamic, DiskType::kFixed}) {
    const std::string name = fmt::format("{}.vhdx", to_string(type));
    make(name, type);
    const auto raw = make_raw(name + ".raw");
    for (const bool direct : {false, true}) {
      auto disk = DiskWriter::open(folder_ / name, {.direct = direct});
      ASSERT_TRUE(succeeded(disk));
      play(**disk, *raw, 150);
      ASSERT_TRUE(succeeded((*disk)->close()));
      disk->reset();  // the lock goes with it
      expect_qemu_agrees(name, name + ".raw");
      expect_we_agree(name, name + ".raw");
    }
  }
}

// QEMU cannot read a chain of VHDX files; raw content of the chain is our side, and that of the raw
// file the model.
TEST_F(DiskWriterQemu, AChainOfThreeHoldsWhatAnArrayWould) {
  make("base.vhdx", DiskType::kDynamic);
  const auto raw = make_raw("raw");
  const auto write_leaf = [&](const std::string& name) {
    auto disk = DiskWriter::open(folder_ / name, {});
    ASSERT_TRUE(succeeded(disk));
    play(**disk, *raw, 80);
    ASSERT_TRUE(succeeded((*disk)->close()));
    expect_we_agree(name, "raw");
  };
  write_leaf("base.vhdx");
  make("child.vhdx", DiskType::kDifferencing, "base.vhdx");
  write_leaf("child.vhdx");
  make("leaf.vhdx", DiskType::kDifferencing, "child.vhdx");
  write_leaf("leaf.vhdx");
}

TEST_F(DiskWriterQemu, ReplaysTheLogThatWeLeft) {
  make("disk.vhdx", DiskType::kDynamic);
  const auto raw = make_raw("raw");
  // Written through a file that takes what comes after the last flush away: what a power loss does.
  const std::string path = folder_ / "disk.vhdx";
  {
    auto disk = DiskWriter::open(path, {});
    ASSERT_TRUE(succeeded(disk));
    play(**disk, *raw, 100);
    ASSERT_TRUE(succeeded((*disk)->flush()));
    run({"cp", path, path + ".left"});
  }
  run({"mv", path + ".left", path});
  auto header = PosixFile::open(path, {});
  ASSERT_FALSE(select_header(**header)->log_guid.is_zero()) << "there is no log to replay";
  header->reset();
  // The BAT in place goes: only the log has it now.
  {
    auto file = PosixFile::open(path, {.access = PosixFile::Access::kReadWrite});
    auto layer = Layer::open(std::shared_ptr(std::move(*file)), Layer::Replay::kInMemory);
    const std::uint64_t bat = (*layer)->regions().bat().file_offset;
    auto writable = PosixFile::open(path, {.access = PosixFile::Access::kReadWrite});
    const std::vector<std::byte> zeros(4096);
    ASSERT_TRUE(succeeded((*writable)->write_at(bat, zeros)));
  }
  expect_we_agree("disk.vhdx", "raw");
  run({"qemu-img", "check", "-q", "-r", "all", "-f", "vhdx", path});
  expect_qemu_agrees("disk.vhdx", "raw");
}

TEST_F(DiskWriterQemu, LeavesALogThatWeReplayAndGoOnFrom) {
  run({"qemu-img", "create", "-q", "-f", "vhdx", "-o", "block_size=2M", folder_ / "disk.vhdx",
       std::to_string(kDiskBytes)});
  const auto raw = make_raw("raw");
  // `abort` dies on the spot, like a process that is killed.
  run_program({"qemu-io", "-f", "vhdx", "-c", "write -P 0x11 0 64k", "-c", "write -P 0x22 9M 64k",
               "-c", "flush", "-c", "abort", folder_ / "disk.vhdx"});
  ASSERT_TRUE(succeeded(raw->write_at(0, std::vector<std::byte>(65536, std::byte{0x11}))));
  ASSERT_TRUE(succeeded(raw->write_at(9 * kMiB, std::vector<std::byte>(65536, std::byte{0x22}))));
  auto disk = DiskWriter::open(folder_ / "disk.vhdx", {});
  ASSERT_TRUE(succeeded(disk));
  play(**disk, *raw, 100);
  ASSERT_TRUE(succeeded((*disk)->close()));
  disk->reset();
  expect_qemu_agrees("disk.vhdx", "raw");
}

TEST_F(DiskWriterQemu, AndWeNeverWriteAtOnce) {
  make("disk.vhdx", DiskType::kDynamic);
  const std::string path = folder_ / "disk.vhdx";
  {
    auto disk = DiskWriter::open(path, {});
    ASSERT_TRUE(succeeded(disk));
    const auto refused = run_program({"qemu-io", "-f", "vhdx", "-c", "write 0 4k", path});
    EXPECT_NE(refused.status, 0);
    EXPECT_NE(refused.output.find("lock"), std::string::npos) << refused.output;
  }
  FILE* const qemu = ::popen(("qemu-io -f vhdx " + path + " >/dev/null 2>&1").c_str(), "w");
  ASSERT_NE(qemu, nullptr);
  const auto file = PosixFile::open(path, {});
  while (!(*file)->is_written_by_qemu().value()) std::this_thread::yield();
  EXPECT_TRUE(failed_with(DiskWriter::open(path, {}), Errc::kInUse, "disk.vhdx"));
  EXPECT_EQ(::pclose(qemu), 0);
  EXPECT_TRUE(succeeded(DiskWriter::open(path, {})));
}

}  // namespace
}  // namespace vhdxm::vhdx
