// How a job ended well, for a person and for a program.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>

#include "transfer/progress.h"

namespace vhdxm::tools {

struct SendOutcome {
  transfer::JobReport report;
  std::string host;      ///< As it was asked for.
  unsigned streams = 0;  ///< The most that were up at once.
};

/// "web01.vhdx is complete at newhost; the source keeps its copy and is unchanged."
std::string ownership_sentence(const SendOutcome& outcome);

/// The sentence, then a table: bytes, saved, time, streams, security, ledger. Without the last line
/// end.
std::string summary_text(const SendOutcome& outcome);

/// The members of {"type":"done"}.
boost::json::object summary_json(const SendOutcome& outcome);

}  // namespace vhdxm::tools
