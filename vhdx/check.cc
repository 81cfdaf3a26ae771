#include "vhdx/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/hash128.h"
#include "vhdx/check_bat.h"
#include "vhdx/check_log.h"
#include "vhdx/check_metadata.h"
#include "vhdx/check_regions.h"
#include "vhdx/finding_list.h"
#include "vhdx/header.h"
#include "vhdx/layer.h"
#include "vhdx/log_replay.h"
#include "vhdx/space_map.h"

namespace vhdxm::vhdx {
namespace {

using Severity = Finding::Severity;

class Check {
 public:
  explicit Check(std::shared_ptr<File> file) : file_(std::move(file)), view_(file_) {}

  Result<CheckReport> run() {
    VHDXM_TRY_VOID(check_identifier());
    VHDXM_TRY_VOID(check_headers());
    if (header_) VHDXM_TRY_VOID(check_structures());
    VHDXM_TRY_VOID(check_as_reader());
    return findings_.take();
  }

 private:
  Result<void> check_identifier() {
    std::array<std::byte, sizeof(Le64)> bytes{};
    VHDXM_TRY(const std::size_t got, file_->read_some_at(kFileIdentifierOffset, bytes));
    if (got < bytes.size() || load_raw<Le64>(bytes.data()) != kFileSignature) {
      findings_.corrupt("2.2.1", "the file does not begin with \"vhdxfile\"",
                        kFileIdentifierOffset);
    }
    return {};
  }

  Result<void> check_headers() {
    VHDXM_TRY(const HeaderSlots slots, read_header_slots(*file_));
    const auto current = current_slot(slots);
    const bool one_is_good =
        std::any_of(slots.slots.begin(), slots.slots.end(),
                    [](const HeaderSlot& slot) { return slot.state == HeaderSlot::State::kValid; });
    for (std::size_t i = 0; i < slots.slots.size(); ++i) {
      VHDXM_TRY_VOID(check_slot(slots.slots[i], i, one_is_good));
    }
    if (current.has_error()) {
      if (one_is_good) findings_.add_error(Severity::kCorrupt, current.error());
      return {};
    }
    compare_slots(slots);
    const Header& header = slots.slots[*current].header;
    check_fields(header, *current);
    if (const auto valid = validate_header(header, *current); valid.has_error()) {
      findings_.add_error(Severity::kCorrupt, valid.error());
      if (header.version != kFormatVersion) return {};
      // The rest can still be looked at, as if there were no log.
      header_ = header;
      header_->log_guid = Guid{};
      header_->log_length = 0;
      return {};
    }
    header_ = header;
    return {};
  }

  Result<void> check_slot(const HeaderSlot& slot, std::size_t index, bool one_is_good) {
    const std::uint64_t at = kHeaderOffsets[index];
    const Severity severity = one_is_good ? Severity::kWarning : Severity::kCorrupt;
    switch (slot.state) {
      case HeaderSlot::State::kFileTooShort:
        findings_.add(severity, "2.2.2", fmt::format("the file ends before header {}", index + 1),
                      at);
        return {};
      case HeaderSlot::State::kBadSignature:
        findings_.add(severity, "2.2.2", fmt::format("header {} has no signature", index + 1), at);
        return {};
      case HeaderSlot::State::kBadChecksum:
        findings_.add(severity, "2.2.2",
                      fmt::format("header {} does not have the checksum it says", index + 1), at);
        return {};
      case HeaderSlot::State::kValid:
        break;
    }
    std::array<std::byte, kHeaderBytes - sizeof(RawHeader)> reserved;
    VHDXM_TRY_VOID(
        read_exact_at(*file_, at + sizeof(RawHeader), reserved, "header, [MS-VHDX] 2.2.2"));
    if (!all_zero(reserved)) {
      findings_.warning("2.2.2", fmt::format("reserved bytes of header {} are not zero", index + 1),
                        at + sizeof(RawHeader));
    }
    return {};
  }

  /// What no reader is stopped by.
  void check_fields(const Header& header, std::size_t slot) {
    const std::uint64_t at = kHeaderOffsets[slot];
    if (header.file_write_guid.is_zero() || header.data_write_guid.is_zero()) {
      findings_.note("2.2.2", "the current header's FileWriteGuid or DataWriteGuid is zero",
                     at + offsetof(RawHeader, file_write_guid));
    }
    if (header.log_guid.is_zero() && header.log_version != kLogVersion) {
      findings_.note("2.2.2",
                     fmt::format("LogVersion is {} instead of 0; there is no log to process",
                                 header.log_version),
                     at + offsetof(RawHeader, log_version));
    }
    if (header.log_guid.is_zero() && header.log_length == 0) {
      findings_.note("2.2.2", "there is no room for a log: who writes the file has to make it",
                     at + offsetof(RawHeader, log_length));
    }
  }

  void compare_slots(const HeaderSlots& slots) {
    const HeaderSlot& first = slots.slots[0];
    const HeaderSlot& second = slots.slots[1];
    if (first.state != HeaderSlot::State::kValid || second.state != HeaderSlot::State::kValid) {
      return;
    }
    if (first.header.sequence_number == second.header.sequence_number) {
      findings_.note(
          "2.2.2", "both headers have one sequence number and are equal (Disk2vhd writes them so)",
          kHeaderOffsets[1]);
    }
    if (first.header.data_write_guid != second.header.data_write_guid) {
      findings_.note("2.2.2",
                     "the headers have different DataWriteGuids (QEMU leaves them so); the current "
                     "one's counts",
                     kHeaderOffsets[1]);
    }
  }

  Result<void> check_structures() {
    VHDXM_TRY_VOID(check_log());
    VHDXM_TRY(const std::uint64_t file_bytes, view_->size());
    if (file_bytes % kMiB != 0) {
      findings_.note("2.1",
                     fmt::format("the file's length, {}, is no multiple of 1 MiB", file_bytes));
    }
    if (file_bytes > kFileBytesMax) {
      findings_.note("", fmt::format("the file is {} bytes long; what lies beyond {} is not looked "
                                     "at",
                                     file_bytes, kFileBytesMax));
    }
    SpaceMap space(file_bytes);
    (void)space.take_named("the header section", 0, kHeaderSectionBytes);
    if (header_->log_length != 0) {
      take_named(space, "the log", header_->log_offset, header_->log_length, file_bytes, "2.2.2",
                 header_->log_guid.is_zero() ? Severity::kWarning : Severity::kCorrupt);
    }
    VHDXM_TRY(const CheckedRegions regions, check_regions(*view_, findings_));
    for (const Region& region : regions.regions) {
      const std::string name = region.guid == kBatRegion        ? "the BAT region"
                               : region.guid == kMetadataRegion ? "the metadata region"
                                                                : "region " + braced(region.guid);
      take_named(space, name, region.file_offset, region.length, file_bytes, "2.2.3.2",
                 Severity::kCorrupt);
    }
    std::optional<Geometry> geometry;
    if (regions.metadata) {
      VHDXM_TRY(geometry, check_metadata(*view_, *regions.metadata, findings_));
    }
    if (!regions.bat || !geometry) return {};
    VHDXM_TRY_VOID(check_bat(*view_, *regions.bat, *geometry, space, findings_));
    // A place that two objects claim leaves others over; to call those lost would mislead.
    const SpaceMap::Unused unused = space.unused();
    if (unused.bytes != 0 && !findings_.is_corrupt()) {
      findings_.note(
          "2.1",
          fmt::format("{} bytes of the file belong to no object, the first here", unused.bytes),
          unused.first_offset);
    }
    return {};
  }

  Result<void> check_log() {
    if (header_->log_guid.is_zero()) return {};
    auto replayed = replay_in_memory(file_, *header_);
    if (replayed.has_error()) return say_or_return(replayed.error());
    VHDXM_TRY_VOID(check_log_entries(*file_, *header_, findings_));
    findings_.note(
        "2.3.3",
        fmt::format("the log holds {} entries that are not applied yet; the rest of this "
                    "report is about the file as it is after their replay",
                    replayed->entry_count),
        header_->log_offset);
    view_ = std::move(replayed->file);
    return {};
  }

  /// Requires: begin + length does not wrap.
  void take_named(SpaceMap& space, const std::string& name, std::uint64_t begin,
                  std::uint64_t length, std::uint64_t file_bytes, const char* rule,
                  Severity severity_outside) {
    if (begin + length > file_bytes) {
      findings_.add(severity_outside, rule,
                    fmt::format("{} at {} with {} bytes reaches past the end of the file, {}", name,
                                begin, length, file_bytes),
                    begin);
    }
    if (length == 0) return;
    if (const auto other = space.take_named(name, begin, length)) {
      findings_.corrupt("2.2.3.2", fmt::format("{} overlaps {}", name, *other), begin);
    }
  }

  /// Whatever a reader refuses is corrupt, though no check above said so.
  Result<void> check_as_reader() {
    if (findings_.is_corrupt()) return {};
    const auto layer = Layer::open(file_, Layer::Replay::kInMemory);
    if (layer.has_error()) return say_or_return(layer.error());
    if (const auto valid = (*layer)->validate_bat(); valid.has_error()) {
      return say_or_return(valid.error());
    }
    return {};
  }

  /// What the content of the file is to blame for is a finding, what the system is an error.
  Result<void> say_or_return(const Error& error) {
    if (error.code.category() == boost::system::system_category()) return error;
    findings_.add_error(Severity::kCorrupt, error);
    return {};
  }

  const std::shared_ptr<File> file_;
  std::shared_ptr<File> view_;    ///< The file as it is after its log was replayed.
  std::optional<Header> header_;  ///< Nothing if no header can be worked with.
  FindingList findings_;
};

}  // namespace

Result<CheckReport> check(std::shared_ptr<File> file) {
  const std::string name = file->name();
  auto report = Check(std::move(file)).run();
  if (report.has_error()) return std::move(report).error().about(name);
  return report;
}

}  // namespace vhdxm::vhdx
