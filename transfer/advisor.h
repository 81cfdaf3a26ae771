// How long a move will take, and whether to compress, before it is begun.
//
// Looks at a spread sample of the disk, at the way to the receiver and at both hosts' processors
// and disks, and puts what it finds into the model that Mode::kAuto goes by too
// (compression/link_model.h; docs/compression.md).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compression/link_model.h"
#include "transfer/sender.h"

namespace vhdxm::transfer {

struct AdviceOptions {
  /// As for the move itself. `host` empty: nobody is asked, and the two after it say what there is.
  SenderOptions move;
  double link_bytes_per_second = 0;  ///< Without a host; 0: no limit.
  unsigned peer_processors = 0;      ///< Without a host; 0: as many as here.
};

struct Advice {
  struct Row {
    Mode mode = Mode::kPlain;
    std::optional<int> level = {};  ///< Mode::kCompress: its level. Mode::kAuto: the strong one.
    std::optional<int> light = {};  ///< Mode::kAuto: the lighter way, nothing for plain.
    double strong_share = 0;        ///< Mode::kAuto.
    compression::Prediction prediction;
  };
  std::vector<Row> rows;  ///< Plain, levels from fast to strong, auto.
  std::size_t recommended =
      0;  ///< Index of the row: the fastest; of equals the one with least CPU.
  compression::Conditions conditions;
  std::uint64_t payload_bytes = 0;  ///< What the maps say there is to move.
  std::uint64_t sample_bytes = 0;   ///< That were read of it.
  double zero_share = 0;            ///< Of the sample: zeros, which are not sent.
  double incompressible_share = 0;  ///< Of the rest: what the probe says does not compress.
  bool link_measured = false;       ///< It was the bottleneck: conditions has what it carries.
  std::string peer;                 ///< Empty without a host.
};

/// Thread safety: run() once; cancel() from any other thread.
class Advisor {
 public:
  explicit Advisor(AdviceOptions options);
  ~Advisor();
  Advisor(const Advisor&) = delete;
  Advisor& operator=(const Advisor&) = delete;

  /// Takes up to five seconds. Reads at most 1 % of the disk's payload, but at least one extent.
  /// Blocks.
  boost::system::result<Advice, Failure> run();
  void cancel();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vhdxm::transfer
