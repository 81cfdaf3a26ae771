// Every rule that check() knows, broken one at a time, and what it says about files that keep them.
#include "vhdx/check.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <string>

#include "base/memory_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/model_disk.h"
#include "tests/support/random_seed.h"
#include "tests/support/vhdx_builder.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/layer.h"

namespace vhdxm::vhdx {
namespace {

using test::LogDescriptor;
using test::LogEntrySpec;
using test::ModelDisk;
using test::succeeded;
using test::VhdxBuilder;
using Severity = Finding::Severity;

std::string text_of(const CheckReport& report) {
  std::string text;
  for (const Finding& finding : report.findings) {
    constexpr std::array kNames = {"note", "warning", "corrupt"};
    text += std::string(kNames[static_cast<std::size_t>(finding.severity)]) + ": " + finding.what +
            " (" + finding.rule + ") at " + std::to_string(finding.offset) + "\n";
  }
  return text + std::to_string(report.suppressed) + " suppressed\n";
}

CheckReport report_of(const std::shared_ptr<File>& file) {
  auto report = check(file);
  EXPECT_TRUE(succeeded(report));
  return report.has_error() ? CheckReport{} : *report;
}

VhdxBuilder child_of_nothing() {
  VhdxBuilder::Options options;
  options.locator = {{"parent_linkage", test::braced(Guid::random())},
                     {"relative_path", ".\\parent.vhdx"}};
  return VhdxBuilder(options);
}

VhdxBuilder fixed_disk() {
  VhdxBuilder::Options options;
  options.leave_allocated = true;
  return VhdxBuilder(options);
}

VhdxBuilder disk_with_log() {
  VhdxBuilder::Options options;
  options.log_guid = guid_literal("01020304-0000-0000-0000-000000000000");
  return VhdxBuilder(options);
}

struct Case {
  const char* name;
  Severity severity;
  const char* rule;
  const char* text;
  std::uint64_t offset;
  std::function<VhdxBuilder()> make;
};

constexpr std::uint64_t kAnywhere = ~std::uint64_t{1};

/// A dynamic disk that `change` was done to.
std::function<VhdxBuilder()> dynamic(std::function<void(VhdxBuilder&)> change) {
  return [change] {
    VhdxBuilder builder;
    builder.add_block(1, 0x11);
    change(builder);
    return builder;
  };
}

std::function<VhdxBuilder()> child(std::function<void(VhdxBuilder&)> change) {
  return [change] {
    VhdxBuilder builder = child_of_nothing();
    change(builder);
    return builder;
  };
}

using B = VhdxBuilder;
constexpr std::uint64_t kMetadata = B::kMetadataAt;
constexpr std::uint64_t kBat = B::kBatAt;

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"signature", Severity::kCorrupt, "2.2.1", "vhdxfile", 0,
       dynamic([](B& b) { b.put8(0, 'V'); })},
      {"one header broken", Severity::kWarning, "2.2.2", "header 1 does not have the checksum",
       B::kHeaderAt[0], dynamic([](B& b) { b.put8(B::kHeaderAt[0] + 9, 1); })},
      {"one header gone", Severity::kWarning, "2.2.2", "header 2 has no signature", B::kHeaderAt[1],
       dynamic([](B& b) { b.fill(B::kHeaderAt[1], 4096, 0); })},
      {"both headers broken", Severity::kCorrupt, "2.2.2", "header 2 does not have the checksum",
       B::kHeaderAt[1], dynamic([](B& b) {
         b.put8(B::kHeaderAt[0] + 9, 1);
         b.put8(B::kHeaderAt[1] + 9, 1);
       })},
      {"equal sequence numbers", Severity::kCorrupt, "2.2.2", "SequenceNumber", kAnywhere,
       dynamic([](B& b) {
         b.put_header64(B::kHeaderSequence, 5);
         b.put_guid(B::kHeaderAt[0] + B::kHeaderFileWriteGuid, Guid::random());
         b.seal_header(0);
       })},
      {"equal headers", Severity::kNote, "2.2.2", "Disk2vhd", B::kHeaderAt[1],
       dynamic([](B& b) { b.put_header64(B::kHeaderSequence, 5); })},
      {"two DataWriteGuids", Severity::kNote, "2.2.2", "DataWriteGuid", B::kHeaderAt[1],
       dynamic([](B& b) {
         b.put_guid(B::kHeaderAt[0] + B::kHeaderDataWriteGuid, Guid::random());
         b.seal_header(0);
       })},
      {"reserved bytes of a header", Severity::kWarning, "2.2.2", "reserved bytes of header 1",
       B::kHeaderAt[0] + 80, dynamic([](B& b) {
         b.put8(B::kHeaderAt[0] + 4000, 1);
         b.seal_header(0);
       })},
      {"version", Severity::kCorrupt, "2.2.2", "Version", kAnywhere,
       dynamic([](B& b) { b.put_header16(B::kHeaderVersion, 2); })},
      {"log place", Severity::kCorrupt, "2.2.2", "LogOffset", kAnywhere,
       dynamic([](B& b) { b.put_header64(B::kHeaderLogOffset, 4096); })},
      {"log over the metadata", Severity::kCorrupt, "2.2.3.2", "the metadata region overlaps the log",
       kMetadata, dynamic([](B& b) { b.put_header32(B::kHeaderLogLength, 2 << 20); })},
      {"log beyond the file", Severity::kWarning, "2.2.2", "the log at", 100 * kMiB,
       dynamic([](B& b) { b.put_header64(B::kHeaderLogOffset, 100 * kMiB); })},
      {"no log sequence", Severity::kCorrupt, "2.3.3", "", kAnywhere,
       dynamic([](B& b) { b.put_header_guid(B::kHeaderLogGuid, Guid::random()); })},
      {"dirty log", Severity::kNote, "2.3.3", "1 entries that are not applied yet", B::kLogAt,
       [] {
         B b = disk_with_log();
         LogEntrySpec entry;
         entry.flushed_file_offset = b.size();
         entry.last_file_offset = b.size();
         b.add_log_entry(0, entry);
         return b;
       }},

      {"log entry offsets", Severity::kWarning, "2.3.1.1", "no multiple of 1 MiB", B::kLogAt + 48,
       [] {
         B b = disk_with_log();
         b.add_log_entry(0, {.flushed_file_offset = 4096, .last_file_offset = b.size()});
         return b;
       }},
      {"log entry of odd size", Severity::kWarning, "2.3.1.1", "LastFileOffset of the log entry 1",
       B::kLogAt + 56, [] {
         B b = disk_with_log();
         b.add_log_entry(0, {.flushed_file_offset = b.size(), .last_file_offset = b.size() - 512});
         return b;
       }},
      {"log entry reserved", Severity::kWarning, "2.3.1.1", "reserved bytes of the log entry 1",
       B::kLogAt + 28, [] {
         B b = disk_with_log();
         LogEntrySpec spec;
         spec.log_guid = guid_literal("01020304-0000-0000-0000-000000000000");
         std::vector<std::byte> entry = test::encode_log_entry(spec);
         entry[28] = std::byte{1};
         test::seal_log_entry(entry);
         b.put_log(0, entry);
         return b;
       }},
      {"zero identities", Severity::kNote, "2.2.2", "DataWriteGuid is zero", B::kHeaderAt[1] + 16,
       dynamic([](B& b) { b.put_header_guid(B::kHeaderDataWriteGuid, Guid{}); })},
      {"log version of no log", Severity::kNote, "2.2.2", "LogVersion is 7", B::kHeaderAt[1] + 64,
       dynamic([](B& b) { b.put_header16(B::kHeaderLogVersion, 7); })},
      {"no log at all", Severity::kNote, "2.2.2", "no room for a log", B::kHeaderAt[1] + 68,
       dynamic([](B& b) { b.put_header32(B::kHeaderLogLength, 0); })},

      {"one region table broken", Severity::kWarning, "2.2.3.1", "region table 1 has the checksum",
       B::kRegionTableAt[0] + 4,
       dynamic([](B& b) { b.put8(B::kRegionTableAt[0] + 4, 1); })},
      {"region tables differ", Severity::kWarning, "2.2.3", "differ", B::kRegionTableAt[1],
       dynamic([](B& b) {
         b.put8(B::kRegionTableAt[1] + 60000, 1);
         b.seal_region_table(1);
       })},
      {"both region tables broken", Severity::kCorrupt, "2.2.3.1", "region table 2 has no signature",
       B::kRegionTableAt[1], dynamic([](B& b) {
         b.put8(B::kRegionTableAt[0], 1);
         b.put8(B::kRegionTableAt[1], 1);
       })},
      {"too many regions", Severity::kCorrupt, "2.2.3.1", "EntryCount of 2048",
       B::kRegionTableAt[0] + 8, dynamic([](B& b) { b.write_regions(2048); })},
      {"region not required", Severity::kNote, "2.2.3.2", "QEMU", B::kRegionTableAt[0] + 16 + 28,
       dynamic([](B& b) {
         b.regions[0].required = 0;
         b.write_regions();
       })},
      {"reserved bits of a region", Severity::kWarning, "2.2.3.2", "reserved bits set beside",
       B::kRegionTableAt[0] + 16 + 28, dynamic([](B& b) {
         b.regions[0].required = 3;
         b.write_regions();
       })},
      {"unknown region", Severity::kNote, "2.2.3.2", "optional and unknown",
       B::kRegionTableAt[0] + 16 + 64, dynamic([](B& b) {
         b.regions.push_back({Guid::random(), b.allocate(kMiB), kMiB, 0});
         b.write_regions();
       })},
      {"unknown required region", Severity::kCorrupt, "2.2.3.2", "must be understood",
       B::kRegionTableAt[0] + 16 + 64, dynamic([](B& b) {
         b.regions.push_back({Guid::random(), b.allocate(kMiB), kMiB, 1});
         b.write_regions();
       })},
      {"region twice", Severity::kCorrupt, "2.2.3.2", "stands in the table twice",
       B::kRegionTableAt[0] + 16 + 64, dynamic([](B& b) {
         b.regions.push_back(b.regions[0]);
         b.write_regions();
       })},
      {"region missing", Severity::kCorrupt, "2.2.3.2", "the BAT region is not in the table",
       B::kRegionTableAt[0], dynamic([](B& b) {
         b.regions.erase(b.regions.begin());
         b.write_regions();
       })},
      {"region not aligned", Severity::kCorrupt, "2.2.3.2", "multiples of 1 MiB",
       B::kRegionTableAt[0] + 16 + 16, dynamic([](B& b) {
         b.regions[0].offset += 4096;
         b.write_regions();
       })},
      {"region in the header section", Severity::kCorrupt, "2.2.3.2", "behind the header section",
       B::kRegionTableAt[0] + 16 + 16, dynamic([](B& b) {
         b.regions[0].offset = 0;
         b.write_regions();
       })},
      {"region that wraps", Severity::kCorrupt, "2.2.3.2", "multiples of 1 MiB",
       B::kRegionTableAt[0] + 16 + 16, dynamic([](B& b) {
         b.regions[0].offset = ~std::uint64_t{0} << 20;
         b.write_regions();
       })},
      {"regions overlap", Severity::kCorrupt, "2.2.3.2", "overlaps", kMetadata,
       dynamic([](B& b) {
         b.regions[0].offset = b.regions[1].offset;
         b.write_regions();
       })},
      {"region beyond the file", Severity::kCorrupt, "2.2.3.2", "past the end of the file",
       100 * kMiB, dynamic([](B& b) {
         b.regions[0].offset = 100 * kMiB;
         b.write_regions();
       })},

      {"metadata signature", Severity::kCorrupt, "2.6.1.1", "no signature", kMetadata,
       dynamic([](B& b) { b.put8(kMetadata, 0); })},
      {"metadata reserved", Severity::kWarning, "2.6.1.1", "reserved fields", kMetadata,
       dynamic([](B& b) { b.put8(kMetadata + 20, 1); })},
      {"metadata entry count", Severity::kCorrupt, "2.6.1.1", "EntryCount of 65535", kMetadata + 10,
       dynamic([](B& b) { b.put16(kMetadata + 10, 0xffff); })},
      {"item missing", Severity::kCorrupt, "2.6.2.3", "no item Virtual Disk ID", kMetadata,
       dynamic([](B& b) {
         b.items.erase(b.items.begin() + B::kDiskId);
         b.write_metadata();
       })},
      {"item twice", Severity::kCorrupt, "2.6.1.2", "stands in the table twice",
       B::item_entry_at(5), dynamic([](B& b) {
         b.items.push_back(b.items[B::kDiskId]);
         b.write_metadata();
       })},
      {"items overlap", Severity::kCorrupt, "2.6.1.2", "overlaps", kAnywhere, dynamic([](B& b) {
         b.items[B::kDiskSize].offset = 65536;
         b.write_metadata();
       })},
      {"item in the table", Severity::kCorrupt, "2.6.1.2", "between the table", kAnywhere,
       dynamic([](B& b) {
         b.items[B::kDiskSize].offset = 4096;
         b.write_metadata();
       })},
      {"item outside the region", Severity::kCorrupt, "2.6.1.2", "between the table", kAnywhere,
       dynamic([](B& b) { b.put32(B::item_entry_at(1) + 16, 0xfffffff8); })},
      {"item flags", Severity::kNote, "2.6.2", "flags", B::item_entry_at(4) + 24,
       dynamic([](B& b) {
         b.items[B::kPhysicalSector].flags = 2;
         b.write_metadata();
       })},
      {"item reserved bits", Severity::kWarning, "2.6.1.2", "reserved bits",
       B::item_entry_at(4) + 24, dynamic([](B& b) {
         b.items[B::kPhysicalSector].flags |= 0x100;
         b.write_metadata();
       })},
      {"item length", Severity::kCorrupt, "2.6.2.2", "has 7 bytes instead of 8", kAnywhere,
       dynamic([](B& b) {
         b.items[B::kDiskSize].length = 7;
         b.write_metadata();
       })},
      {"physical sector size of 8 bytes", Severity::kWarning, "2.6.2.5",
       "has 8 bytes instead of 4", kAnywhere, dynamic([](B& b) {
         b.items[B::kPhysicalSector].content.resize(8);
         b.write_metadata();
       })},
      {"unknown item", Severity::kNote, "2.6.1.2", "optional and unknown", B::item_entry_at(5),
       dynamic([](B& b) {
         b.items.push_back({.id = Guid::random(), .flags = 2, .content = {std::byte{1}}});
         b.write_metadata();
       })},
      {"unknown required item", Severity::kCorrupt, "2.6.1.2", "must be understood",
       B::item_entry_at(5), dynamic([](B& b) {
         b.items.push_back({.id = Guid::random(), .flags = 4, .content = {std::byte{1}}});
         b.write_metadata();
       })},
      {"empty item with a place", Severity::kCorrupt, "2.6.1.2", "is empty, but its Offset is",
       B::item_entry_at(5) + 16, dynamic([](B& b) {
         b.items.push_back({.id = Guid::random(), .flags = 2, .content = {}});
         b.write_metadata();
         b.put32(B::item_entry_at(5) + 16, 70000);
       })},
      {"incomplete file", Severity::kCorrupt, "", "not finished", B::item_entry_at(5),
       dynamic([](B& b) {
         b.items.push_back({.id = guid_literal("71cc85f0-1b69-4e28-9558-c3bf83ae75d3"),
                            .flags = 0,
                            .content = {std::byte{1}}});
         b.write_metadata();
       })},
      {"file parameters reserved", Severity::kWarning, "2.6.2.1", "reserved bits", kAnywhere,
       dynamic([](B& b) {
         b.items[B::kFileParameters].content[4] |= std::byte{8};
         b.write_metadata();
       })},
      {"block size", Severity::kCorrupt, "2.6.2.1", "BlockSize", kAnywhere, dynamic([](B& b) {
         b.items[B::kFileParameters].content[2] = std::byte{0x30};
         b.write_metadata();
       })},
      {"sector size", Severity::kCorrupt, "2.6.2.4", "LogicalSectorSize", kAnywhere,
       dynamic([](B& b) {
         b.items[B::kLogicalSector].content[1] = std::byte{0};
         b.write_metadata();
       })},
      {"disk size", Severity::kCorrupt, "2.6.2.2", "VirtualDiskSize", kAnywhere, dynamic([](B& b) {
         b.items[B::kDiskSize].content[7] = std::byte{0x7f};
         b.write_metadata();
       })},

      {"locator without parent", Severity::kWarning, "2.6.2.6", "has no parent", kAnywhere,
       child([](B& b) {
         b.items[B::kFileParameters].content[4] = std::byte{0};
         b.write_metadata();
       })},
      {"parent without locator", Severity::kCorrupt, "2.6.2.6", "no parent locator", kMetadata,
       child([](B& b) {
         b.items.pop_back();
         b.write_metadata();
       })},
      {"locator that cannot be parsed", Severity::kCorrupt, "2.6.2.6.1", "KeyValueCount", kAnywhere,
       child([](B& b) {
         b.items[B::kLocator].content.resize(25);
         b.write_metadata();
       })},
      {"locator without linkage", Severity::kCorrupt, "2.6.2.6.3", "parent_linkage", kAnywhere,
       child([](B& b) {
         b.items[B::kLocator].content = test::encode_locator({{"relative_path", "x"}});
         b.write_metadata();
       })},
      {"locator without path", Severity::kCorrupt, "2.6.2.6.3", "no path", kAnywhere,
       child([](B& b) {
         b.items[B::kLocator].content =
             test::encode_locator({{"parent_linkage", test::braced(Guid::random())}});
         b.write_metadata();
       })},
      {"locator of Windows", Severity::kNote, "2.6.2.6.3", "parent_linkage2 is zero", kAnywhere,
       child([](B& b) {
         b.items[B::kLocator].content =
             test::encode_locator({{"parent_linkage", test::braced(Guid::random())},
                                   {"parent_linkage2", test::braced(Guid{})},
                                   {"absolute_win32_path", "C:\\parent.vhdx"}});
         b.write_metadata();
       })},

      {"locator reserved", Severity::kWarning, "2.6.2.6.1", "reserved field of the parent locator",
       kAnywhere, child([](B& b) {
         b.items[B::kLocator].content[16] = std::byte{1};
         b.write_metadata();
       })},
      {"paths of the wrong kinds", Severity::kNote, "2.6.2.6.3", "volume_path does not begin",
       kAnywhere, child([](B& b) {
         b.items[B::kLocator].content =
             test::encode_locator({{"parent_linkage", test::braced(Guid::random())},
                                   {"relative_path", "C:\\p.vhdx"},
                                   {"volume_path", "\\\\?\\c:\\p.vhdx"}});
         b.write_metadata();
       })},
      {"relative path that is none", Severity::kNote, "2.6.2.6.3", "is not relative", kAnywhere,
       child([](B& b) {
         b.items[B::kLocator].content =
             test::encode_locator({{"parent_linkage", test::braced(Guid::random())},
                                   {"relative_path", "\\\\server\\p.vhdx"}});
         b.write_metadata();
       })},
      {"unknown key of a locator", Severity::kNote, "2.6.2.6.3", "unknown key, Relative_Path",
       kAnywhere, child([](B& b) {
         b.items[B::kLocator].content =
             test::encode_locator({{"parent_linkage", test::braced(Guid::random())},
                                   {"relative_path", "p"},
                                   {"Relative_Path", "q"}});
         b.write_metadata();
       })},
      {"item without an identity", Severity::kNote, "2.6.1.2", "ItemId is zero",
       B::item_entry_at(5), dynamic([](B& b) {
         b.items.push_back({.id = Guid{}, .flags = 1, .content = {std::byte{1}}});
         b.write_metadata();
       })},
      {"physical sectors smaller than logical ones", Severity::kNote, "2.6.2.5", "smaller",
       kAnywhere, [] {
         return B({.logical_sector = 4096, .physical_sector = 512});
       }},

      {"BAT too small", Severity::kCorrupt, "2.5", "room for", kBat, dynamic([](B& b) {
         b.items[B::kDiskSize].content[5] = std::byte{1};  // 1 TiB
         b.write_metadata();
       })},
      {"block state 4", Severity::kCorrupt, "2.5.1.1", "payload block 3 has the state 4",
       kBat + 3 * 8, dynamic([](B& b) { b.set_block(3, 4); })},
      {"block state 5", Severity::kNote, "2.5.1.1", "blocks of state 5", kBat + 3 * 8,
       dynamic([](B& b) { b.set_block(3, 5); })},
      {"partial without parent", Severity::kCorrupt, "2.5.1.1", "PARTIALLY_PRESENT in a disk",
       kBat + 3 * 8, dynamic([](B& b) { b.add_block(3, 0, 7); })},
      {"reserved bits of a block", Severity::kCorrupt, "2.5.1", "reserved bits", kBat + 3 * 8,
       dynamic([](B& b) { b.set_block(3, b.add_block(3, 0) | 6 | 8); })},
      {"reserved bits of an absent block", Severity::kWarning, "2.5.1", "reserved bits set: 1",
       kBat + 3 * 8, dynamic([](B& b) { b.set_block(3, 8); })},
      {"block in the header section", Severity::kCorrupt, "2.5.1", "with the header section",
       kBat + 3 * 8, dynamic([](B& b) { b.set_block(3, 6); })},
      {"block in the BAT", Severity::kCorrupt, "2.5.1", "with the BAT region", kBat + 3 * 8,
       dynamic([](B& b) { b.set_block(3, kBat | 6); })},
      {"two blocks at one place", Severity::kCorrupt, "2.5.1", "with payload block 1", kBat + 3 * 8,
       dynamic([](B& b) { b.set_block(3, b.add_block(1, 0) | 6); })},
      {"block beyond the file", Severity::kCorrupt, "2.5.1", "beyond the end of the file",
       kBat + 3 * 8, dynamic([](B& b) { b.set_block(3, 100 * kMiB | 6); })},
      {"block far beyond", Severity::kCorrupt, "2.5.1", "beyond the end of the file", kBat + 3 * 8,
       dynamic([](B& b) { b.set_block(3, ~std::uint64_t{0} << 20 | 6); })},
      {"zero block with a place", Severity::kWarning, "2.5.1.1", "Hyper-V refuses", kBat + 3 * 8,
       dynamic([](B& b) { b.set_block(3, 5 * kMiB | 2); })},
      {"absent block with a place", Severity::kNote, "2.5.1.1", "NOT_PRESENT blocks with",
       kBat + 3 * 8, dynamic([](B& b) { b.set_block(3, 5 * kMiB); })},
      {"anchor", Severity::kNote, "2.5.1.1", "keep their place", kBat + 3 * 8,
       dynamic([](B& b) { b.set_block(3, b.allocate(kMiB) | 3); })},
      {"anchor in another block", Severity::kWarning, "2.5.1", "which another object has",
       kBat + 3 * 8, dynamic([](B& b) { b.set_block(3, b.add_block(1, 0) | 3); })},
      {"anchor beyond the file", Severity::kWarning, "2.5.1", "keeps a place at", kBat + 3 * 8,
       dynamic([](B& b) { b.set_block(3, ~std::uint64_t{0} << 20 | 3); })},
      {"space lost", Severity::kNote, "2.1", "2097152 bytes of the file belong to no object",
       kAnywhere, dynamic([](B& b) { b.allocate(2 * kMiB); })},
      {"file length", Severity::kNote, "2.1", "no multiple of 1 MiB", Error::kNoOffset,
       dynamic([](B& b) { b.resize(b.size() + 512); })},
      {"block of a fixed disk absent", Severity::kNote, "2.5.1.1", "fixed disk", kBat, [] {
         return fixed_disk();
       }},
      {"last block cut", Severity::kNote, "2.5.1", "QEMU", kAnywhere, [] {
         B::Options options;
         options.virtual_size = 3 * kMiB + 512;
         options.block_bytes = 2 << 20;
         B b(options);
         b.add_block(1, 1);
         b.resize(b.size() - kMiB + 512);
         return b;
       }},

      {"bitmap without parent", Severity::kWarning, "2.5.1.2", "in a disk without a parent",
       kAnywhere, [] {
         B::Options options;
         options.virtual_size = 5 * kGiB;
         B b(options);
         b.set_entry(b.bitmap_index(0), b.allocate(kMiB) | 6);
         return b;
       }},
      {"partial without bitmap", Severity::kCorrupt, "2.5.1.2", "chunk 0 has no sector bitmap",
       kBat + 3 * 8, child([](B& b) { b.add_block(3, 1, 7); })},
      {"bitmap state", Severity::kCorrupt, "2.5.1.2", "has the state 3", kAnywhere,
       child([](B& b) { b.set_entry(b.bitmap_index(0), 3); })},
      {"bitmap over a block", Severity::kCorrupt, "2.5.1", "with payload block 3", kAnywhere,
       child([](B& b) { b.set_entry(b.bitmap_index(0), b.add_block(3, 1) | 6); })},
      {"bitmap beyond the file", Severity::kCorrupt, "2.5.1", "beyond the end of the file",
       kAnywhere, child([](B& b) { b.set_entry(b.bitmap_index(0), 100 * kMiB | 6); })},
      {"bits past the end", Severity::kNote, "2.4", "Windows", kAnywhere, child([](B& b) {
         b.add_block(3, 1, 7);
         const std::uint64_t bitmap = b.add_bitmap(0);
         b.set_bits(6144, 6145);
         b.fill(bitmap + 2048, 2048, 0xff);
       })},
      {"bits of an absent block", Severity::kNote, "2.4", "bits in the sector bitmap are not zero: 1",
       kAnywhere, child([](B& b) {
         b.add_block(3, 1, 7);
         b.add_bitmap(0);
         b.set_bits(6144, 6145);
         b.set_bits(2 * 2048 + 17, 2 * 2048 + 18);
       })},
      {"fixed disk that is too short", Severity::kNote, "2.6.2.1", "too few for all 8388608",
       Error::kNoOffset, [] { return fixed_disk(); }},
      {"entry past the last block", Severity::kNote, "2.5", "past the last block", kBat + 8 * 8,
       child([](B& b) { b.set_entry(8, 5 * kMiB | 6); })},
  };
  return all;
}

TEST(Check, SaysWhichRuleIsBrokenAndWhere) {
  for (const Case& broken : cases()) {
    SCOPED_TRACE(broken.name);
    const VhdxBuilder builder = broken.make();
    const CheckReport report = report_of(builder.file());
    const std::string rule = *broken.rule == '\0' ? "" : std::string("[MS-VHDX] ") + broken.rule;
    bool found = false;
    for (const Finding& finding : report.findings) {
      found |= finding.severity == broken.severity && finding.rule == rule &&
               finding.what.find(broken.text) != std::string::npos &&
               (broken.offset == kAnywhere || finding.offset == broken.offset);
      // What is less bad than the case's own must not come with something worse.
      EXPECT_LE(finding.severity, broken.severity) << text_of(report);
    }
    EXPECT_TRUE(found) << text_of(report);
    EXPECT_EQ(report.corrupt(), broken.severity == Severity::kCorrupt);
    // The reader and check() agree on what can be used.
    const auto layer = Layer::open(builder.file(), Layer::Replay::kInMemory);
    const bool usable = !layer.has_error() && !(*layer)->validate_bat().has_error();
    // What belongs to the parent is not the layer's business.
    if (std::string(broken.rule) != "2.6.2.6.3") {
      EXPECT_EQ(usable, !report.corrupt()) << text_of(report);
    }
  }
}

TEST(Check, HasNothingToSayAboutASoundFile) {
  VhdxBuilder dynamic_disk;
  dynamic_disk.add_block(0, 1);
  dynamic_disk.add_block(7, 2);
  dynamic_disk.set_block(3, 2);
  dynamic_disk.set_block(4, 3);
  EXPECT_TRUE(report_of(dynamic_disk.file()).findings.empty())
      << text_of(report_of(dynamic_disk.file()));
  VhdxBuilder child_disk = child_of_nothing();
  child_disk.add_bitmap(0);
  child_disk.add_block(2, 1, 7);
  child_disk.set_bits(4096, 5000);
  EXPECT_TRUE(report_of(child_disk.file()).findings.empty())
      << text_of(report_of(child_disk.file()));
}

TEST(Check, HasNothingToSayAboutWhatBulkWriterWrites) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (const DiskType type : {DiskType::kFixed, DiskType::kDynamic, DiskType::kDifferencing}) {
    for (const std::uint32_t sector : {512U, 4096U}) {
      for (const std::uint32_t block_mib : {1U, 8U, 256U}) {
        const Geometry geometry{.virtual_size_bytes = 33 * kGiB + 3 * kMiB + sector,
                                .block_bytes = static_cast<std::uint32_t>(block_mib * kMiB),
                                .logical_sector_bytes = sector,
                                .physical_sector_bytes = 4096,
                                .type = type};
        const ModelDisk disk = ModelDisk::random(geometry, random, 2 * kMiB);
        const auto file = std::make_shared<MemoryFile>();
        auto writer = BulkWriter::start(file, disk.description(), disk.plan(random), {});
        ASSERT_TRUE(succeeded(writer));
        disk.write_to(**writer, random);
        ASSERT_TRUE(succeeded((*writer)->seal()));
        for (const Finding& finding : report_of(file).findings) {
          // But for the two foreign items that the model has on purpose.
          EXPECT_NE(finding.what.find("is optional and unknown"), std::string::npos)
              << finding.what;
        }
      }
    }
  }
}

TEST(Check, GoesOnAfterAFinding) {
  VhdxBuilder builder;
  builder.put8(B::kHeaderAt[0] + 9, 1);
  builder.put8(B::kRegionTableAt[0] + 4, 1);
  builder.items[B::kPhysicalSector].flags = 2;
  builder.write_metadata();
  builder.set_block(2, 4);
  builder.set_block(5, 100 * kMiB | 6);
  const CheckReport report = report_of(builder.file());
  EXPECT_EQ(report.findings.size(), 5U) << text_of(report);
  EXPECT_TRUE(report.corrupt());
}

TEST(Check, DirtyLogIsAppliedBeforeTheRestIsLookedAt) {
  VhdxBuilder builder = disk_with_log();
  // The BAT on the file is wrong; the log puts it right.
  builder.set_block(3, 4);
  LogEntrySpec entry;
  entry.flushed_file_offset = builder.size();
  entry.last_file_offset = builder.size();
  entry.descriptors.push_back(LogDescriptor{.file_offset = kBat, .zero_length = 4096});
  builder.add_log_entry(0, entry);
  const CheckReport report = report_of(builder.file());
  EXPECT_FALSE(report.corrupt()) << text_of(report);
  ASSERT_EQ(report.findings.size(), 1U) << text_of(report);
}

TEST(Check, DoesNotChangeTheFile) {
  const auto before = [](const VhdxBuilder& b) { return b.get(0, b.size()); };
  for (const Case& broken : cases()) {
    const VhdxBuilder builder = broken.make();
    const auto old = before(builder);
    (void)check(builder.file());
    ASSERT_TRUE(old == before(builder)) << broken.name;
  }
}

TEST(Check, KeepsTheNewsThatAFileIsCorruptAmongThousandsOfFindings) {
  VhdxBuilder::Options options;
  options.virtual_size = 20 * kGiB;
  VhdxBuilder builder(options);
  const std::uint64_t place = builder.add_block(0, 1);
  for (std::uint64_t block = 1; block < 5000; ++block) builder.set_block(block, place | 3);
  builder.set_block(6000, 4);
  const CheckReport report = report_of(builder.file());
  EXPECT_EQ(report.findings.size(), kFindingsMax);
  EXPECT_GE(report.suppressed, 4000U);
  EXPECT_TRUE(report.corrupt());
}

TEST(Check, NamesTheOtherOwnerOfEveryPlace) {
  VhdxBuilder::Options options;
  options.virtual_size = 20 * kGiB;
  VhdxBuilder builder(options);
  for (std::uint64_t block = 0; block < 3000; ++block) {
    builder.set_block(block,
                      block % 2 == 0 ? builder.allocate(kMiB) | 6 : (builder.size() - kMiB) | 6);
  }
  const CheckReport report = report_of(builder.file());
  EXPECT_EQ(report.findings.size(), kFindingsMax);
  std::size_t named = 0;
  for (const Finding& finding : report.findings) {
    named += finding.what.find("with payload block ") != std::string::npos ? 1U : 0U;
  }
  EXPECT_GE(named, 500U) << text_of(report).substr(0, 1000);
}

TEST(Check, RandomDamageIsFoundOrHarmless) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < test::rounds(1000); ++round) {
    VhdxBuilder builder = random() % 2 == 0 ? VhdxBuilder() : child_of_nothing();
    builder.add_block(1, 1);
    constexpr std::array<std::uint64_t, 6> kPlaces = {
        0, B::kHeaderAt[0], B::kRegionTableAt[0], kMetadata, kMetadata + 65536, kBat};
    for (std::uint64_t i = 0; i < 1 + random() % 4; ++i) {
      builder.put8(kPlaces[random() % kPlaces.size()] + random() % 128,
                   static_cast<std::uint8_t>(random()));
    }
    for (const int slot : {0, 1}) {
      builder.seal_header(slot);
      builder.seal_region_table(slot);
    }
    const CheckReport report = report_of(builder.file());
    const auto layer = Layer::open(builder.file(), Layer::Replay::kInMemory);
    const bool usable = !layer.has_error() && !(*layer)->validate_bat().has_error();
    // check() may be the stricter of the two, never the other way round.
    EXPECT_TRUE(usable || report.corrupt()) << text_of(report);
  }
}

TEST(Check, FilesTooShortToHoldAnythingAreCorrupt) {
  for (const std::uint64_t size : {0U, 1U, 8U, 65536U, 70000U, 131072U, 200000U, 1U << 20}) {
    VhdxBuilder builder;
    builder.resize(size);
    EXPECT_TRUE(report_of(builder.file()).corrupt()) << size;
  }
}

}  // namespace
}  // namespace vhdxm::vhdx
