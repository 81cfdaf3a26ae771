#include "vhdx/check_metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "vhdx/metadata.h"
#include "vhdx/parent_locator.h"

namespace vhdxm::vhdx {
namespace {

using MetadataTableBytes = std::array<std::byte, kMetadataTableBytes>;

constexpr std::uint32_t kOfDisk = kMetadataIsVirtualDisk | kMetadataIsRequired;

struct KnownItem {
  Guid id;
  std::string_view name;
  const char* rule;
  std::uint32_t flags;
  std::uint32_t length;  ///< Bytes; 0: as long as it likes.
  bool always;           ///< Every disk has it.
};
constexpr std::array kKnownItems = {
    KnownItem{kFileParametersItem, "File Parameters", "2.6.2.1", kMetadataIsRequired, 8, true},
    KnownItem{kVirtualDiskSizeItem, "Virtual Disk Size", "2.6.2.2", kOfDisk, 8, true},
    KnownItem{kVirtualDiskIdItem, "Virtual Disk ID", "2.6.2.3", kOfDisk, 16, true},
    KnownItem{kLogicalSectorSizeItem, "Logical Sector Size", "2.6.2.4", kOfDisk, 4, true},
    KnownItem{kPhysicalSectorSizeItem, "Physical Sector Size", "2.6.2.5", kOfDisk, 4, true},
    KnownItem{kParentLocatorItem, "Parent Locator", "2.6.2.6", kMetadataIsRequired, 0, false}};

const KnownItem* known_item(const RawMetadataTableEntry& entry) {
  if ((entry.flags & kMetadataIsUser) != 0) return nullptr;
  const auto item = std::find_if(kKnownItems.begin(), kKnownItems.end(),
                                 [&](const KnownItem& known) { return known.id == entry.item_id; });
  return item == kKnownItems.end() ? nullptr : &*item;
}

std::string name_of(const RawMetadataTableEntry& entry) {
  const KnownItem* known = known_item(entry);
  return known != nullptr ? "item " + std::string(known->name) : "item " + braced(entry.item_id);
}

class MetadataCheck {
 public:
  MetadataCheck(File& file, const Region& region, FindingList& findings)
      : file_(file), region_(region), findings_(findings) {}

  Result<std::optional<Geometry>> run() {
    const auto bytes = std::make_unique<MetadataTableBytes>();
    std::size_t got = 0;
    if (region_.length >= kMetadataTableBytes) {
      VHDXM_TRY(got, file_.read_some_at(region_.file_offset, *bytes));
    }
    if (got < bytes->size()) {
      findings_.corrupt("2.6", "the metadata region or the file ends inside the metadata table",
                        region_.file_offset);
      return std::optional<Geometry>{};
    }
    if (!check_table(*bytes)) return std::optional<Geometry>{};
    for (const KnownItem& known : kKnownItems) {
      if (known.always && find(known.id) == nullptr) {
        findings_.corrupt(known.rule, fmt::format("there is no item {}", known.name),
                          region_.file_offset);
      }
    }
    VHDXM_TRY(const std::optional<Geometry> geometry, check_geometry());
    VHDXM_TRY_VOID(check_locator());
    return geometry;
  }

 private:
  struct Place {
    std::uint64_t begin;
    std::uint64_t end;
    std::uint64_t entry_offset;
    std::string name;
  };

  bool check_table(const MetadataTableBytes& bytes) {
    const std::uint64_t table = region_.file_offset;
    const auto header = load_raw<RawMetadataTableHeader>(bytes.data());
    if (header.signature != kMetadataSignature) {
      findings_.corrupt("2.6.1.1", "the metadata table has no signature", table);
      return false;
    }
    const bool reserved_is_zero =
        header.reserved == 0 && std::all_of(header.reserved2.begin(), header.reserved2.end(),
                                            [](Le32 word) { return word == 0; });
    if (!reserved_is_zero) {
      findings_.warning("2.6.1.1", "reserved fields of the metadata table are not zero", table);
    }
    std::uint32_t count = header.entry_count;
    if (count > kMetadataEntryCountMax) {
      findings_.corrupt("2.6.1.1",
                        fmt::format("the metadata table has an EntryCount of {}, the most is {}",
                                    count, kMetadataEntryCountMax),
                        table + offsetof(RawMetadataTableHeader, entry_count));
      count = kMetadataEntryCountMax;
    }
    std::uint32_t user_items = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::size_t in_table = sizeof header + i * sizeof(RawMetadataTableEntry);
      const auto entry = load_raw<RawMetadataTableEntry>(bytes.data() + in_table);
      check_entry(entry, table + in_table);
      if ((entry.flags & kMetadataIsUser) != 0) ++user_items;
    }
    if (user_items > kMetadataUserEntryCountMax) {
      findings_.corrupt("2.6.1.2",
                        fmt::format("{} items are the user's, the most is {}", user_items,
                                    kMetadataUserEntryCountMax),
                        table);
    }
    check_overlaps();
    return true;
  }

  void check_entry(const RawMetadataTableEntry& entry, std::uint64_t at) {
    const std::string name = name_of(entry);
    const std::uint32_t flags = entry.flags;
    const bool is_user = (flags & kMetadataIsUser) != 0;
    if (!seen_.emplace(entry.item_id, is_user).second) {
      findings_.corrupt("2.6.1.2", name + " stands in the table twice", at);
      return;
    }
    check_flags(entry, name, at);
    if (entry.length == 0) {
      if (entry.offset != 0) {
        findings_.corrupt(
            "2.6.1.2",
            fmt::format("{} is empty, but its Offset is {}", name, std::uint32_t{entry.offset}),
            at + offsetof(RawMetadataTableEntry, offset));
      }
    } else if (entry.length > kMetadataItemBytesMax || entry.offset < kMetadataTableBytes ||
               std::uint64_t{entry.offset} + entry.length > region_.length) {
      findings_.corrupt(
          "2.6.1.2",
          fmt::format("{} has {} bytes at {}: it must lie between the table and the end of the "
                      "region, {}, and be at most 1 MiB long",
                      name, std::uint32_t{entry.length}, std::uint32_t{entry.offset},
                      region_.length),
          at + offsetof(RawMetadataTableEntry, offset));
      return;
    } else {
      places_.push_back({entry.offset, std::uint64_t{entry.offset} + entry.length, at, name});
    }
    if (known_item(entry) != nullptr) found_.push_back(entry);
  }

  void check_flags(const RawMetadataTableEntry& entry, const std::string& name, std::uint64_t at) {
    const std::uint32_t flags = entry.flags;
    const std::uint64_t flags_at = at + offsetof(RawMetadataTableEntry, flags);
    constexpr std::uint32_t kAll = kMetadataIsUser | kMetadataIsVirtualDisk | kMetadataIsRequired;
    if ((flags & ~kAll) != 0 || entry.reserved != 0) {
      findings_.warning("2.6.1.2", name + " has reserved bits set", flags_at);
    }
    if (entry.item_id.is_zero()) {
      findings_.note("2.6.1.2", "an item's ItemId is zero, which identifies nothing", at);
    }
    if (const KnownItem* known = known_item(entry)) {
      if ((flags & kAll) != known->flags) {
        findings_.note("2.6.2",
                       fmt::format("{} has the flags {:#x} instead of {:#x}", name, flags & kAll,
                                   known->flags),
                       flags_at);
      }
      return;
    }
    if (entry.item_id == kIncompleteFileItem && (flags & kMetadataIsUser) == 0) {
      findings_.corrupt("", "its producer marked the file as not finished", at);
    } else if ((flags & kMetadataIsRequired) != 0) {
      findings_.corrupt("2.6.1.2", name + " must be understood, and this program does not", at);
    } else if ((flags & kMetadataIsUser) == 0) {
      findings_.note("2.6.1.2", name + " is optional and unknown", at);
    }
  }

  void check_overlaps() {
    std::sort(places_.begin(), places_.end(), [](const Place& a, const Place& b) {
      return std::pair(a.begin, a.entry_offset) < std::pair(b.begin, b.entry_offset);
    });
    std::size_t widest = 0;  // The place so far that ends last.
    for (std::size_t i = 1; i < places_.size(); ++i) {
      if (places_[i].begin < places_[widest].end) {
        findings_.corrupt("2.6.1.2",
                          fmt::format("{} overlaps {}", places_[i].name, places_[widest].name),
                          places_[i].entry_offset);
      }
      if (places_[i].end > places_[widest].end) widest = i;
    }
  }

  const RawMetadataTableEntry* find(const Guid& id) const {
    const auto entry =
        std::find_if(found_.begin(), found_.end(),
                     [&](const RawMetadataTableEntry& found) { return found.item_id == id; });
    return entry == found_.end() ? nullptr : &*entry;
  }

  std::uint64_t place(const RawMetadataTableEntry& entry) const {
    return region_.file_offset + entry.offset;
  }

  /// The bytes of an item, or nothing if it is missing or cannot be read as what it is.
  Result<std::optional<std::vector<std::byte>>> content(const Guid& id) {
    std::optional<std::vector<std::byte>> nothing;
    const RawMetadataTableEntry* entry = find(id);
    if (entry == nullptr) return nothing;
    const KnownItem& known = *known_item(*entry);
    const std::uint32_t length = entry->length;
    if (known.length != 0 && length != known.length) {
      // 8 bytes for the physical sector size have been seen; the value is in the first 4.
      const bool tolerated = id == kPhysicalSectorSizeItem && length > 4 && length <= 8;
      findings_.add(
          tolerated ? Finding::Severity::kWarning : Finding::Severity::kCorrupt, known.rule,
          fmt::format("item {} has {} bytes instead of {}", known.name, length, known.length),
          place(*entry));
      if (!tolerated) return nothing;
    }
    std::vector<std::byte> bytes(length);
    VHDXM_TRY(const std::size_t got, file_.read_some_at(place(*entry), bytes));
    if (got < bytes.size()) {
      findings_.corrupt("2.6.1.2", fmt::format("the file ends inside item {}", known.name),
                        place(*entry));
      return nothing;
    }
    return std::optional(std::move(bytes));
  }

  Result<std::optional<Geometry>> check_geometry() {
    VHDXM_TRY(const auto parameters, content(kFileParametersItem));
    VHDXM_TRY(const auto size, content(kVirtualDiskSizeItem));
    VHDXM_TRY(const auto id, content(kVirtualDiskIdItem));
    VHDXM_TRY(const auto logical, content(kLogicalSectorSizeItem));
    VHDXM_TRY(const auto physical, content(kPhysicalSectorSizeItem));
    Geometry geometry;
    if (parameters) {
      const auto raw = load_raw<RawFileParameters>(parameters->data());
      const std::uint64_t at = place(*find(kFileParametersItem));
      if ((raw.flags & ~(kLeaveBlockAllocated | kHasParent)) != 0) {
        findings_.warning("2.6.2.1", "reserved bits of File Parameters are set", at);
      }
      has_parent_ = (raw.flags & kHasParent) != 0;
      if (*has_parent_ && (raw.flags & kLeaveBlockAllocated) != 0) {
        findings_.note("2.6.2.1", "LeaveBlockAllocated means nothing in a disk that has a parent",
                       at);
      }
      geometry.block_bytes = raw.block_size;
      geometry.type = *has_parent_                              ? DiskType::kDifferencing
                      : (raw.flags & kLeaveBlockAllocated) != 0 ? DiskType::kFixed
                                                                : DiskType::kDynamic;
    }
    if (id && load_raw<Guid>(id->data()).is_zero()) {
      findings_.note("2.6.2.3", "the Virtual Disk ID is zero", place(*find(kVirtualDiskIdItem)));
    }
    if (!parameters || !size || !logical || !physical) return std::optional<Geometry>{};
    geometry.virtual_size_bytes = load_raw<Le64>(size->data());
    geometry.logical_sector_bytes = load_raw<Le32>(logical->data());
    geometry.physical_sector_bytes = load_raw<Le32>(physical->data());
    if (const auto valid = geometry.validate(); valid.has_error()) {
      findings_.add_error(Finding::Severity::kCorrupt, valid.error());
      return std::optional<Geometry>{};
    }
    if (geometry.physical_sector_bytes < geometry.logical_sector_bytes) {
      findings_.note("2.6.2.5", "physical sectors are smaller than logical ones",
                     place(*find(kPhysicalSectorSizeItem)));
    }
    return std::optional(geometry);
  }

  Result<void> check_locator() {
    const RawMetadataTableEntry* entry = find(kParentLocatorItem);
    if (entry == nullptr) {
      if (has_parent_.value_or(false)) {
        findings_.corrupt("2.6.2.6", "the disk has a parent, but no parent locator",
                          region_.file_offset);
      }
      return {};
    }
    if (has_parent_.has_value() && !*has_parent_) {
      findings_.warning("2.6.2.6", "there is a parent locator, but the disk has no parent",
                        place(*entry));
      return {};
    }
    VHDXM_TRY(const auto bytes, content(kParentLocatorItem));
    if (!bytes) return {};
    const auto parsed = parse_parent_locator(*bytes, place(*entry));
    if (parsed.has_error()) {
      findings_.add_error(Finding::Severity::kCorrupt, parsed.error());
      return {};
    }
    const std::uint64_t at = place(*entry);
    if (load_raw<RawParentLocatorHeader>(bytes->data()).reserved != 0) {
      findings_.warning("2.6.2.6.1", "the reserved field of the parent locator is not zero",
                        at + offsetof(RawParentLocatorHeader, reserved));
    }
    check_locator_paths(*parsed, at);
    const auto linkage = parsed->linkage();
    if (!linkage || linkage->is_zero()) {
      findings_.corrupt("2.6.2.6.3", "the parent locator has no parent_linkage that is a GUID", at);
    }
    if (parsed->find(kParentLinkage2Key) != nullptr && !parsed->linkage2()) {
      findings_.note("2.6.2.6.3", "parent_linkage2 is zero (Windows writes it so) or no GUID", at);
    }
    if (parsed->find(kRelativePathKey) == nullptr && parsed->find(kVolumePathKey) == nullptr &&
        parsed->find(kAbsoluteWin32PathKey) == nullptr) {
      findings_.corrupt("2.6.2.6.3", "the parent locator has no path: the parent cannot be found",
                        at);
    }
    return {};
  }

  void check_locator_paths(const ParentLocator& locator, std::uint64_t at) {
    const std::string* absolute = locator.find(kAbsoluteWin32PathKey);
    if (absolute != nullptr && !absolute->starts_with("\\\\?\\")) {
      findings_.note("2.6.2.6.3",
                     "absolute_win32_path does not begin with \\\\?\\ (Windows writes it so)", at);
    }
    const std::string* volume = locator.find(kVolumePathKey);
    if (volume != nullptr && !volume->empty() && !volume->starts_with("\\\\?\\Volume{")) {
      findings_.note("2.6.2.6.3", "volume_path does not begin with \\\\?\\Volume{", at);
    }
    const std::string* relative = locator.find(kRelativePathKey);
    const bool is_absolute =
        relative != nullptr && (relative->starts_with("\\") || relative->starts_with("/") ||
                                (relative->size() > 1 && (*relative)[1] == ':'));
    if (is_absolute) findings_.note("2.6.2.6.3", "relative_path is not relative", at);
    for (const auto& [key, value] : locator.entries) {
      const bool known = key == kParentLinkageKey || key == kParentLinkage2Key ||
                         key == kRelativePathKey || key == kVolumePathKey ||
                         key == kAbsoluteWin32PathKey;
      if (!known) {
        findings_.note("2.6.2.6.3", fmt::format("the parent locator has an unknown key, {}", key),
                       at);
      }
    }
  }

  File& file_;
  const Region& region_;
  FindingList& findings_;
  std::set<std::pair<Guid, bool>> seen_;
  std::vector<RawMetadataTableEntry> found_;  ///< Of known items, those whose place is sound.
  std::vector<Place> places_;
  std::optional<bool> has_parent_;  ///< Nothing if File Parameters cannot be read.
};

}  // namespace

Result<std::optional<Geometry>> check_metadata(File& file, const Region& region,
                                               FindingList& findings) {
  return MetadataCheck(file, region, findings).run();
}

}  // namespace vhdxm::vhdx
