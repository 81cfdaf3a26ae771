// What tests of either side of a hand-over do with its actions.
#pragma once

#include <gtest/gtest.h>

#include <variant>

#include "base/result.h"
#include "migration/handover_messages.h"

namespace vhdxm::migration {

inline const Result<void> kWell;
inline const Result<void> kBadly = Error{.code = BaseErrc::kInjected};

/// The next action of a HandoverSource or HandoverTarget, which must be of this kind.
template <class Kind, class Side>
Kind next_of(Side& side) {
  auto action = side.next_action();
  EXPECT_TRUE(action.has_value()) << "there is no action";
  if (!action) return Kind{};
  EXPECT_TRUE(std::holds_alternative<Kind>(*action)) << "action " << action->index();
  auto* found = std::get_if<Kind>(&*action);
  return found != nullptr ? *found : Kind{};
}

/// The message that is its next action, which must be of this kind.
template <class Kind, class Side>
Kind sent_by(Side& side) {
  const auto message = next_of<typename Side::Send>(side).message;
  EXPECT_TRUE(std::holds_alternative<Kind>(message)) << name_of(message);
  const auto* found = std::get_if<Kind>(&message);
  return found != nullptr ? *found : Kind{};
}

template <class Side>
bool is_idle(Side& side) {
  return !side.next_action().has_value();
}

}  // namespace vhdxm::migration
