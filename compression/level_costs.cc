#include "compression/level_costs.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <ctime>

#include "base/check.h"
#include "compression/errc.h"
#include "compression/probe.h"

namespace vhdxm::compression {
namespace {

/// CPU seconds of the calling thread.
double thread_cpu_s() {
  timespec now{};
  VHDXM_CHECK(::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

/// `index` with its low `bits` in reverse order: counted up, it visits a range coarsely first.
std::size_t reversed(std::size_t index, unsigned bits) {
  std::size_t result = 0;
  for (unsigned i = 0; i < bits; ++i) result |= (index >> i & 1) << (bits - 1 - i);
  return result;
}

/// Sums over samples of what one level took.
struct Totals {
  std::size_t wire_bytes = 0;
  double compress_s = 0;
  double decompress_s = 0;
};

class Measurement {
 public:
  Measurement(const LevelCostOptions& options, Compressor& compressor, Decompressor& decompressor,
              std::span<std::byte> packed, std::span<std::byte> unpacked)
      : options_(options),
        compressor_(compressor),
        decompressor_(decompressor),
        packed_(packed),
        unpacked_(unpacked),
        totals_(options.levels.size()),
        began_s_(thread_cpu_s()) {}

  bool within_budget() const { return thread_cpu_s() - began_s_ < options_.cpu_budget_s; }

  Result<void> add(std::span<const std::byte> sample) {
    VHDXM_CHECK(sample.size() <= packed_.size() && sample.size() <= unpacked_.size());
    const double before = thread_cpu_s();
    const bool worth_trying = probe(sample).worth_trying;
    const double probe_s = thread_cpu_s() - before;
    ++costs_.sample_count;
    costs_.sample_bytes += sample.size();
    if (!worth_trying) costs_.probed_no_bytes += sample.size();
    for (std::size_t i = 0; i < totals_.size(); ++i) {
      totals_[i].compress_s += probe_s;
      if (worth_trying) {
        VHDXM_TRY_VOID(try_level(sample, options_.levels[i], totals_[i]));
      } else {
        totals_[i].wire_bytes += sample.size();
      }
    }
    return {};
  }

  LevelCosts finish() && {
    const auto bytes = static_cast<double>(costs_.sample_bytes);
    costs_.rows.reserve(totals_.size() + 1);
    costs_.rows.push_back(LevelCost{});
    for (std::size_t i = 0; i < totals_.size() && bytes > 0; ++i) {
      costs_.rows.push_back({.level = options_.levels[i],
                             .ratio = static_cast<double>(totals_[i].wire_bytes) / bytes,
                             .compress_s_per_byte = totals_[i].compress_s / bytes,
                             .decompress_s_per_byte = totals_[i].decompress_s / bytes});
    }
    costs_.cpu_s = thread_cpu_s() - began_s_;
    return std::move(costs_);
  }

 private:
  Result<void> try_level(std::span<const std::byte> sample, int level, Totals& totals) {
    const double start = thread_cpu_s();
    const auto length =
        compressor_.compress(sample, level, packed_.first(worthwhile_bytes_max(sample.size())));
    const double compressed = thread_cpu_s();
    totals.compress_s += compressed - start;
    totals.wire_bytes += length.value_or(sample.size());
    if (!length) return {};
    const auto unpacked = unpacked_.first(sample.size());
    VHDXM_TRY_VOID(decompressor_.decompress(packed_.first(*length), unpacked));
    totals.decompress_s += thread_cpu_s() - compressed;
    if (!std::equal(sample.begin(), sample.end(), unpacked.begin())) {
      return codec_error(Errc::kCorrupt, "content of a sample that was compressed");
    }
    return {};
  }

  const LevelCostOptions& options_;
  Compressor& compressor_;
  Decompressor& decompressor_;
  std::span<std::byte> packed_;
  std::span<std::byte> unpacked_;
  std::vector<Totals> totals_;
  double began_s_;
  LevelCosts costs_;
};

}  // namespace

Result<LevelCosts> measure_level_costs(std::span<const std::span<const std::byte>> samples,
                                       const LevelCostOptions& options, Compressor& compressor,
                                       Decompressor& decompressor, std::span<std::byte> packed,
                                       std::span<std::byte> unpacked) {
  VHDXM_CHECK(!samples.empty());
  Measurement measurement(options, compressor, decompressor, packed, unpacked);
  const auto bits = static_cast<unsigned>(std::bit_width(samples.size() - 1));
  bool is_first = true;
  for (std::size_t i = 0; i < std::size_t{1} << bits; ++i) {
    const std::size_t at = reversed(i, bits);
    if (at >= samples.size()) continue;
    if (!is_first && !measurement.within_budget()) break;
    VHDXM_TRY_VOID(measurement.add(samples[at]));
    is_first = false;
  }
  return std::move(measurement).finish();
}

void calibrate(std::span<LevelCost> costs, int level, double compress_s_per_byte,
               double decompress_s_per_byte) {
  const auto seen = std::find_if(costs.begin(), costs.end(),
                                 [level](const LevelCost& cost) { return cost.level == level; });
  if (seen == costs.end()) return;
  const auto factor = [](double there, double here) { return here > 0 ? there / here : 1; };
  const double compress = factor(compress_s_per_byte, seen->compress_s_per_byte);
  const double decompress = factor(decompress_s_per_byte, seen->decompress_s_per_byte);
  for (LevelCost& cost : costs) {
    cost.compress_s_per_byte *= compress;
    cost.decompress_s_per_byte *= decompress;
  }
}

}  // namespace vhdxm::compression
