#include "transfer/partials.h"

#include <optional>
#include <string_view>

#include "transfer/errc.h"
#include "transfer/job_journal.h"

namespace vhdxm::transfer {
namespace {

constexpr std::string_view kJournalEnding = ".journal";

// The state folder, if there is one: a folder that was only looked at stays as it is.
Result<std::unique_ptr<Directory>> state_of(const Directory& folder) {
  VHDXM_TRY(const bool exists, folder.exists(kStateFolderName));
  if (!exists) return std::unique_ptr<Directory>();
  return folder.open_or_make_folder(kStateFolderName);
}

Result<Partial> look_at(const Directory& folder, const Directory& state, const std::string& name) {
  Partial partial{.name = name, .id = {}};
  const auto file = folder.open_file(name + ".partial", {});
  if (file.has_value()) {
    VHDXM_TRY(partial.held_bytes, (*file)->allocated_bytes());
  }
  const auto former = state.open_file(JournalFile::former_name(name), {});
  if (former.has_value()) {
    VHDXM_TRY(const std::uint64_t bytes, (*former)->allocated_bytes());
    partial.held_bytes += bytes;
  }
  const auto journal = JournalFile::claim_existing(state, name);
  if (journal.has_error()) {
    partial.in_use = journal.error().code == Errc::kBusy;
    if (partial.in_use) return partial;
    return journal.error();
  }
  const auto read = (*journal)->read();
  if (read.has_error() || !*read) return partial;
  partial.id = hex_of((**read).job_id);
  partial.virtual_bytes = (**read).partial.offer.description.geometry.virtual_size_bytes;
  partial.resumable = file.has_value() || former.has_value();
  return partial;
}

}  // namespace

Result<std::vector<Partial>> list_partials(const Directory& folder) {
  std::vector<Partial> partials;
  VHDXM_TRY(const auto state, state_of(folder));
  if (!state) return partials;
  VHDXM_TRY(const auto names, state->list());
  for (const std::string& name : names) {
    if (!name.ends_with(kJournalEnding) || name.size() == kJournalEnding.size()) continue;
    auto partial = look_at(folder, *state, name.substr(0, name.size() - kJournalEnding.size()));
    // A job that ended well in between took its journal with it.
    if (partial.has_error() &&
        partial.error().code == boost::system::errc::no_such_file_or_directory) {
      continue;
    }
    if (partial.has_error()) return std::move(partial).error();
    partials.push_back(std::move(*partial));
  }
  return partials;
}

Result<void> remove_partial(const Directory& folder, const Partial& partial) {
  VHDXM_TRY(const auto state, folder.open_or_make_folder(kStateFolderName));
  // The lock is kept until both are gone: no job begins with one of the two.
  VHDXM_TRY(const auto journal, JournalFile::claim_existing(*state, partial.name));
  VHDXM_TRY_VOID(state->remove(JournalFile::former_name(partial.name)));
  VHDXM_TRY_VOID(folder.remove(partial.name + ".partial"));
  VHDXM_TRY_VOID(folder.sync());
  return journal->remove();
}

}  // namespace vhdxm::transfer
