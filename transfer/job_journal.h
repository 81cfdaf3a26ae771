// The journal of a disk that is arriving: what its partial file is of, so that a later job can go
// on with it; and the lock that says whether a living job holds it.
//
// It lies in `.vhdx-migrate` of the folder as NAME.journal and is durable before the first byte of
// payload is written. It promises nothing about content: what a partial holds is believed only when
// its hash has been compared (docs/decisions).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/directory.h"
#include "base/result.h"
#include "transfer/messages.h"

namespace vhdxm::transfer {

/// The folder in a receiver's folder that the program keeps its own state in.
inline constexpr const char* kStateFolderName = ".vhdx-migrate";

/// A file that a job began: how it is to be read.
struct BegunFile {
  /// As it was offered, without opaque items.
  OfferDisk offer;
  std::vector<std::byte> plan;  ///< The block plan, encoded.
};

struct JobJournal {
  JobId job_id{};  ///< Of the job that made the partial.
  BegunFile partial;
  /// What an earlier job began of this disk when it had other blocks; cells of it are taken. Its
  /// file lies beside the journal. Of kCopy only.
  std::optional<BegunFile> former;
  /// kLive: the partial is a whole VHDX, which grows and shrinks as the disk does, whatever plan it
  /// began with; kCopy: it is laid out as the plan says, and is none before it is complete.
  JobKind kind = JobKind::kCopy;

  /// Whether the partial that this describes can be gone on with for the disk that is offered now,
  /// by a job of kind kCopy: name, identity, geometry and plan are the same. Content may have
  /// changed.
  bool fits(const OfferDisk& now, std::span<const std::byte> plan_now) const;
  /// The same for a job of kind kLive: the plan may be another.
  bool fits_live(const OfferDisk& now) const;
};

/// Whether cells of a file that an earlier job began may be found in the disk that is offered now:
/// name, identity and sectors are the same; blocks may have come and gone, and the disk may have
/// grown.
bool may_be_former(const BegunFile& file, const OfferDisk& now);

std::vector<std::byte> encode_journal(const JobJournal& journal);
/// Errors: Errc::kProtocol, naming what is wrong; kVersion for that of another version of this
/// program; kChecksum.
Result<JobJournal> decode_journal(std::span<const std::byte> bytes);

/// The journal's file, locked for as long as this object lives.
class JournalFile {
 public:
  static std::string file_name(const std::string& disk) { return disk + ".journal"; }
  /// Of JobJournal::former, in the same folder.
  static std::string former_name(const std::string& disk) { return disk + ".former"; }

  /// Takes the journal of `disk`, an empty one if there is none.
  /// Errors: Errc::kBusy if a living job, or cleanup, holds it; the file's.
  static Result<std::unique_ptr<JournalFile>> claim(const Directory& state,
                                                    const std::string& disk);
  /// As claim(), but errors with ENOENT if there is none.
  static Result<std::unique_ptr<JournalFile>> claim_existing(const Directory& state,
                                                             const std::string& disk);

  /// Nothing if it was just made. Errors: those of decode_journal(), and of the file.
  Result<std::optional<JobJournal>> read();
  /// Makes it durable, its name included.
  Result<void> write(const JobJournal& journal);
  Result<void> remove();

 private:
  JournalFile(const Directory& state, std::string name, std::unique_ptr<PosixFile> file);
  /// Nothing if the file lost its name before it was locked: look again.
  static Result<std::unique_ptr<JournalFile>> lock(const Directory& state, const std::string& name,
                                                   std::unique_ptr<PosixFile> file);

  const Directory& state_;
  const std::string name_;
  const std::unique_ptr<PosixFile> file_;
};

}  // namespace vhdxm::transfer
