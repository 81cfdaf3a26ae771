// Holds an offer against the folders it would go to: names, identities, linkage and room.
#pragma once

#include <string>
#include <vector>

#include "transfer/messages.h"
#include "transfer/storage_folders.h"

namespace vhdxm::transfer {

/// What the receiver will do with each disk of an offer, and as what it will write it.
struct CheckedOffer {
  std::vector<OfferAction> actions;
  /// The offer with locators that resolve in the disks' folder: `relative_path` is `.\NAME`. Each
  /// disk's folder is one of those that there are.
  std::vector<OfferDisk> disks;
};

/// Why an offer is turned down, in words for the sender's person.
struct OfferRefusal {
  Error error;
  std::string text;
};

class [[nodiscard]] OfferVerdict : public boost::system::result<CheckedOffer, OfferRefusal> {
 public:
  using boost::system::result<CheckedOffer, OfferRefusal>::result;
};

/// Opens and reads files, so it may take a while. Errors: kNameTaken (both identities are named),
/// kIncompatible (a folder that is not there, two disks of one name in a folder, a child without
/// its parent, or in another folder), kNoSpace, the system's.
OfferVerdict check_offer(const StorageFolders& folders, const std::vector<OfferDisk>& offer);

}  // namespace vhdxm::transfer
