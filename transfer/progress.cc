#include "transfer/progress.h"

namespace vhdxm::transfer {

const char* to_string(Phase phase) {
  switch (phase) {
    case Phase::kConnecting:
      return "connecting";
    case Phase::kPlanning:
      return "planning";
    case Phase::kComparing:
      return "comparing";
    case Phase::kCopying:
      return "copying";
    case Phase::kSealing:
      return "sealing";
    case Phase::kVerifying:
      return "verifying";
    case Phase::kCommitting:
      return "committing";
    case Phase::kDone:
      return "done";
  }
  return "unknown";
}

const char* to_string(Bottleneck bottleneck) {
  switch (bottleneck) {
    case Bottleneck::kUnknown:
      return "unknown";
    case Bottleneck::kLink:
      return "link";
    case Bottleneck::kSourceDisk:
      return "source disk";
    case Bottleneck::kSourceProcessor:
      return "source processor";
    case Bottleneck::kDestinationDisk:
      return "destination disk";
    case Bottleneck::kDestinationProcessor:
      return "destination processor";
  }
  return "unknown";
}

}  // namespace vhdxm::transfer
