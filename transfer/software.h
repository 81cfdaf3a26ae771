// What this program calls itself to a peer, for logs and for a person; never branched on.
#pragma once

namespace vhdxm::transfer {

inline constexpr char kVersionText[] = "0.1.0";
inline constexpr char kSoftware[] = "vhdx-migrate 0.1.0";

}  // namespace vhdxm::transfer
