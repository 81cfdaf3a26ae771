#include "vhdx/log_replay.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/vhdx_builder.h"
#include "vhdx/errc.h"

namespace vhdxm::vhdx {
namespace {

using test::failed_with;
using test::LogEntrySpec;
using test::succeeded;
using test::VhdxBuilder;
using Bytes = std::vector<std::byte>;

constexpr Guid kLogGuid = guid_literal("10910910-9109-1091-0910-910910910910");
constexpr std::uint64_t kTarget = VhdxBuilder::kBatAt;

VhdxBuilder disk_with_log() {
  return VhdxBuilder({.log_guid = kLogGuid});
}

Result<ReplayedFile> in_memory(const VhdxBuilder& disk) {
  return replay_in_memory(disk.file(), *select_header(*disk.file()));
}
Result<ReplayedFile> on_file(const VhdxBuilder& disk) {
  return replay_on_file(disk.file(), *select_header(*disk.file()));
}

Bytes read(File& file, std::uint64_t offset, std::size_t length) {
  Bytes bytes(length);
  EXPECT_TRUE(succeeded(read_exact_at(file, offset, bytes, "test")));
  return bytes;
}

Bytes whole(const VhdxBuilder& disk) {
  return disk.get(0, static_cast<std::size_t>(disk.size()));
}

TEST(LogReplay, AFileWithoutALogIsLeftAsItIs) {
  VhdxBuilder disk;
  const Bytes before = whole(disk);
  const auto replayed = on_file(disk);
  ASSERT_TRUE(succeeded(replayed));
  EXPECT_EQ(replayed->file, disk.file());
  EXPECT_EQ(replayed->entry_count, 0U);
  EXPECT_EQ(whole(disk), before);
}

TEST(LogReplay, DataSectorsGetTheirFirstAndLastBytesBack) {
  VhdxBuilder disk = disk_with_log();
  Bytes sector(4096);
  for (std::size_t i = 0; i < sector.size(); ++i)
    sector[i] = static_cast<std::byte>(i * 7 + i / 256);
  disk.add_log_entry(0, {.descriptors = {{.file_offset = kTarget + 4096, .sector = sector}}});
  const auto replayed = in_memory(disk);
  ASSERT_TRUE(succeeded(replayed));
  EXPECT_EQ(read(*replayed->file, kTarget + 4096, 4096), sector);
  EXPECT_EQ(read(*replayed->file, kTarget, 4096), Bytes(4096));
}

TEST(LogReplay, InMemoryLeavesTheFileUntouched) {
  VhdxBuilder disk = disk_with_log();
  disk.add_log_entry(0, {.last_file_offset = 50 * kMiB,
                         .descriptors = {{.file_offset = kTarget, .fill = 9},
                                         {.file_offset = 2 * kMiB, .zero_length = kMiB}}});
  const Bytes before = whole(disk);
  const auto replayed = in_memory(disk);
  ASSERT_TRUE(succeeded(replayed));
  EXPECT_EQ(whole(disk), before);
  EXPECT_EQ(*replayed->file->size(), 50 * kMiB);
  EXPECT_EQ(replayed->header.log_guid, kLogGuid);
}

TEST(LogReplay, EntriesBeforeTheTailAreNotReplayed) {
  VhdxBuilder disk = disk_with_log();
  const LogEntrySpec old{.sequence_number = 1,
                         .tail = 0,
                         .descriptors = {{.file_offset = kTarget, .fill = 1},
                                         {.file_offset = kTarget + 4096, .fill = 1}}};
  const auto tail = static_cast<std::uint32_t>(disk.add_log_entry(0, old));
  disk.add_log_entry(
      tail,
      {.sequence_number = 2, .tail = tail, .descriptors = {{.file_offset = kTarget, .fill = 2}}});
  disk.fill(kTarget, 8192, 3);  // what the first entry wrote was changed since, by other means
  const auto replayed = in_memory(disk);
  ASSERT_TRUE(succeeded(replayed));
  EXPECT_EQ(replayed->entry_count, 1U);
  EXPECT_EQ(read(*replayed->file, kTarget, 1)[0], std::byte{2});
  EXPECT_EQ(read(*replayed->file, kTarget + 4096, 1)[0], std::byte{3});
}

TEST(LogReplay, LaterEntriesAndDescriptorsOverwriteEarlierOnes) {
  VhdxBuilder disk = disk_with_log();
  const std::uint64_t next =
      disk.add_log_entry(0, {.sequence_number = 1,
                             .descriptors = {{.file_offset = kTarget, .fill = 1},
                                             {.file_offset = kTarget, .zero_length = 4096},
                                             {.file_offset = kTarget + 4096, .zero_length = 4096},
                                             {.file_offset = kTarget + 4096, .fill = 2}}});
  disk.add_log_entry(
      next, {.sequence_number = 2, .descriptors = {{.file_offset = kTarget + 8192, .fill = 3}}});
  disk.fill(kTarget, 3 * 4096, 0xff);
  const auto replayed = in_memory(disk);
  ASSERT_TRUE(succeeded(replayed));
  EXPECT_EQ(read(*replayed->file, kTarget, 1)[0], std::byte{0});
  EXPECT_EQ(read(*replayed->file, kTarget + 4096, 1)[0], std::byte{2});
  EXPECT_EQ(read(*replayed->file, kTarget + 8192, 1)[0], std::byte{3});
}

TEST(LogReplay, ManyDescriptorsMixedFindTheirData) {
  VhdxBuilder disk({.log_length = 4 * kMiB, .log_guid = kLogGuid});
  disk.regions[0].offset = 8 * kMiB;
  disk.regions[1].offset = 9 * kMiB;
  disk.resize(16 * kMiB);
  LogEntrySpec spec;
  for (std::size_t i = 0; i < 300; ++i) {
    test::LogDescriptor descriptor{.file_offset = 8 * kMiB + 4096 * i,
                                   .fill = static_cast<std::uint8_t>(i)};
    if (i % 3 == 0) descriptor.zero_length = 4096;
    spec.descriptors.push_back(descriptor);
  }
  disk.fill(8 * kMiB, 300 * 4096, 0xee);
  disk.add_log_entry(0, spec);
  const auto replayed = in_memory(disk);
  ASSERT_TRUE(succeeded(replayed));
  for (std::size_t i = 0; i < 300; ++i) {
    const auto expected = static_cast<std::byte>(i % 3 == 0 ? 0 : i);
    EXPECT_EQ(read(*replayed->file, 8 * kMiB + 4096 * i + 100, 1)[0], expected) << i;
  }
}

TEST(LogReplay, OnFileChangesFileWriteGuidClearsTheLogAndKeepsDataWriteGuid) {
  VhdxBuilder disk = disk_with_log();
  disk.add_log_entry(0, {.last_file_offset = 20 * kMiB,
                         .descriptors = {{.file_offset = kTarget, .fill = 9},
                                         {.file_offset = kTarget + 4096, .zero_length = 4096}}});
  disk.fill(kTarget, 8192, 0xee);
  const Header before = *select_header(*disk.file());
  const auto replayed = on_file(disk);
  ASSERT_TRUE(succeeded(replayed));
  const Header after = *select_header(*disk.file());
  EXPECT_EQ(replayed->header, after);
  EXPECT_TRUE(after.log_guid.is_zero());
  EXPECT_NE(after.file_write_guid, before.file_write_guid);
  EXPECT_EQ(after.data_write_guid, before.data_write_guid);
  EXPECT_EQ(disk.size(), 20 * kMiB);
  EXPECT_EQ(disk.get(kTarget + 4095, 2), (Bytes{std::byte{9}, std::byte{0}}));
  const auto slots = read_header_slots(*disk.file());
  ASSERT_TRUE(succeeded(slots));
  for (const HeaderSlot& slot : slots->slots) {
    EXPECT_EQ(slot.state, HeaderSlot::State::kValid);
    EXPECT_TRUE(slot.header.log_guid.is_zero());
  }
}

TEST(LogReplay, WhatIsWrongWithTheLogIsFoundBeforeTheFileIsWritten) {
  VhdxBuilder disk = disk_with_log();
  disk.add_log_entry(0, {.descriptors = {{.file_offset = kTarget, .fill = 9},
                                         {.file_offset = VhdxBuilder::kLogAt, .fill = 9}}});
  const Bytes before = whole(disk);
  EXPECT_TRUE(failed_with(on_file(disk), Errc::kBadLogTarget));
  EXPECT_EQ(whole(disk), before);
}

/// Passes everything to a file; the write or flush number `writes_left` fails, and all after it.
class StoppingFile final : public File {
 public:
  StoppingFile(std::shared_ptr<File> file, int steps) : file_(std::move(file)), left_(steps) {}

  Result<std::size_t> read_some_at(std::uint64_t offset, std::span<std::byte> out) override {
    return file_->read_some_at(offset, out);
  }
  Result<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    VHDXM_TRY_VOID(step());
    return file_->write_at(offset, bytes);
  }
  Result<void> sync() override { return step(); }
  Result<std::uint64_t> size() override { return file_->size(); }
  Result<void> resize(std::uint64_t size_bytes) override {
    VHDXM_TRY_VOID(step());
    return file_->resize(size_bytes);
  }
  Result<void> allocate(std::uint64_t offset, std::uint64_t length) override {
    return file_->allocate(offset, length);
  }
  Result<void> punch_hole(std::uint64_t offset, std::uint64_t length) override {
    VHDXM_TRY_VOID(step());
    return file_->punch_hole(offset, length);
  }
  Result<DataRun> next_data(std::uint64_t offset) override { return file_->next_data(offset); }
  const std::string& name() const override { return file_->name(); }

 private:
  Result<void> step() {
    if (left_-- > 0) return {};
    return Error{.code = BaseErrc::kInjected, .where = "stopped"};
  }

  const std::shared_ptr<File> file_;
  int left_;
};

TEST(LogReplay, StoppedAnywhereItLeadsToTheSameContentTheNextTime) {
  bool finished = false;
  for (int steps = 0; !finished; ++steps) {
    ASSERT_LT(steps, 100);
    VhdxBuilder disk = disk_with_log();
    disk.fill(kTarget, 3 * 4096, 0xee);
    disk.add_log_entry(0, {.last_file_offset = 20 * kMiB,
                           .descriptors = {{.file_offset = kTarget, .fill = 9},
                                           {.file_offset = kTarget + 4096, .zero_length = 4096},
                                           {.file_offset = kTarget + 8192, .fill = 7}}});
    const Guid identity = select_header(*disk.file())->data_write_guid;
    const auto stopping = std::make_shared<StoppingFile>(disk.file(), steps);
    finished = !replay_on_file(stopping, *select_header(*stopping)).has_error();

    const auto replayed = on_file(disk);
    ASSERT_TRUE(succeeded(replayed)) << steps;
    EXPECT_EQ(replayed->header.data_write_guid, identity);
    EXPECT_TRUE(replayed->header.log_guid.is_zero());
    EXPECT_EQ(disk.get(kTarget, 1)[0], std::byte{9}) << steps;
    EXPECT_EQ(disk.get(kTarget + 4096, 1)[0], std::byte{0}) << steps;
    EXPECT_EQ(disk.get(kTarget + 8192, 1)[0], std::byte{7}) << steps;
    EXPECT_EQ(disk.size(), 20 * kMiB) << steps;
  }
}

TEST(LogReplay, NoEntryMayWriteWhereNoLogMay) {
  const auto with = [](test::LogDescriptor descriptor, std::uint64_t last_file_offset = 0) {
    VhdxBuilder disk = disk_with_log();
    disk.add_log_entry(0, {.last_file_offset = last_file_offset, .descriptors = {descriptor}});
    return in_memory(disk);
  };
  EXPECT_TRUE(succeeded(with({.file_offset = 192 << 10})));  // the region tables
  EXPECT_TRUE(failed_with(with({.file_offset = (192 << 10) - 4096}), Errc::kBadLogTarget,
                          "headers, [MS-VHDX] 2.3 at byte 1048640"));
  EXPECT_TRUE(failed_with(with({.file_offset = 0, .zero_length = 4096}), Errc::kBadLogTarget));
  EXPECT_TRUE(
      failed_with(with({.file_offset = 2 * kMiB - 4096}), Errc::kBadLogTarget, "log itself"));
  EXPECT_TRUE(failed_with(with({.file_offset = 512 << 10, .zero_length = kMiB}),
                          Errc::kBadLogTarget, "log itself"));
  EXPECT_TRUE(succeeded(with({.file_offset = 512 << 10, .zero_length = 512 << 10})));
  EXPECT_TRUE(failed_with(with({.file_offset = std::uint64_t{1} << 62}), Errc::kBadLogTarget));
  EXPECT_TRUE(failed_with(with({.file_offset = 4 * kMiB, .zero_length = std::uint64_t{1} << 63}),
                          Errc::kBadLogTarget));
  EXPECT_TRUE(failed_with(with({.file_offset = 0 - std::uint64_t{4096}, .zero_length = 8192}),
                          Errc::kBadLogTarget));
  EXPECT_TRUE(failed_with(with({.file_offset = 4 * kMiB}, std::uint64_t{1} << 63),
                          Errc::kBadLogTarget, "LastFileOffset"));
  EXPECT_TRUE(succeeded(with({.file_offset = 4 * kMiB, .zero_length = 64 * kTiB})));
}

}  // namespace
}  // namespace vhdxm::vhdx
