// What a repair overwrote or cut off, in a small file of its own, and the way back.
//
// Format (all integers little-endian, all checksums CRC-32C with the checksum field zero):
//
//   header, 128 bytes
//     0    8  "vhdxundo"
//     8    4  checksum of the 128 bytes
//     12   4  version, 1
//     16   8  length of the disk's file before the repair
//     24   8  length of this file
//     32   8  number of records
//     40   4  bit i: header i + 1 of the disk was valid before
//     44   4  reserved, zero
//     48  16  FileWriteGuid of the disk after the repair
//     64  32  FileWriteGuids of its two headers before; of one that was not valid: zero
//     96  32  reserved, zero
//   records, each
//     0    4  "undo"
//     4    4  checksum of the 24 bytes and of the bytes behind them
//     8    8  offset in the disk's file
//     16   4  length, at most 1 MiB
//     20   4  reserved, zero
//     24      that many bytes, as they were
//
// Bytes that were cut off and are in no record were zero. Every writer of a VHDX gives it a new
// FileWriteGuid (2.2.2.1): so it can be told whether a disk is still what the repair made of it.
#pragma once

#include "base/file.h"
#include "vhdx/repair.h"

namespace vhdxm::vhdx {

/// Writes the backup of what `plan` will change into `backup`, which is empty, and makes it
/// durable. Requires: plan.mends is not empty. Errors: of reading the disk and of writing.
Result<void> write_repair_backup(const RepairPlan& plan, File& backup);

/// Proves every checksum of `backup`. Errors: Errc::kBadBackup.
Result<void> validate_repair_backup(File& backup);

/// Makes `disk` what it was before the repair, byte for byte and durably, whether the repair was
/// carried out wholly or in part; may be repeated after a crash on the way. Nothing is written
/// unless the backup is whole and fits.
/// Errors: Errc::kBadBackup; kBackupMismatch: another file, or somebody wrote the disk since.
Result<void> undo_repair(File& disk, File& backup);

}  // namespace vhdxm::vhdx
