// Each thing that a repair mends, what it leaves alone, and that it never makes anything worse.
#include "vhdx/repair.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <iostream>
#include <map>
#include <random>

#include "tests/support/damaged_image.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "tests/support/repair_oracle.h"
#include "tests/support/vhdx_builder.h"
#include "vhdx/errc.h"
#include "vhdx/layer.h"
#include "vhdx/repair_backup.h"

namespace vhdxm::vhdx {
namespace {

using test::copy_of;
using test::failed_with;
using test::random_seed;
using test::RepairVerdict;
using test::repeat_with;
using test::same_bytes;
using test::same_disk;
using test::succeeded;
using test::try_repair;
using test::VhdxBuilder;
using B = VhdxBuilder;
using Outcome = RepairVerdict::Outcome;

constexpr Guid kLogGuid = guid_literal("10910910-9109-1091-0910-910910910910");
constexpr Guid kOther = guid_literal("12345678-1234-1234-1234-123456789abc");

/// Two blocks with content.
B small_disk(B::Options options = {}) {
  B disk(std::move(options));
  disk.add_block(1, 0x11);
  disk.add_block(4, 0x44);
  return disk;
}

B child_disk() {
  B disk({.locator = {{{"parent_linkage", test::braced(kOther)}, {"relative_path", "p.vhdx"}}}});
  disk.add_bitmap(0);
  disk.set_bits(2048, 2051);
  disk.add_block(1, 0x11, 7);
  return disk;
}

B dirty_disk() {
  B disk = small_disk({.log_guid = kLogGuid});
  disk.add_log_entry(
      0, {.sequence_number = 5,
          .flushed_file_offset = disk.size(),
          .last_file_offset = disk.size() + 2 * kMiB,
          .descriptors = {{.file_offset = B::kBatAt, .sector = disk.get(B::kBatAt, 4096)},
                          {.file_offset = B::kBatAt + 8192, .zero_length = 4096}}});
  disk.fill(B::kBatAt, 4096, 0xee);
  return disk;
}

struct Case {
  const char* name;
  const char* rule;
  const char* text;
  std::function<B()> make;
};

std::function<B()> small(std::function<void(B&)> change) {
  return [change] {
    B disk = small_disk();
    change(disk);
    return disk;
  };
}

std::function<B()> child(std::function<void(B&)> change) {
  return [change] {
    B disk = child_disk();
    change(disk);
    return disk;
  };
}

const std::vector<Case>& mendable() {
  static const std::vector<Case> all = {
      {"header 1 torn", "2.2.2", "header 1 was not valid",
       small([](B& b) { b.fill(B::kHeaderAt[0] + 512, 512, 0xaa); })},
      {"header 2 torn", "2.2.2", "header 2 was not valid",
       small([](B& b) { b.put8(B::kHeaderAt[1] + B::kHeaderSequence, 99); })},
      {"header 1 gone", "2.2.2", "header 1 was not valid",
       small([](B& b) { b.fill(B::kHeaderAt[0], 65536, 0); })},
      {"equal headers", "2.2.2", "one sequence number",
       small([](B& b) { b.put_header64(B::kHeaderSequence, 5); })},
      {"ambiguous headers", "2.2.2", "one sequence number", small([](B& b) {
         b.put_header64(B::kHeaderSequence, 5);
         b.put_guid(B::kHeaderAt[0] + B::kHeaderFileWriteGuid, kOther);
         b.seal_header(0);
       })},
      {"reserved bytes of a header", "2.2.2", "reserved bytes of header 2", small([](B& b) {
         b.put8(B::kHeaderAt[1] + 3000, 1);
         b.seal_header(1);
       })},
      {"log not applied", "2.3.3", "the log was replayed", dirty_disk},
      {"log and header", "2.3.3", "the log was replayed",
       [] {
         B b = dirty_disk();
         b.fill(B::kHeaderAt[0], 4096, 0x55);
         return b;
       }},
      {"region table 1 torn", "2.2.3", "region table 1 was not valid",
       small([](B& b) { b.fill(B::kRegionTableAt[0] + 4096, 512, 1); })},
      {"region table 2 gone", "2.2.3", "region table 2 was not valid",
       small([](B& b) { b.fill(B::kRegionTableAt[1], 65536, 0); })},
      {"region tables differ", "2.2.3", "region table 2 was another", small([](B& b) {
         b.put8(B::kRegionTableAt[1] + 60000, 1);
         b.seal_region_table(1);
       })},
      {"region table 2 breaks a rule", "2.2.3", "region table 2 was not valid", small([](B& b) {
         b.put64(B::kRegionTableAt[1] + 16 + 16, 12345);
         b.seal_region_table(1);
       })},
      {"orphaned space at the end", "2.1", "2097152 bytes at the end",
       small([](B& b) { b.fill(b.allocate(2 * kMiB) + 1000, 70000, 0x99); })},
      {"part of a MiB at the end", "2.1", "bytes at the end",
       small([](B& b) { b.resize(b.size() + 12345); })},
      {"fixed disk of no whole MiB", "2.1", "multiple of 1 MiB",
       [] {
         B b = small_disk({.leave_allocated = true});
         b.resize(b.size() + 512);
         return b;
       }},
      {"file that ends in its last block", "2.1", "ended inside a block",
       [] {
         B b({.virtual_size = 8 * kMiB + 512, .block_bytes = 2 << 20});
         b.add_block(4, 0x77);
         b.resize(b.size() - 2 * kMiB + 512);
         return b;
       }},
      {"NOT_PRESENT with an offset", "2.5.1.1", "FileOffsetMB fields of NOT_PRESENT",
       small([](B& b) {
         b.set_block(0, 77 * kMiB);
         b.set_block(2, 4 * kMiB);
       })},
      {"ZERO with an offset", "2.5.1.1", "FileOffsetMB fields of ZERO",
       small([](B& b) { b.set_block(0, 4 * kMiB | 2); })},
      {"reserved bits of absent blocks", "2.5.1", "reserved bits",
       small([](B& b) { b.set_block(0, 0x80 | 3); })},
      {"place kept beyond the file", "2.5.1.1", "places kept by absent blocks",
       small([](B& b) { b.set_block(0, 900 * kMiB | 3); })},
      {"place kept in another's", "2.5.1.1", "places kept by absent blocks",
       small([](B& b) { b.set_block(0, 4 * kMiB | 1); })},
      {"bitmap in a disk without parent", "2.5.1.2", "sector bitmap entries",
       [] {
         B b({.virtual_size = 5 * kGiB, .block_bytes = 1 << 20});
         b.add_block(0, 0x10);
         b.set_entry(b.bitmap_index(0), 4 * kMiB | 6);
         return b;
       }},
      {"entries past the end", "2.5", "past the last block",
       child([](B& b) { b.set_block(8, 4 * kMiB | 6); })},
      {"child with everything", "2.2.3", "region table 1 was not valid", child([](B& b) {
         b.fill(B::kRegionTableAt[0], 4096, 3);
         b.fill(B::kHeaderAt[1], 4096, 3);
         b.set_block(5, 9 * kMiB);
         b.set_block(9, 1);
         b.allocate(3 * kMiB);
       })},
      {"unmapped block at the end keeps its place", "2.2.2", "header 1", small([](B& b) {
         b.set_block(0, b.allocate(kMiB) | 3);
         b.fill(B::kHeaderAt[0], 4096, 0);
       })},
  };
  return all;
}

std::string text_of(const RepairPlan& plan) {
  std::string text;
  for (const Mend& mend : plan.mends) text += mend.what + " (" + mend.rule + ")\n";
  if (plan.obstacle) text += "obstacle: " + describe(*plan.obstacle);
  return text;
}

TEST(Repair, MendsEachThingAndSaysSo) {
  for (const Case& one : mendable()) {
    SCOPED_TRACE(one.name);
    const B disk = one.make();
    const auto plan = plan_repair(disk.file());
    ASSERT_TRUE(succeeded(plan));
    SCOPED_TRACE(text_of(*plan));
    const bool said = std::any_of(plan->mends.begin(), plan->mends.end(), [&](const Mend& mend) {
      return mend.rule == std::string("[MS-VHDX] ") + one.rule &&
             mend.what.find(one.text) != std::string::npos && mend.offset < 2 * kGiB;
    });
    EXPECT_TRUE(said);
    const RepairVerdict verdict = try_repair(disk.file());
    EXPECT_EQ(verdict.outcome, Outcome::kMended);
    EXPECT_EQ(verdict.broken, "");
  }
}

TEST(Repair, OfWhatCannotBeReadLeadsToTheDiskAsItWas) {
  // Which of two headers is current is the one thing that keeps a disk from being read and can be
  // mended all the same: when both say the same about the content.
  B disk = small_disk();
  disk.put_header64(B::kHeaderSequence, 5);
  disk.put_guid(B::kHeaderAt[0] + B::kHeaderFileWriteGuid, kOther);
  disk.seal_header(0);
  ASSERT_TRUE(
      failed_with(Layer::open(disk.file(), Layer::Replay::kInMemory), Errc::kAmbiguousHeaders));
  const auto plan = plan_repair(disk.file());
  ASSERT_TRUE(succeeded(plan));
  ASSERT_TRUE(succeeded(plan->apply(*disk.file())));
  EXPECT_TRUE(same_disk(disk.file(), small_disk().file()));
}

TEST(Repair, LeavesASoundFileAlone) {
  for (const B& disk : {small_disk(), child_disk()}) {
    const auto plan = plan_repair(disk.file());
    ASSERT_TRUE(succeeded(plan));
    EXPECT_EQ(text_of(*plan), "");
  }
}

TEST(Repair, LeavesAloneWhatItWouldHaveToGuess) {
  const std::vector<std::function<void(B&)>> damages = {
      [](B& b) { b.put8(0, 'V'); },
      [](B& b) {
        for (const auto at : B::kHeaderAt) b.put8(at + 9, 1);
      },
      [](B& b) {  // Which content is the disk's?
        b.put_header64(B::kHeaderSequence, 5);
        b.put_guid(B::kHeaderAt[0] + B::kHeaderDataWriteGuid, kOther);
        b.seal_header(0);
      },
      [](B& b) { b.put_header_guid(B::kHeaderLogGuid, kOther); },
      [](B& b) {
        for (const auto at : B::kRegionTableAt) b.put8(at + 4, 1);
      },
      [](B& b) {  // A whole first table counts, whatever the second says.
        b.put64(B::kRegionTableAt[0] + 16 + 16, 12345);
        b.seal_region_table(0);
      },
      [](B& b) { b.set_block(2, 4 * kMiB | 6); },
      [](B& b) { b.set_block(2, 900 * kMiB | 6); },
      [](B& b) { b.set_block(2, 4); },
      [](B& b) { b.resize(b.size() - kMiB); },
      [](B& b) { b.put8(B::kMetadataAt, 0); },
  };
  for (std::size_t i = 0; i < damages.size(); ++i) {
    SCOPED_TRACE(i);
    B disk = small_disk();
    damages[i](disk);
    const auto plan = plan_repair(disk.file());
    ASSERT_TRUE(succeeded(plan));
    ASSERT_TRUE(plan->obstacle);
    EXPECT_NE(describe(*plan->obstacle), "");
    const RepairVerdict verdict = try_repair(disk.file());
    EXPECT_EQ(verdict.outcome, Outcome::kRefused);
    EXPECT_EQ(verdict.broken, "");
  }
}

TEST(Repair, DoesNotRaiseASequenceNumberPastTheLast) {
  B disk = small_disk();
  disk.put_header64(B::kHeaderSequence, ~std::uint64_t{0});
  const auto plan = plan_repair(disk.file());
  ASSERT_TRUE(succeeded(plan));
  ASSERT_TRUE(plan->obstacle);
  EXPECT_EQ(plan->obstacle->code, Errc::kSequenceExhausted);
}

TEST(Repair, KeepsTheRoomOfAFixedDisk) {
  // Full allocation: header section, log, two regions and 8 blocks. Two blocks are there.
  B disk = small_disk({.leave_allocated = true});
  disk.resize(30 * kMiB);
  const auto plan = plan_repair(disk.file());
  ASSERT_TRUE(succeeded(plan));
  ASSERT_EQ(plan->mends.size(), 1U) << text_of(*plan);
  EXPECT_EQ(*plan->rehearsal->size(), 12 * kMiB);
}

TEST(Repair, KeepsUnknownRegionsAndPlacesAtTheEnd) {
  B disk = small_disk();
  const std::uint64_t region = disk.allocate(kMiB);
  disk.regions.push_back({kOther, region, kMiB, 0});
  disk.write_regions();
  disk.allocate(5 * kMiB);
  const auto plan = plan_repair(disk.file());
  ASSERT_TRUE(succeeded(plan));
  EXPECT_EQ(*plan->rehearsal->size(), region + kMiB) << text_of(*plan);
}

TEST(Repair, KeepsTheIdentityOfTheContent) {
  B disk = dirty_disk();
  disk.fill(B::kHeaderAt[0], 4096, 0x55);
  const auto plan = plan_repair(disk.file());
  ASSERT_TRUE(succeeded(plan));
  ASSERT_TRUE(succeeded(plan->apply(*disk.file())));
  const auto header = select_header(*disk.file());
  ASSERT_TRUE(succeeded(header));
  EXPECT_EQ(header->data_write_guid, B::Options{}.data_write_guid);
  EXPECT_EQ(header->file_write_guid, plan->file_write_guid);
  EXPECT_TRUE(header->log_guid.is_zero());
}

TEST(Repair, TakesMoreBatSectorsThanOneLogEntryHolds) {
  // 4 GiB / 1 MiB: 4096 entries would be 8 sectors; 2 TiB makes 4100 of them.
  B disk({.virtual_size = 2 * kTiB, .block_bytes = 1 << 20});
  disk.add_block(5, 0x55);
  for (std::uint64_t index = 0; index < disk.bat_entries(); index += 512) {
    if (index != disk.payload_index(5)) disk.set_entry(index, 77 * kMiB);
  }
  const auto plan = plan_repair(disk.file());
  ASSERT_TRUE(succeeded(plan));
  ASSERT_FALSE(plan->mends.empty()) << text_of(*plan);
  ASSERT_TRUE(succeeded(plan->apply(*disk.file())));
  std::uint64_t left = 0;
  for (std::uint64_t index = 0; index < disk.bat_entries(); index += 512) {
    if (load_raw<Le64>(disk.get(disk.bat_entry_at(index), 8).data()) != 0) ++left;
  }
  EXPECT_LE(left, disk.bat_entries() / 512 + 1 - 4096);
}

TEST(Repair, OfAnyDamagedImageMendsOrLeavesItAsItIs) {
  const std::uint64_t seed = random_seed();
  SCOPED_TRACE(repeat_with(seed));
  std::mt19937_64 random(seed);
  std::map<Outcome, int> outcomes;
  std::vector<std::byte> input;
  constexpr int kImages = 600;
  const int images = test::rounds(kImages);
  for (int i = 0; i < images; ++i) {
    input.assign(2, std::byte{0});
    input[0] = static_cast<std::byte>(random());
    if (random() % 4 == 0) input[1] = std::byte{1};
    const bool by_byte = random() % 2 == 0;
    if (by_byte) input.resize(1);
    for (std::uint64_t patches = random() % 4; patches != 0; --patches) {
      const std::size_t bytes = by_byte ? 4 : 5 + 1 + random() % 12;
      const std::size_t at = input.size();
      input.resize(at + bytes);
      for (std::size_t j = at; j < input.size(); ++j) input[j] = static_cast<std::byte>(random());
      if (by_byte) continue;
      input[at + 1] = static_cast<std::byte>(bytes - 6);
      // Small offsets hit fields; the file's size has a place of its own, of up to 64 GiB.
      if (random() % 2 == 0) input[at + 3] = input[at + 4] = std::byte{0};
    }
    const B disk = by_byte ? test::byte_patched_image(input) : test::patched_image(input);
    const RepairVerdict verdict = try_repair(disk.file());
    ++outcomes[verdict.outcome];
    ASSERT_EQ(verdict.broken, "") << "image " << i;
  }
  std::cout << outcomes[Outcome::kNothingToDo] << " images had nothing to mend, "
            << outcomes[Outcome::kMended] << " were mended, " << outcomes[Outcome::kRefused]
            << " left as they were\n";
  const int least = images == kImages ? 20 : 1;
  EXPECT_GT(outcomes[Outcome::kMended], least);
  EXPECT_GT(outcomes[Outcome::kRefused], least);
}

class Backup : public testing::Test {
 protected:
  Backup() {
    disk_.fill(B::kHeaderAt[0], 4096, 0x55);
    disk_.fill(disk_.allocate(3 * kMiB) + kMiB, 10000, 0x66);
    original_ = copy_of(*disk_.file());
    plan_ = plan_repair(disk_.file()).value();
    EXPECT_FALSE(plan_.mends.empty());
    EXPECT_TRUE(succeeded(write_repair_backup(plan_, backup_)));
    EXPECT_TRUE(succeeded(plan_.apply(*disk_.file())));
  }

  B disk_ = small_disk();
  std::shared_ptr<MemoryFile> original_;
  RepairPlan plan_;
  MemoryFile backup_;
};

TEST_F(Backup, HoldsOnlyWhatIsLost) {
  EXPECT_LT(*backup_.size(), 64 * kKiB);  // headers and 10000 bytes of 3 MiB
}

TEST_F(Backup, OfAnyDamageIsNotUsed) {
  const auto repaired = copy_of(*disk_.file());
  const auto whole = copy_of(backup_);
  for (std::uint64_t at = 0; at < *whole->size(); at += at < 256 ? 1 : 97) {
    const auto broken = copy_of(*whole);
    std::array<std::byte, 1> byte{};
    ASSERT_TRUE(succeeded(broken->read_some_at(at, byte)));
    byte[0] ^= std::byte{0x10};
    ASSERT_TRUE(succeeded(broken->write_at(at, byte)));
    ASSERT_TRUE(failed_with(undo_repair(*disk_.file(), *broken), Errc::kBadBackup)) << at;
  }
  for (const std::uint64_t size :
       {std::uint64_t{0}, std::uint64_t{127}, *whole->size() - 1, *whole->size() + 1}) {
    const auto cut = copy_of(*whole);
    ASSERT_TRUE(succeeded(cut->resize(size)));
    ASSERT_TRUE(failed_with(undo_repair(*disk_.file(), *cut), Errc::kBadBackup)) << size;
  }
  EXPECT_TRUE(same_bytes(*disk_.file(), *repaired));
}

TEST_F(Backup, IsNotUsedOnADiskThatWasWrittenSince) {
  Header header = select_header(*disk_.file()).value();
  header.file_write_guid = kOther;
  ASSERT_TRUE(succeeded(update_headers(*disk_.file(), header)));
  const auto written = copy_of(*disk_.file());
  EXPECT_TRUE(failed_with(undo_repair(*disk_.file(), backup_), Errc::kBackupMismatch));
  EXPECT_TRUE(same_bytes(*disk_.file(), *written));
}

TEST_F(Backup, IsNotUsedOnAnotherDisk) {
  B other = small_disk();
  for (const int slot : {0, 1}) {
    other.put_guid(B::kHeaderAt[slot] + B::kHeaderFileWriteGuid, kOther);
    other.seal_header(slot);
  }
  EXPECT_TRUE(failed_with(undo_repair(*other.file(), backup_), Errc::kBackupMismatch));
}

TEST_F(Backup, MayBeUsedTwice) {
  ASSERT_TRUE(succeeded(undo_repair(*disk_.file(), backup_)));
  EXPECT_TRUE(same_bytes(*disk_.file(), *original_));
  ASSERT_TRUE(succeeded(undo_repair(*disk_.file(), backup_)));
  EXPECT_TRUE(same_bytes(*disk_.file(), *original_));
}

}  // namespace
}  // namespace vhdxm::vhdx
