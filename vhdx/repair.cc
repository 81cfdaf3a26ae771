#include "vhdx/repair.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/hash128.h"
#include "vhdx/bat_repair.h"
#include "vhdx/errc.h"
#include "vhdx/finding_list.h"
#include "vhdx/header.h"
#include "vhdx/layer.h"
#include "vhdx/log_replay.h"
#include "vhdx/region_table.h"
#include "vhdx/repair_log.h"
#include "vhdx/same_content.h"

namespace vhdxm::vhdx {
namespace {

using RegionTableBytes = std::array<std::byte, kRegionTableBytes>;

/// Whether two headers say the same about the content; who wrote last may differ.
bool same_meaning(Header a, const Header& b) {
  a.file_write_guid = b.file_write_guid;
  return a == b;
}

/// The current slot; of two that cannot be told apart and mean the same, the first.
Result<std::size_t> meant_slot(const HeaderSlots& slots) {
  auto current = current_slot(slots);
  if (current.has_error() && current.error().code == Errc::kAmbiguousHeaders &&
      same_meaning(slots.slots[0].header, slots.slots[1].header)) {
    return std::size_t{0};
  }
  return current;
}

/// Repairs a file in memory, step by step. An error of the vhdx category is an obstacle.
class Repair {
 public:
  explicit Repair(std::shared_ptr<RehearsalFile> file) : file_(std::move(file)) {}

  Result<void> run() {
    VHDXM_TRY_VOID(settle_headers());
    VHDXM_TRY_VOID(replay_log());
    VHDXM_TRY_VOID(mend_region_tables());
    VHDXM_TRY(const auto layer, Layer::open(file_, Layer::Replay::kInMemory));
    VHDXM_TRY_VOID(layer->validate_bat());
    VHDXM_TRY(const BatRepair bat, survey_bat(*layer));
    const std::uint64_t end = objects_end(*layer, bat.blocks_end);
    VHDXM_TRY_VOID(lengthen(end));
    VHDXM_TRY_VOID(mend_bat(bat));
    return settle_length(std::max(end, full_allocation(*layer)));
  }

  std::vector<Mend> take_mends() { return std::move(mends_); }
  const Guid& file_write_guid() const { return file_write_guid_; }

 private:
  void say(const char* rule, std::string what, std::uint64_t offset) {
    mends_.push_back(
        {.rule = fmt::format("[MS-VHDX] {}", rule), .what = std::move(what), .offset = offset});
  }

  /// Headers come before any other change of the file (2.2.2.1).
  Result<void> announce() {
    if (announced_) return {};
    announced_ = true;
    header_.file_write_guid = file_write_guid_;
    VHDXM_TRY(header_, update_headers(*file_, header_));
    return {};
  }

  Result<void> settle_headers() {
    VHDXM_TRY(const HeaderSlots slots, read_header_slots(*file_));
    VHDXM_TRY(const std::size_t current, meant_slot(slots));
    header_ = slots.slots[current].header;
    VHDXM_TRY_VOID(validate_header(header_, current));
    const std::size_t before = mends_.size();
    VHDXM_TRY_VOID(judge_slots(slots, current));
    if (mends_.size() == before) return {};
    const Header& first = slots.slots[0].header;
    const Header& second = slots.slots[1].header;
    const bool both_valid = slots.slots[0].state == HeaderSlot::State::kValid &&
                            slots.slots[1].state == HeaderSlot::State::kValid;
    if (both_valid && first.sequence_number == second.sequence_number) {
      // Until one of them is greater, update_headers() would not know where to begin. If this write
      // is torn, the first header is the only valid one.
      Header greater = first;
      if (++greater.sequence_number == 0) {
        return format_error(Errc::kSequenceExhausted, "header SequenceNumber, [MS-VHDX] 2.2.2.1",
                            kHeaderOffsets[1] + offsetof(RawHeader, sequence_number));
      }
      VHDXM_TRY_VOID(file_->write_at(kHeaderOffsets[1], encode_header(greater)));
      VHDXM_TRY_VOID(file_->sync());
    }
    return announce();
  }

  /// Notes what is wrong with the headers beside each other.
  Result<void> judge_slots(const HeaderSlots& slots, std::size_t current) {
    for (std::size_t i = 0; i < slots.slots.size(); ++i) {
      if (slots.slots[i].state != HeaderSlot::State::kValid) {
        say("2.2.2",
            fmt::format("header {} was not valid and was written anew from header {}", i + 1,
                        current + 1),
            kHeaderOffsets[i]);
        continue;
      }
      std::array<std::byte, kHeaderBytes - sizeof(RawHeader)> reserved;
      VHDXM_TRY_VOID(read_exact_at(*file_, kHeaderOffsets[i] + sizeof(RawHeader), reserved,
                                   "header, [MS-VHDX] 2.2.2"));
      if (!all_zero(reserved)) {
        say("2.2.2", fmt::format("reserved bytes of header {} were made zero", i + 1),
            kHeaderOffsets[i] + sizeof(RawHeader));
      }
    }
    const bool both_valid = slots.slots[0].state == HeaderSlot::State::kValid &&
                            slots.slots[1].state == HeaderSlot::State::kValid;
    if (both_valid &&
        slots.slots[0].header.sequence_number == slots.slots[1].header.sequence_number) {
      say("2.2.2",
          "both headers had one sequence number and were written anew, one after the other",
          kHeaderOffsets[1]);
    }
    return {};
  }

  Result<void> replay_log() {
    if (header_.log_guid.is_zero()) return {};
    VHDXM_TRY(const ReplayedFile replayed, replay_on_file(file_, header_, file_write_guid_));
    announced_ = true;
    header_ = replayed.header;
    say("2.3.3",
        fmt::format("the log was replayed: entries that were not applied: {}",
                    replayed.entry_count),
        header_.log_offset);
    return {};
  }

  Result<void> mend_region_tables() {
    std::array<std::unique_ptr<RegionTableBytes>, 2> copies;
    for (std::size_t i = 0; i < copies.size(); ++i) {
      copies[i] = std::make_unique<RegionTableBytes>();
      VHDXM_TRY_VOID(read_exact_at(*file_, kRegionTableOffsets[i], *copies[i],
                                   "region table, [MS-VHDX] 2.2.3"));
    }
    const auto first = parse_region_table(*copies[0], kRegionTableOffsets[0]);
    const auto second = parse_region_table(*copies[1], kRegionTableOffsets[1]);
    // The second copy is for a first that is torn, not for choosing between two whole ones.
    const bool first_is_torn = first.has_error() && first.error().code == Errc::kNoValidRegionTable;
    const std::size_t used = first_is_torn ? 1 : 0;
    if (const auto& table = first_is_torn ? second : first; table.has_error()) return table.error();
    const std::size_t other = 1 - used;
    if (*copies[0] == *copies[1]) return {};
    VHDXM_TRY_VOID(announce());
    // Not through the log: the copy that readers use stays as it is, so nothing can be torn.
    VHDXM_TRY_VOID(file_->write_at(kRegionTableOffsets[other], *copies[used]));
    VHDXM_TRY_VOID(file_->sync());
    const bool was_valid = !(first_is_torn ? first : second).has_error();
    say("2.2.3",
        fmt::format("region table {} {} and was copied from region table {}", other + 1,
                    was_valid ? "was another" : "was not valid", used + 1),
        kRegionTableOffsets[other]);
    return {};
  }

  /// Where the last object of the file ends.
  std::uint64_t objects_end(const Layer& layer, std::uint64_t blocks_end) const {
    std::uint64_t end = std::max(kHeaderSectionBytes, blocks_end);
    for (const Region& region : layer.regions().entries) end = std::max(end, region.end());
    // A log that is not in use may be anywhere; one beyond the file holds nothing.
    const std::uint64_t file_bytes = *file_->size();
    if (header_.log_length != 0 && header_.log_end() <= file_bytes) {
      end = std::max(end, header_.log_end());
    }
    return end;
  }

  /// What a file with LeaveBlockAllocated may not be shrunk below (2.6.2.1); zero for others.
  std::uint64_t full_allocation(const Layer& layer) const {
    const Geometry& geometry = layer.geometry();
    if (geometry.type != DiskType::kFixed) return 0;
    std::uint64_t bytes = kHeaderSectionBytes + header_.log_length;
    for (const Region& region : layer.regions().entries) bytes += region.length;
    return bytes + geometry.block_count() * geometry.block_bytes;
  }

  /// A block that the file ends in gets the zeros it lacks; they are no part of the disk.
  Result<void> lengthen(std::uint64_t end) {
    VHDXM_TRY(const std::uint64_t now, file_->size());
    if (now >= end) return {};
    VHDXM_TRY_VOID(resize(end));
    say("2.1",
        fmt::format("the file ended inside a block and was lengthened from {} to {} bytes", now,
                    end),
        now);
    return {};
  }

  Result<void> resize(std::uint64_t bytes) {
    VHDXM_TRY_VOID(announce());
    VHDXM_TRY_VOID(file_->resize(bytes));
    return file_->sync();
  }

  Result<void> mend_bat(const BatRepair& bat) {
    if (bat.sectors.empty()) return {};
    VHDXM_TRY(const std::uint64_t file_bytes, file_->size());
    // Without a log there is no way that the format allows; what is wrong there does no harm.
    if (!has_usable_log(header_, file_bytes)) return {};
    const auto all = std::span(bat.sectors);
    for (std::size_t done = 0; done < all.size();) {
      const auto some = all.subspan(done, std::min(LogWriter::kPagesMax, all.size() - done));
      VHDXM_TRY_VOID(announce());
      VHDXM_TRY(header_, change_through_log(file_, header_, some, file_write_guid_));
      done += some.size();
    }
    for (const BatMend& mend : bat.mends) {
      say(mend.rule, fmt::format("{} were cleared: {}, the first here", mend.what, mend.count),
          mend.first_offset);
    }
    return {};
  }

  /// `end`: what the file must hold.
  Result<void> settle_length(std::uint64_t end) {
    VHDXM_TRY(const std::uint64_t now, file_->size());
    if (now > kFileBytesMax) return {};
    if (now > end) {
      VHDXM_TRY_VOID(resize(end));
      say("2.1", fmt::format("{} bytes at the end, which no object had, were cut off", now - end),
          end);
    } else if (now % kMiB != 0) {
      const std::uint64_t rounded = (now + kMiB - 1) / kMiB * kMiB;
      VHDXM_TRY_VOID(resize(rounded));
      say("2.1",
          fmt::format("the file was lengthened from {} to {} bytes, a multiple of 1 MiB", now,
                      rounded),
          now);
    }
    return {};
  }

  const std::shared_ptr<RehearsalFile> file_;
  const Guid file_write_guid_ = Guid::random();
  Header header_;  ///< As it stands in the file now.
  bool announced_ = false;
  std::vector<Mend> mends_;
};

/// What the content of the file is to blame for, not the system.
bool is_about_content(const Error& error) {
  return error.code.category() != boost::system::system_category();
}

Error first_corruption(const CheckReport& report) {
  const auto found = std::find_if(
      report.findings.begin(), report.findings.end(),
      [](const Finding& finding) { return finding.severity == Finding::Severity::kCorrupt; });
  Error error = format_error(Errc::kNotMendable, "what the check finds");
  if (found != report.findings.end()) error.subject = found->what;
  return error;
}

/// Proves that the result is sound and that the disk shows what it showed before.
Result<void> judge(RepairPlan& plan, Layer* before) {
  VHDXM_TRY(plan.after, check(plan.rehearsal));
  if (plan.after.corrupt()) return first_corruption(plan.after);
  VHDXM_TRY(const auto after, Layer::open(plan.rehearsal, Layer::Replay::kInMemory));
  if (before == nullptr) return {};
  const std::vector<FileRange> changed = plan.rehearsal->changed();
  VHDXM_TRY(const bool same, same_content(*before, *after, changed));
  if (same) return {};
  return format_error(Errc::kContentWouldChange, "comparison with the disk as it was");
}

}  // namespace

Result<void> RepairPlan::apply(File& file) const {
  VHDXM_TRY_VOID(rehearsal->perform_on(file));
  return file.sync();
}

Result<RepairPlan> plan_repair(std::shared_ptr<File> file) {
  const std::string name = file->name();
  RepairPlan plan;
  VHDXM_TRY(plan.before, check(file));
  VHDXM_TRY(plan.rehearsal, RehearsalFile::over(file));
  auto before = Layer::open(file, Layer::Replay::kInMemory);
  if (before.has_error() && !is_about_content(before.error())) return before.error();
  Repair repair(plan.rehearsal);
  auto done = repair.run();
  plan.mends = repair.take_mends();
  plan.file_write_guid = repair.file_write_guid();
  if (done.has_value() && !plan.mends.empty()) {
    done = judge(plan, before.has_value() ? before->get() : nullptr);
  }
  if (done.has_error()) {
    if (!is_about_content(done.error())) return std::move(done).error().about(name);
    plan.obstacle = std::move(done).error();
  } else if (plan.mends.empty() && plan.before.corrupt()) {
    plan.obstacle = first_corruption(plan.before);
  }
  if (plan.obstacle) plan.mends.clear();
  return plan;
}

}  // namespace vhdxm::vhdx
