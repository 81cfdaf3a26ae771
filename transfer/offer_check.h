// Holds an offer against the folder it would go to: names, identities, linkage and room.
#pragma once

#include <string>
#include <vector>

#include "base/directory.h"
#include "transfer/messages.h"

namespace vhdxm::transfer {

/// What the receiver will do with each disk of an offer, and as what it will write it.
struct CheckedOffer {
  std::vector<OfferAction> actions;
  /// The offer with locators that resolve in the folder: `relative_path` is `.\NAME`.
  std::vector<OfferDisk> disks;
  std::uint64_t bytes_needed = 0;  ///< Room for the disks with OfferAction::kSend.
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
/// kIncompatible (two disks of one name, a child without its parent), kNoSpace, the system's.
OfferVerdict check_offer(const Directory& folder, const std::vector<OfferDisk>& offer);

}  // namespace vhdxm::transfer
