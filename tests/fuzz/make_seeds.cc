// Makes the inputs of the fuzz corpora that follow from the program's own formats, or says whether
// those of the tree are what this version would make: README.md of this folder.
//
//   vhdxm_fuzz_seeds make|check CORPORA
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/little_endian.h"
#include "tests/transfer/random_message.h"
#include "transfer/frame.h"
#include "transfer/job_journal.h"
#include "vhdx/block_plan.h"

namespace vhdxm::transfer {
namespace {

using Bytes = std::vector<std::byte>;
using Seeds = std::map<std::string, Bytes>;  ///< By "TARGET/made/NAME".

Bytes joined(Bytes head, std::span<const std::byte> tail) {
  head.insert(head.end(), tail.begin(), tail.end());
  return head;
}

// As message_fuzz.cc takes them: {u8 type, u8 unused} and a body. One of each type there is.
void add_messages(Seeds& seeds) {
  for (std::size_t i = 0; i < std::variant_size_v<Message>; ++i) {
    std::mt19937_64 random(i);
    const Message message = random_message(i, random);
    const Bytes wire = encode(message);
    seeds[std::string("message_fuzz/made/") + name_of(message)] =
        joined({static_cast<std::byte>(i + 1), std::byte{0}},
               std::span(wire).subspan(kMessageHeaderBytes));
  }
}

// As frame_fuzz.cc takes them: {u32 extent_bytes_max, u32 disk_count, u8 settings} and a header.
void add_frame(Seeds& seeds, const std::string& name, const FrameHeader& frame) {
  Bytes setting(9);
  store_raw(setting.data(), Le32(1 << 20));
  store_raw(setting.data() + 4, Le32(3));
  if (frame.codec != compression::Codec::kNone) setting[8] = std::byte{0x80};
  seeds["frame_fuzz/made/" + name] = joined(std::move(setting), encode(frame));
}

// Of the passes of a disk in use; those of an offline move are older, and stand beside them.
void add_frames(Seeds& seeds) {
  const FrameHeader data{.kind = FrameKind::kData,
                         .disk = 2,
                         .pass = 3,
                         .virtual_offset = 5 * kCellBytes,
                         .raw_length = 64 * 1024,
                         .wire_length = 64 * 1024,
                         .hash = {.low = 1, .high = 2}};
  add_frame(seeds, "pass_data", data);
  FrameHeader frame = data;
  frame.codec = compression::Codec::kZstd;
  frame.wire_length = 1000;
  add_frame(seeds, "pass_zstd", frame);
  frame = {.kind = FrameKind::kZero, .disk = 0, .pass = 2, .raw_length = kCellBytes};
  add_frame(seeds, "pass_zero", frame);
  frame.kind = FrameKind::kUnmapped;
  add_frame(seeds, "pass_unmapped", frame);
  frame = {.kind = FrameKind::kSame,
           .pass = 1,
           .virtual_offset = kCellBytes,
           .raw_length = kCellBytes,
           .hash = {.low = 1, .high = 2}};
  add_frame(seeds, "pass_same", frame);
}

BegunFile begun(std::uint64_t disk_bytes) {
  BegunFile file;
  file.offer.name = "disk.vhdx";
  file.offer.description.geometry = {.virtual_size_bytes = disk_bytes,
                                     .block_bytes = 1 << 20,
                                     .logical_sector_bytes = 512,
                                     .physical_sector_bytes = 4096,
                                     .type = vhdx::DiskType::kDynamic};
  file.offer.description.virtual_disk_id.bytes[0] = 1;
  file.offer.description.data_write_guid.bytes[0] = 2;
  file.offer.payload_bytes = 1 << 20;
  vhdx::BlockPlan plan(file.offer.description.geometry);
  plan.set(0, vhdx::BlockUse::kFull);
  const auto encoded = plan.encoded();
  file.plan = {encoded.begin(), encoded.end()};
  return file;
}

// As journal_fuzz.cc takes them: {u8 keep the CRC} and the file's bytes.
void add_journals(Seeds& seeds) {
  const auto add = [&](const char* name, const JobJournal& journal) {
    seeds[std::string("journal_fuzz/made/") + name] =
        joined({std::byte{0}}, encode_journal(journal));
  };
  JobJournal journal;
  journal.job_id = {1, 2, 3};
  journal.partial = begun(9 << 20);
  add("copy", journal);
  journal.former = begun(5 << 20);
  add("copy_with_former", journal);
  journal.former->plan.pop_back();
  add("former_cut", journal);
  journal.former.reset();
  journal.kind = JobKind::kLive;
  add("live", journal);
  journal.former = begun(5 << 20);
  add("live_with_former", journal);
  journal.former.reset();
  journal.partial.offer.name = "../disk.vhdx";
  add("name_is_a_path", journal);
  Bytes bad_crc = joined({std::byte{1}}, encode_journal(journal));
  bad_crc.back() ^= std::byte{1};
  seeds["journal_fuzz/made/bad_crc"] = bad_crc;
}

Bytes content_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::vector<char> text{std::istreambuf_iterator<char>(in), {}};
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

void make(const Seeds& seeds, const std::filesystem::path& corpora) {
  for (const auto& [name, bytes] : seeds) {
    std::filesystem::create_directories((corpora / name).parent_path());
    std::ofstream out(corpora / name, std::ios::binary | std::ios::trunc);
    std::for_each(bytes.begin(), bytes.end(),
                  [&out](std::byte byte) { out.put(static_cast<char>(byte)); });
  }
}

/// How many of them are not what they should be.
int check(const Seeds& seeds, const std::filesystem::path& corpora) {
  int bad = 0;
  for (const auto& [name, bytes] : seeds) {
    if (std::filesystem::exists(corpora / name) && content_of(corpora / name) == bytes) continue;
    std::printf("%s is not what this version makes\n", name.c_str());
    ++bad;
  }
  for (const auto& entry : std::filesystem::recursive_directory_iterator(corpora)) {
    const auto path = entry.path();
    if (!entry.is_regular_file() || path.parent_path().filename() != "made") continue;
    const std::string name = path.lexically_relative(corpora).generic_string();
    if (seeds.contains(name)) continue;
    std::printf("%s is made by no version any more\n", name.c_str());
    ++bad;
  }
  if (bad > 0)
    std::printf("vhdxm_fuzz_seeds make %s, then look at what changed\n", corpora.c_str());
  return bad;
}

}  // namespace
}  // namespace vhdxm::transfer

int main(int argc, char** argv) {
  using namespace vhdxm::transfer;
  const std::string_view what = argc == 3 ? argv[1] : "";
  Seeds seeds;
  add_messages(seeds);
  add_frames(seeds);
  add_journals(seeds);
  if (what == "make") {
    make(seeds, argv[2]);
    return 0;
  }
  if (what == "check") return check(seeds, argv[2]) == 0 ? 0 : 1;
  std::fputs("vhdxm_fuzz_seeds make|check CORPORA\n", stderr);
  return 2;
}
