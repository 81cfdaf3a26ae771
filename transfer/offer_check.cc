#include "transfer/offer_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/size_text.h"
#include "transfer/errc.h"
#include "transfer/seed_disk.h"
#include "vhdx/layer.h"
#include "vhdx/parent_link.h"

namespace vhdxm::transfer {
namespace {

// Room kept free beside the disks: journals, logs, and what else lives in the folder.
constexpr std::uint64_t kSpareBytes = 16 * vhdx::kMiB;

OfferRefusal refuse(Errc errc, const char* where, const std::string& subject, std::string text) {
  return {.error = Error{.code = errc, .where = where, .subject = subject},
          .text = std::move(text)};
}

OfferRefusal refuse(Error error) {
  std::string text = describe(error);
  return {.error = std::move(error), .text = std::move(text)};
}

std::string identity_text(const vhdx::Description& description) {
  return fmt::format("virtual disk {}, content {}, {}", to_string(description.virtual_disk_id),
                     to_string(description.data_write_guid),
                     format_size(description.geometry.virtual_size_bytes));
}

// The disk of the offer, before `index`, that disk `index` is the child of.
const OfferDisk* parent_in_offer(const std::vector<OfferDisk>& offer, std::size_t index) {
  const vhdx::ParentLocator& locator = *offer[index].description.parent;
  const auto linkage = locator.linkage();
  const auto linkage2 = locator.linkage2();
  for (std::size_t i = index; i > 0; --i) {
    const Guid& content = offer[i - 1].description.data_write_guid;
    if ((linkage && content == *linkage) || (linkage2 && content == *linkage2)) {
      return &offer[i - 1];
    }
  }
  return nullptr;
}

// Whether the file that has the name is the same disk as far as its identity says.
OfferVerdict compare_identity(const Directory& folder, const OfferDisk& disk) {
  auto file = folder.open_file(disk.name, {});
  if (file.has_error()) return refuse(std::move(file).error());
  auto layer = vhdx::Layer::open(std::move(*file), vhdx::Layer::Replay::kInMemory);
  if (layer.has_error()) {
    return refuse(Errc::kNameTaken, "not a VHDX that can be read", folder.path_of(disk.name),
                  fmt::format("{} exists at the destination and is no VHDX that can be read ({}). "
                              "It is never overwritten: remove it, or send under another name with "
                              "--as NAME.",
                              disk.name, describe(layer.error())));
  }
  const vhdx::Description& here = (*layer)->description();
  const bool same_linkage =
      !here.parent ||
      (disk.description.parent && here.parent->linkage() == disk.description.parent->linkage());
  if (here.geometry != disk.description.geometry || !same_linkage ||
      here.virtual_disk_id != disk.description.virtual_disk_id) {
    return refuse(
        Errc::kNameTaken, "a file of that name", folder.path_of(disk.name),
        fmt::format("Another disk has the name {} at the destination ({}); the one offered is {}. "
                    "It is never overwritten: send under another name with --as NAME, or move the "
                    "other one away.",
                    disk.name, identity_text(here), identity_text(disk.description)));
  }
  return CheckedOffer{};
}

// What a seed is refused for is told before anything is sent.
OfferVerdict check_seed(const Directory& folder, const OfferDisk& disk) {
  const auto seed = SeedDisk::open(folder, disk.seed_name, disk.description.geometry);
  if (seed.has_value()) return CheckedOffer{};
  return refuse(
      Errc::kIncompatible, "a seed", folder.path_of(disk.seed_name),
      fmt::format("{} cannot be taken as a seed at the destination: {}. Name a VHDX in {} "
                  "that nobody writes to, or send without --seed-from.",
                  disk.seed_name, describe(seed.error()), folder.path()));
}

std::uint64_t allocated(const Directory& folder, const std::string& name) {
  const auto file = folder.open_file(name, {});
  if (file.has_error()) return 0;
  const auto bytes = (*file)->allocated_bytes();
  return bytes.has_value() ? *bytes : 0;
}

// Room that the disk's partial takes already, and what was put aside of it: it is used again, or
// given back if there is no other.
std::uint64_t room_of_partial(const Directory& folder, const std::string& name) {
  std::uint64_t room = allocated(folder, name + ".partial");
  const auto exists = folder.exists(kStateFolderName);
  if (exists.has_error() || !*exists) return room;
  const auto state = folder.open_or_make_folder(kStateFolderName);
  if (state.has_value()) room += allocated(**state, JournalFile::former_name(name));
  return room;
}

// Nothing is made, or even looked for, outside the folders that there are.
std::optional<OfferRefusal> check_folders(const StorageFolders& folders,
                                          const std::vector<OfferDisk>& offer) {
  for (const OfferDisk& disk : offer) {
    if (folders.find(disk.folder) != nullptr) continue;
    return refuse(Errc::kIncompatible, "a storage folder that the destination does not have",
                  disk.folder,
                  fmt::format("The destination has no storage folder '{}' for {}: {}. That host's "
                              "settings name them.",
                              disk.folder, disk.name, folders.choice()));
  }
  return std::nullopt;
}

// Of a differencing disk: its locator is made fit for where both will lie.
std::optional<OfferRefusal> check_parent(const std::vector<OfferDisk>& offer, std::size_t index,
                                         OfferDisk& disk) {
  const OfferDisk* parent = parent_in_offer(offer, index);
  if (parent == nullptr) {
    return refuse(Errc::kIncompatible, "parent_linkage [MS-VHDX] 2.6.2.6.3", disk.name,
                  fmt::format("{} is a differencing disk and its parent is not offered before it.",
                              disk.name));
  }
  if (parent->folder != disk.folder) {
    return refuse(Errc::kIncompatible, "a differencing disk in another folder than its parent",
                  disk.name,
                  fmt::format("{} is a differencing disk and its parent, {}, would be in another "
                              "folder of the destination: they go to one folder together.",
                              text_of_place(disk.folder, disk.name),
                              text_of_place(parent->folder, parent->name)));
  }
  auto locator = vhdx::locator_beside(*disk.description.parent, parent->name);
  if (locator.has_error()) return refuse(std::move(locator).error().about(disk.name));
  disk.description.parent = std::move(*locator);
  return std::nullopt;
}

// Room that is wanted of one file system, by one folder of it or several.
struct WantedRoom {
  std::uint64_t file_system = 0;
  const Directory* folder = nullptr;  ///< The first of them.
  std::uint64_t bytes = 0;
};

Result<void> want_room(const Directory& folder, std::uint64_t bytes,
                       std::vector<WantedRoom>& wanted) {
  VHDXM_TRY(const std::uint64_t file_system, folder.file_system());
  for (WantedRoom& one : wanted) {
    if (one.file_system != file_system) continue;
    one.bytes += bytes;
    return {};
  }
  wanted.push_back({.file_system = file_system, .folder = &folder, .bytes = bytes});
  return {};
}

std::optional<OfferRefusal> check_room(const std::vector<WantedRoom>& wanted) {
  for (const WantedRoom& one : wanted) {
    auto free = one.folder->free_bytes();
    if (free.has_error()) return refuse(std::move(free).error());
    const std::uint64_t needed = one.bytes + kSpareBytes;
    if (one.bytes == 0 || needed <= *free) continue;
    const std::string& path = one.folder->path();
    return OfferRefusal{.error = Error{.code = Errc::kNoSpace,
                                       .where = "bytes",
                                       .found = *free,
                                       .expected = needed,
                                       .subject = path},
                        .text = fmt::format("{} has {} free and needs {}.", path,
                                            format_size(*free), format_size(needed))};
  }
  return std::nullopt;
}

// One disk of `checked`, all before it were checked.
std::optional<OfferRefusal> check_disk(const Directory& folder, CheckedOffer& checked,
                                       std::size_t index, std::vector<WantedRoom>& wanted) {
  OfferDisk& disk = checked.disks[index];
  const auto begin = checked.disks.begin();
  const bool twice =
      std::any_of(begin, begin + static_cast<std::ptrdiff_t>(index), [&](const OfferDisk& other) {
        return other.name == disk.name && other.folder == disk.folder;
      });
  if (twice) {
    return refuse(
        Errc::kIncompatible, "two disks of one name", disk.name,
        fmt::format("Two disks are called {}; in one folder they need two names.", disk.name));
  }
  if (disk.description.parent) {
    if (auto refusal = check_parent(checked.disks, index, disk)) return refusal;
  }
  auto exists = folder.exists(disk.name);
  if (exists.has_error()) return refuse(std::move(exists).error());
  checked.actions.push_back(*exists ? OfferAction::kCompare : OfferAction::kSend);
  if (*exists) {
    if (auto same = compare_identity(folder, disk); same.has_error()) {
      return std::move(same).error();
    }
    return std::nullopt;
  }
  // Bounded by the sender's honesty only: what it says too little of is met as ENOSPC.
  std::uint64_t needed = std::min(disk.payload_bytes, 2 * vhdx::kVirtualSizeMax);
  needed -= std::min(needed, room_of_partial(folder, disk.name));
  if (auto noted = want_room(folder, needed, wanted); noted.has_error()) {
    return refuse(std::move(noted).error());
  }
  if (disk.seed_name.empty()) return std::nullopt;
  if (auto seed = check_seed(folder, disk); seed.has_error()) return std::move(seed).error();
  return std::nullopt;
}

}  // namespace

OfferVerdict check_offer(const StorageFolders& folders, const std::vector<OfferDisk>& offer) {
  if (auto refusal = check_folders(folders, offer)) return std::move(*refusal);
  CheckedOffer checked;
  checked.disks = offer;
  std::vector<WantedRoom> wanted;
  for (std::size_t i = 0; i < offer.size(); ++i) {
    const Directory& folder = folders.of(offer[i].folder);
    if (auto refusal = check_disk(folder, checked, i, wanted)) return std::move(*refusal);
  }
  if (auto refusal = check_room(wanted)) return std::move(*refusal);
  return checked;
}

}  // namespace vhdxm::transfer
