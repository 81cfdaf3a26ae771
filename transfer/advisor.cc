#include "transfer/advisor.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "base/processor_time.h"
#include "compression/level_costs.h"
#include "transfer/auto_mode.h"
#include "transfer/host_measures.h"
#include "transfer/link_measurer.h"
#include "transfer/sample_disk.h"
#include "transfer/send_setup.h"
#include "transfer/source_chain.h"

namespace vhdxm::transfer {
namespace {

using compression::Conditions;
using compression::LevelCost;

// Of the payload, that may be read: what a person would call nothing.
constexpr std::uint64_t kSamplePart = 100;
constexpr std::uint64_t kSampleBytesMax = 16 * 1024 * 1024;
constexpr double kLevelsCpuSeconds = 1.0;
// Streams that wait for the network for more than this of their time are bounded by it.
constexpr double kLinkBound = 0.25;
// Until somebody was asked: processor seconds a byte, as measured (docs/compression.md#the-model).
constexpr double kRawCost = 0.25e-9;
constexpr double kWireCost = 0.45e-9;
constexpr double kWriteCost = 0.15e-9;
// What a move takes beside what flows: to start, to offer, plan and make the file, to sync and name
// it; and how often it takes a connection's time, for connections and questions that wait for an
// answer (docs/compression.md#advise-the-choice-before-it-runs).
constexpr double kLatencySeconds = 0.07;
constexpr double kLatencyConnections = 3;
constexpr double kEqual = 0.02;

// Costs of a raw and of a wire byte, from two flows with different shares of both.
struct ByteCosts {
  double raw = 0;
  double wire = 0;
};

ByteCosts split(double plain_cpu, const FlowMeasure& plain, double packed_cpu,
                const FlowMeasure& packed) {
  if (plain.raw_bytes <= 0 || plain.wire_bytes <= 0) return {.raw = kRawCost, .wire = kWireCost};
  const double each = plain_cpu / plain.raw_bytes;  // a raw byte is a wire byte
  ByteCosts costs{.raw = each * kRawCost / (kRawCost + kWireCost)};
  const double ratio = packed.raw_bytes > 0 ? packed.wire_bytes / packed.raw_bytes : 1;
  // Two equations with two unknowns, as long as compression made a difference.
  if (ratio < 0.8) {
    const double packed_each = packed_cpu / packed.raw_bytes;
    costs.raw = std::clamp((packed_each - ratio * each) / (1 - ratio), 0.0, each);
  }
  costs.wire = each - costs.raw;
  return costs;
}

}  // namespace

struct Advisor::Impl {
  const AdviceOptions options;
  std::atomic<bool> cancelled{false};
  std::mutex mutex;
  LinkMeasurer* measurer = nullptr;  ///< Protected by mutex.

  explicit Impl(AdviceOptions wanted) : options(std::move(wanted)) {}

  Result<Advice> look_at_disk(DiskSample& sample, std::vector<LevelCost>& costs);
  boost::system::result<LinkMeasure, Failure> measure(const DiskSample& sample);
  void assume(Advice& advice) const;
  void apply(const LinkMeasure& link, Advice& advice, std::vector<LevelCost>& costs) const;
  void predict(Advice& advice, const std::vector<LevelCost>& costs, double data_share) const;
  boost::system::result<Advice, Failure> run();
};

Result<Advice> Advisor::Impl::look_at_disk(DiskSample& sample, std::vector<LevelCost>& costs) {
  const SenderOptions& move = options.move;
  VHDXM_TRY(const auto chain, SourceChain::open(move.disk_path, move.name, move.flatten));
  Advice advice;
  std::uint32_t largest = 0;
  for (std::uint32_t disk = 0; disk < chain->size(); ++disk) {
    advice.payload_bytes += chain->payload_bytes(disk);
    if (chain->payload_bytes(disk) > chain->payload_bytes(largest)) largest = disk;
  }
  VHDXM_TRY(sample, sample_disk(chain->view(largest), chain->payload_bytes(largest),
                                std::min(advice.payload_bytes / kSamplePart, kSampleBytesMax)));
  advice.sample_bytes = sample.read_bytes;
  if (sample.read_bytes > 0) {
    advice.zero_share =
        static_cast<double>(sample.zero_bytes) / static_cast<double>(sample.read_bytes);
    advice.conditions.source_bytes_per_s = sample.read_bytes_per_second;
  }
  costs = {LevelCost{}};
  if (sample.bytes.empty()) return advice;

  const std::size_t extent = extent_of(move);
  std::vector<std::span<const std::byte>> extents;
  for (std::size_t at = 0; at < sample.bytes.size(); at += extent) {
    extents.push_back(
        std::span(sample.bytes).subspan(at, std::min(extent, sample.bytes.size() - at)));
  }
  compression::Compressor compressor(extent, compression::kLevelMax);
  compression::Decompressor decompressor;
  std::vector<std::byte> packed(extent);
  std::vector<std::byte> unpacked(extent);
  VHDXM_TRY(const auto measured,
            compression::measure_level_costs(
                extents, {.levels = AutoMode::ladder(), .cpu_budget_s = kLevelsCpuSeconds},
                compressor, decompressor, packed, unpacked));
  costs = measured.rows;
  advice.incompressible_share =
      static_cast<double>(measured.probed_no_bytes) / static_cast<double>(measured.sample_bytes);
  return advice;
}

boost::system::result<LinkMeasure, Failure> Advisor::Impl::measure(const DiskSample& sample) {
  // A disk of zeros has nothing to send: anything will do to measure the link with.
  const std::vector<std::byte> stand_in(1024 * 1024, std::byte{0x5a});
  LinkMeasurer one(options.move, sample.bytes.empty() ? std::span<const std::byte>(stand_in)
                                                      : std::span<const std::byte>(sample.bytes));
  {
    const std::lock_guard lock(mutex);
    measurer = &one;
  }
  auto result = one.run();
  const std::lock_guard lock(mutex);
  measurer = nullptr;
  return result;
}

void Advisor::Impl::assume(Advice& advice) const {
  Conditions& all = advice.conditions;
  const unsigned here = usable_processors();
  const double there = options.peer_processors == 0 ? here : options.peer_processors;
  all.sender = {
      .cores = static_cast<double>(here), .s_per_raw_byte = kRawCost, .s_per_wire_byte = kWireCost};
  all.receiver = {
      .cores = there, .s_per_raw_byte = kRawCost + kWriteCost, .s_per_wire_byte = kWireCost};
  all.streams = static_cast<double>(shares_of(options.move).streams);
  all.latency_s = kLatencySeconds;
  if (options.link_bytes_per_second > 0) {
    all.link_bytes_per_s = options.link_bytes_per_second;
    advice.link_measured = true;
  }
}

void Advisor::Impl::apply(const LinkMeasure& link, Advice& advice,
                          std::vector<LevelCost>& costs) const {
  Conditions& all = advice.conditions;
  advice.peer = link.peer;
  const FlowMeasure& plain = link.plain;
  const FlowMeasure& packed = link.packed;
  const ByteCosts here = split(plain.sender_cpu_s - plain.compress_cpu_s, plain,
                               packed.sender_cpu_s - packed.compress_cpu_s, packed);
  const ByteCosts there = split(plain.receiver_cpu_s - plain.unpack_cpu_s, plain,
                                packed.receiver_cpu_s - packed.unpack_cpu_s, packed);
  const double write_cost =
      static_cast<double>(link.receiver.write_ns_per_mib) / 1e9 / (1024 * 1024);
  all.sender = {.cores = static_cast<double>(usable_processors()),
                .s_per_raw_byte = here.raw,
                .s_per_wire_byte = here.wire};
  all.receiver = {.cores = std::max<double>(link.receiver.processors, 1),
                  .s_per_raw_byte = there.raw + write_cost,
                  .s_per_wire_byte = there.wire};
  all.one_machine = link.receiver.host_id == host_id();
  all.streams = link.streams;
  all.latency_s = kLatencySeconds + kLatencyConnections * link.connect_s;
  if (link.receiver.write_bytes_per_second > 0) {
    all.destination_bytes_per_s = static_cast<double>(link.receiver.write_bytes_per_second);
    all.unsynced_bytes = static_cast<double>(kSyncEveryBytes);
  }
  advice.link_measured = plain.held_back > kLinkBound && plain.receiver_waiting > kLinkBound;
  if (advice.link_measured && plain.seconds > 0) {
    all.link_bytes_per_s = plain.wire_bytes / plain.seconds;
  }
  if (packed.packed_bytes <= 0 || packed.sent_bytes <= 0) return;
  // There the hosts' processors were all at work, if the link let them, as they are in a move. Each
  // side by its own bytes: what came may still be what was sent plain.
  const double packed_share = packed.sent_packed_bytes / packed.sent_bytes;
  compression::calibrate(costs, kDefaultLevel, packed.compress_cpu_s / packed.sent_bytes,
                         packed.unpack_cpu_s / packed.packed_bytes * packed_share);
}

// `data_share`: of the payload, what is not zero. Zeros are read and cost nothing else.
void Advisor::Impl::predict(Advice& advice, const std::vector<LevelCost>& costs,
                            double data_share) const {
  Conditions& all = advice.conditions;
  all.raw_bytes = static_cast<double>(advice.payload_bytes) * data_share;
  if (options.move.cpu_share_percent < 100) all.codec_cores = processors_of(options.move);
  // What zeros take of the source's rate.
  if (data_share > 0) all.source_bytes_per_s *= data_share;
  const compression::LinkModel model(costs);
  for (std::size_t row = 0; row < costs.size(); ++row) {
    Advice::Row one{.prediction = compression::LinkModel::predict(costs[row], all)};
    if (costs[row].level != compression::kLevelPlain) {
      one.mode = Mode::kCompress;
      one.level = costs[row].level;
    }
    advice.rows.push_back(one);
  }
  const auto way = [&](std::size_t row) {
    return costs[row].level == compression::kLevelPlain ? std::nullopt
                                                        : std::optional<int>(costs[row].level);
  };
  const compression::Mix best = model.at(model.best_position(all, kEqual));
  advice.rows.push_back({.mode = Mode::kAuto,
                         .level = way(best.strong),
                         .light = way(best.fast),
                         .strong_share = best.strong_share,
                         .prediction = model.predict(best, all)});
  double fastest = advice.rows.front().prediction.seconds;
  for (const auto& row : advice.rows) fastest = std::min(fastest, row.prediction.seconds);
  const auto cpu = [&](std::size_t row) {
    return advice.rows[row].prediction.sender_cpu_s + advice.rows[row].prediction.receiver_cpu_s;
  };
  for (std::size_t row = advice.recommended = 0; row < advice.rows.size(); ++row) {
    const bool fast = advice.rows[row].prediction.seconds <= fastest * (1 + kEqual);
    const bool taken_fast =
        advice.rows[advice.recommended].prediction.seconds <= fastest * (1 + kEqual);
    if (fast && (!taken_fast || cpu(row) < cpu(advice.recommended))) advice.recommended = row;
  }
}

boost::system::result<Advice, Failure> Advisor::Impl::run() {
  const auto failed = [](const Error& error) { return failure_from(classify(error), error, {}); };
  DiskSample sample;
  std::vector<LevelCost> costs;
  auto advice = look_at_disk(sample, costs);
  if (advice.has_error()) return failed(advice.error());
  if (cancelled) return failed(Error{.code = BaseErrc::kCancelled});
  if (options.move.host.empty()) {
    assume(*advice);
  } else {
    const auto link = measure(sample);
    if (link.has_error()) return link.error();
    if (cancelled) return failed(Error{.code = BaseErrc::kCancelled});
    apply(*link, *advice, costs);
  }
  predict(*advice, costs, 1 - advice->zero_share);
  return std::move(*advice);
}

Advisor::Advisor(AdviceOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}

Advisor::~Advisor() = default;

boost::system::result<Advice, Failure> Advisor::run() {
  return impl_->run();
}

void Advisor::cancel() {
  impl_->cancelled = true;
  const std::lock_guard lock(impl_->mutex);
  if (impl_->measurer != nullptr) impl_->measurer->cancel();
}

}  // namespace vhdxm::transfer
