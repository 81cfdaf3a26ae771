#include "vhdx/errc.h"

namespace vhdxm::vhdx {
namespace {

const char* sentence(Errc errc) {
  switch (errc) {
    case Errc::kNotVhdx:
      return "not a VHDX file";
    case Errc::kNoValidHeader:
      return "neither header is valid";
    case Errc::kAmbiguousHeaders:
      return "two different headers have the same sequence number";
    case Errc::kUnsupportedVersion:
      return "a version of the format that is not supported";
    case Errc::kUnsupportedLogVersion:
      return "a version of the log that is not supported";
    case Errc::kBadLogLocation:
      return "the log is in an impossible place";
    case Errc::kSequenceExhausted:
      return "the header's sequence number cannot be raised any more";
    case Errc::kNoValidRegionTable:
      return "neither region table is valid";
    case Errc::kBadRegionTable:
      return "the region table breaks a rule";
    case Errc::kUnknownRequiredRegion:
      return "the file needs a region that this program does not know";
    case Errc::kMissingRegion:
      return "a region that every VHDX file has is missing";
    case Errc::kOverlap:
      return "two objects share a part of the file";
    case Errc::kOutsideFile:
      return "an object lies beyond the end of the file";
    case Errc::kNoValidLogSequence:
      return "the log holds no valid sequence";
    case Errc::kTruncated:
      return "the file was truncated";
    case Errc::kBadLogTarget:
      return "a log entry would write where it must not";
    case Errc::kLogTooComplex:
      return "the log is made so that examining it would never end";
    case Errc::kBadMetadataTable:
      return "the metadata table breaks a rule";
    case Errc::kUnknownRequiredItem:
      return "the file needs a metadata item that this program does not know";
    case Errc::kMissingItem:
      return "a metadata item that every virtual disk has is missing";
    case Errc::kBadItem:
      return "a metadata item is malformed";
    case Errc::kMetadataTooLarge:
      return "more foreign metadata than is carried along";
    case Errc::kIncompleteFile:
      return "the file was never finished by the program that made it";
    case Errc::kBadGeometry:
      return "a size that a virtual disk cannot have";
    case Errc::kUnknownParentType:
      return "the parent is of a kind that is not supported";
    case Errc::kBadParentLocator:
      return "the parent locator breaks a rule";
    case Errc::kBadBatEntry:
      return "a BAT entry breaks a rule";
    case Errc::kMissingSectorBitmap:
      return "a partially present block has no sector bitmap";
    case Errc::kParentNotFound:
      return "the parent disk was not found";
    case Errc::kParentMismatch:
      return "the parent is not the one the child was made from, or was changed since";
    case Errc::kParentCycle:
      return "the disk is named as its own parent";
    case Errc::kChainTooDeep:
      return "the chain of parents is too long";
    case Errc::kParentSectorSize:
      return "child and parent have different logical sector sizes";
    case Errc::kReadOnly:
      return "a view through a replayed log cannot be written";
    case Errc::kInUse:
      return "another program has the disk open for writing";
    case Errc::kClosed:
      return "the disk is closed";
    case Errc::kContentWouldChange:
      return "the repair would change what the disk holds";
    case Errc::kBadBackup:
      return "not the backup of a repair, or a damaged one";
    case Errc::kBackupMismatch:
      return "the backup does not fit the file: it is another's, or the file was written since";
    case Errc::kNotMendable:
      return "cannot be mended without guessing";
  }
  return "unknown error";
}

class VhdxCategory final : public boost::system::error_category {
 public:
  const char* name() const noexcept override { return "vhdx"; }
  std::string message(int value) const override { return sentence(static_cast<Errc>(value)); }
};

}  // namespace

error_code make_error_code(Errc errc) {
  static const VhdxCategory category;
  return {static_cast<int>(errc), category};
}

}  // namespace vhdxm::vhdx
