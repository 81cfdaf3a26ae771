// What can be wrong with a VHDX file, one code for each rule that a caller may want to tell apart.
//
// An Error adds the field, its offset in the file, and the values found and expected.
#pragma once

#include <cstdint>
#include <optional>

#include "base/error.h"

namespace vhdxm::vhdx {

/// Values are never renumbered. Below 100: found while reading. From 100 on: while writing.
enum class Errc {
  kNotVhdx = 1,                 ///< The file does not begin with "vhdxfile".
  kNoValidHeader = 2,           ///< Neither header has its signature and a good checksum.
  kAmbiguousHeaders = 3,        ///< Two valid headers that differ have one sequence number.
  kUnsupportedVersion = 4,      ///< The header's Version is not 1.
  kUnsupportedLogVersion = 5,   ///< There is a log, and its version is not 0.
  kBadLogLocation = 6,          ///< LogOffset or LogLength breaks a rule.
  kSequenceExhausted = 7,       ///< A header's sequence number cannot be raised any more.
  kNoValidRegionTable = 8,      ///< Neither region table has its signature and a good checksum.
  kBadRegionTable = 9,          ///< A field of the region table breaks a rule.
  kUnknownRequiredRegion = 10,  ///< A region must be understood, and this program does not.
  kMissingRegion = 11,          ///< There is no BAT or no metadata region.
  kOverlap = 12,                ///< Two objects share a part of the file.
  kOutsideFile = 13,            ///< An object lies beyond the end of the file.
  kNoValidLogSequence = 14,     ///< The header names a log, and it holds no valid sequence.
  kTruncated = 15,              ///< The file is shorter than the log says was durable.
  kBadLogTarget = 16,           ///< A log entry would write where no log may write.
  kLogTooComplex = 17,          ///< Examining the log would take unbounded work.
  kBadMetadataTable = 18,       ///< A field of the metadata table breaks a rule.
  kUnknownRequiredItem = 19,    ///< A metadata item must be understood, and this program does not.
  kMissingItem = 20,            ///< A metadata item that every disk has is not there.
  kBadItem = 21,                ///< A metadata item has the wrong length or an impossible value.
  kMetadataTooLarge = 22,       ///< More foreign metadata than this program carries along.
  kIncompleteFile = 23,         ///< Its producer marked the file as not finished.
  kBadGeometry = 24,            ///< Sizes that no virtual disk may have.
  kUnknownParentType = 25,      ///< The parent is not a VHDX file.
  kBadParentLocator = 26,       ///< The parent locator breaks a rule.
  kBadBatEntry = 27,            ///< A BAT entry has a state or bits that are not allowed.
  kMissingSectorBitmap = 28,    ///< A partially present block has no sector bitmap.
  kParentNotFound = 29,         ///< No path of the parent locator leads to a file.
  kParentMismatch = 30,         ///< The parent found is not the one the child was made from.
  kParentCycle = 31,            ///< A disk is, directly or not, named as its own parent.
  kChainTooDeep = 32,           ///< More parents behind each other than are allowed.
  kParentSectorSize = 33,       ///< Child and parent differ in their logical sector size.
  kReadOnly = 34,               ///< A view of a file that shows a replayed log cannot be written.
  kContentWouldChange = 50,     ///< A repair was tried, and what the disk shows would be different.
  kBadBackup = 51,              ///< Not the backup of a repair, or a damaged one.
  kBackupMismatch = 52,         ///< The backup of another file, or the file was written since.
  kNotMendable = 53,            ///< Nothing that a repair may do brings the file into order.

  kInUse = 100,   ///< Another program has the disk open for writing.
  kClosed = 101,  ///< The disk was closed, or is being closed.
};

error_code make_error_code(Errc errc);

/// An Error about a field. Units: `offset` is bytes of the file.
inline Error format_error(Errc errc, const char* where, std::uint64_t offset = Error::kNoOffset,
                          std::optional<std::uint64_t> found = std::nullopt,
                          std::optional<std::uint64_t> expected = std::nullopt) {
  return Error{.code = make_error_code(errc),
               .where = where,
               .offset = offset,
               .found = found,
               .expected = expected};
}

}  // namespace vhdxm::vhdx

template <>
struct boost::system::is_error_code_enum<vhdxm::vhdx::Errc> : std::true_type {};
