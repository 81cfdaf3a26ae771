#include "compression/link_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "base/check.h"

namespace vhdxm::compression {
namespace {

/// Seconds that each resource is busy for a byte of the disk: the slowest sets the rate. Each is
/// linear in the costs, so that of a mix is the weighed mean of those of its rows.
struct BusySeconds {
  static constexpr std::size_t kCount = 8;
  static constexpr std::size_t kDestination = 4;
  std::array<double, kCount> of{};
  double sender_cpu = 0;
  double receiver_cpu = 0;

  double slowest() const { return *std::max_element(of.begin(), of.end()); }
  /// As if the destination had a disk without end.
  double slowest_but_destination() const {
    auto others = of;
    others[kDestination] = 0;
    return *std::max_element(others.begin(), others.end());
  }
  double cpu() const { return sender_cpu + receiver_cpu; }
};

/// In the order of BusySeconds::of; of equally slow ones the first is named. The last two are
/// the other end of the streams, and what of the sender's cores is for compression.
constexpr std::array<Limit, BusySeconds::kCount> kLimits = {
    Limit::kLink,       Limit::kSenderCpu,       Limit::kReceiverCpu,
    Limit::kSourceDisk, Limit::kDestinationDisk, Limit::kStreams,
    Limit::kStreams,    Limit::kSenderCpu};

static_assert(kLimits[BusySeconds::kDestination] == Limit::kDestinationDisk);

BusySeconds busy_seconds(const LevelCost& cost, const Conditions& given) {
  const auto cpu = [&cost](const HostCost& host, double codec) {
    return host.s_per_raw_byte + cost.ratio * host.s_per_wire_byte + codec;
  };
  BusySeconds busy;
  busy.sender_cpu = cpu(given.sender, cost.compress_s_per_byte);
  busy.receiver_cpu = cpu(given.receiver, cost.decompress_s_per_byte);
  const double source = 1 / given.source_bytes_per_s;
  const double destination = 1 / given.destination_bytes_per_s;
  double sender_share = busy.sender_cpu / given.sender.cores;
  double receiver_share = busy.receiver_cpu / given.receiver.cores;
  if (given.one_machine) {
    // One pool of cores, and whoever takes more of it is the limit.
    const double both = busy.cpu() / given.sender.cores;
    const bool sender_takes_more = busy.sender_cpu >= busy.receiver_cpu;
    sender_share = sender_takes_more ? both : 0;
    receiver_share = sender_takes_more ? 0 : both;
  }
  busy.of = {cost.ratio / given.link_bytes_per_s,
             sender_share,
             receiver_share,
             source,
             destination,
             (busy.sender_cpu + source) / given.streams,
             (busy.receiver_cpu + destination) / given.streams,
             cost.compress_s_per_byte / given.codec_cores};
  return busy;
}

double weighed(double fast, double strong, double strong_share) {
  return fast + (strong - fast) * strong_share;
}

LevelCost mean_of(const LevelCost& fast, const LevelCost& strong, double strong_share) {
  const auto mean = [strong_share](double a, double b) { return weighed(a, b, strong_share); };
  return {.level = strong_share > 0 ? strong.level : fast.level,
          .ratio = mean(fast.ratio, strong.ratio),
          .compress_s_per_byte = mean(fast.compress_s_per_byte, strong.compress_s_per_byte),
          .decompress_s_per_byte = mean(fast.decompress_s_per_byte, strong.decompress_s_per_byte)};
}

/// What comes of asking for `cost` where compression may take `codec_cores`: the mix with plain
/// that takes just these, at the rate that the mix has.
LevelCost within_codec_cores(const LevelCost& cost, const Conditions& given) {
  if (!(given.codec_cores < Conditions::kNoLimit)) return cost;
  Conditions others = given;
  others.codec_cores = Conditions::kNoLimit;
  const auto too_much = [&](double share) {
    const LevelCost mix = mean_of({}, cost, share);
    return mix.compress_s_per_byte > given.codec_cores * busy_seconds(mix, others).slowest();
  };
  if (!too_much(1)) return cost;
  double low = 0;
  double high = 1;
  for (int step = 0; step < 40; ++step) {
    const double middle = (low + high) / 2;
    (too_much(middle) ? high : low) = middle;
  }
  return mean_of({}, cost, low);
}

/// A candidate for the best mix.
struct Candidate {
  Mix mix;
  double slowest = 0;  ///< Seconds a byte.
  double cpu = 0;      ///< Seconds a byte.
};

/// Two rows and every mix of them.
class Pair {
 public:
  Pair(std::size_t fast, std::size_t strong, std::span<const LevelCost> rows,
       const Conditions& conditions)
      : fast_(fast),
        strong_(strong),
        at_fast_(busy_seconds(rows[fast], conditions)),
        at_strong_(busy_seconds(rows[strong], conditions)) {
    if (conditions.one_machine) pool_both();
  }

  Candidate at(double share) const {
    Candidate candidate{.mix = {.fast = fast_, .strong = strong_, .strong_share = share}};
    for (std::size_t i = 0; i < BusySeconds::kCount; ++i) {
      candidate.slowest =
          std::max(candidate.slowest, weighed(at_fast_.of[i], at_strong_.of[i], share));
    }
    candidate.cpu = weighed(at_fast_.cpu(), at_strong_.cpu(), share);
    return candidate;
  }

  /// The share with the lowest slowest(): the maximum of straight lines is lowest at an end, or
  /// where two of them cross.
  Candidate fastest() const {
    Candidate best = at(0);
    const auto consider = [&best, this](double share) {
      const Candidate candidate = at(share);
      if (candidate.slowest < best.slowest) best = candidate;
    };
    consider(1);
    for (std::size_t i = 0; i < BusySeconds::kCount; ++i) {
      for (std::size_t j = i + 1; j < BusySeconds::kCount; ++j) {
        const double from = at_fast_.of[i] - at_fast_.of[j];
        const double to = at_strong_.of[i] - at_strong_.of[j];
        if (from * to < 0) consider(from / (from - to));
      }
    }
    return best;
  }

  /// The mix of least CPU that is at most `slowest_max` slow, if there is one.
  std::optional<Candidate> cheapest(double slowest_max) const {
    double low = 0;
    double high = 1;
    for (std::size_t i = 0; i < BusySeconds::kCount; ++i) {
      const double slope = at_strong_.of[i] - at_fast_.of[i];
      const double room = slowest_max - at_fast_.of[i];
      if (slope > 0) high = std::min(high, room / slope);
      if (slope < 0) low = std::max(low, room / slope);
      if (slope == 0 && room < 0) return std::nullopt;
    }
    if (low > high) return std::nullopt;
    const bool strong_is_cheaper = at_strong_.cpu() < at_fast_.cpu();
    return at(strong_is_cheaper ? high : low);
  }

 private:
  /// Who takes more of a common pool may change along the mix; its sum is the limit at both ends.
  void pool_both() {
    for (BusySeconds* busy : {&at_fast_, &at_strong_}) {
      busy->of[1] = std::max(busy->of[1], busy->of[2]);
      busy->of[2] = 0;
    }
  }

  std::size_t fast_;
  std::size_t strong_;
  BusySeconds at_fast_;
  BusySeconds at_strong_;
};

/// Whether the middle one of three points, from left to right, lies above the line of the others or
/// on it.
bool is_above(const LevelCost& left, const LevelCost& middle, const LevelCost& right) {
  return (middle.compress_s_per_byte - left.compress_s_per_byte) * (right.ratio - left.ratio) <=
         (right.compress_s_per_byte - left.compress_s_per_byte) * (middle.ratio - left.ratio);
}

/// The lower convex hull of (compress_s_per_byte, ratio), as far as the ratio falls.
std::vector<std::size_t> lower_hull(std::span<const LevelCost> rows) {
  std::vector<std::size_t> order(rows.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [rows](std::size_t a, std::size_t b) {
    const LevelCost& x = rows[a];
    const LevelCost& y = rows[b];
    if (x.compress_s_per_byte != y.compress_s_per_byte) {
      return x.compress_s_per_byte < y.compress_s_per_byte;
    }
    return x.ratio != y.ratio ? x.ratio < y.ratio : a < b;
  });
  std::vector<std::size_t> hull;
  for (const std::size_t row : order) {
    if (!hull.empty() && rows[row].ratio >= rows[hull.back()].ratio) continue;
    while (hull.size() >= 2 &&
           is_above(rows[hull[hull.size() - 2]], rows[hull.back()], rows[row])) {
      hull.pop_back();
    }
    hull.push_back(row);
  }
  return hull;
}

/// Calls `visit` with each pair of rows that may be mixed.
template <class Visit>
Mix best_of(Visit visit, double tolerance) {
  Candidate fastest{.mix = {}, .slowest = Conditions::kNoLimit, .cpu = 0};
  visit([&fastest](const Pair& pair) {
    const Candidate candidate = pair.fastest();
    if (candidate.slowest < fastest.slowest) fastest = candidate;
  });
  Candidate best = fastest;
  visit([&](const Pair& pair) {
    const auto candidate = pair.cheapest(fastest.slowest * (1 + tolerance));
    if (!candidate) return;
    const bool same_cpu = candidate->cpu == best.cpu;
    if (same_cpu ? candidate->slowest < best.slowest : candidate->cpu < best.cpu) best = *candidate;
  });
  return best.mix;
}

}  // namespace

std::string_view to_string(Limit limit) {
  switch (limit) {
    case Limit::kNone:
      return "nothing";
    case Limit::kLink:
      return "link";
    case Limit::kSenderCpu:
      return "sender CPU";
    case Limit::kReceiverCpu:
      return "receiver CPU";
    case Limit::kSourceDisk:
      return "source disk";
    case Limit::kDestinationDisk:
      return "destination disk";
    case Limit::kStreams:
      return "streams";
  }
  return "unknown";
}

LinkModel::LinkModel(std::span<const LevelCost> rows)
    : rows_(rows.begin(), rows.end()), ladder_(lower_hull(rows)) {
  VHDXM_CHECK(!rows.empty());
}

LevelCost LinkModel::cost(const Mix& mix) const {
  return mean_of(rows_[mix.fast], rows_[mix.strong], mix.strong_share);
}

Prediction LinkModel::predict(const LevelCost& wanted, const Conditions& conditions) {
  VHDXM_CHECK(conditions.sender.cores > 0 && conditions.streams >= 1);
  VHDXM_CHECK(conditions.codec_cores > 0);
  VHDXM_CHECK(conditions.one_machine || conditions.receiver.cores > 0);
  const LevelCost cost = within_codec_cores(wanted, conditions);
  const BusySeconds busy = busy_seconds(cost, conditions);
  const double slowest = busy.slowest();
  const double unsynced = std::min(conditions.raw_bytes, conditions.unsynced_bytes);
  const double until_synced = conditions.raw_bytes * busy.slowest_but_destination() +
                              unsynced / conditions.destination_bytes_per_s;
  Prediction result{
      .seconds = conditions.latency_s + std::max(conditions.raw_bytes * slowest, until_synced),
      .bytes_per_second = 1 / slowest,
      .wire_bytes = conditions.raw_bytes * cost.ratio,
      .sender_cpu_s = conditions.raw_bytes * busy.sender_cpu,
      .receiver_cpu_s = conditions.raw_bytes * busy.receiver_cpu,
      .limit = Limit::kNone};
  if (slowest > 0) {
    const auto at = std::max_element(busy.of.begin(), busy.of.end()) - busy.of.begin();
    result.limit = kLimits[static_cast<std::size_t>(at)];
  }
  return result;
}

Mix LinkModel::best(const Conditions& conditions, double tolerance) const {
  return best_of(
      [&](const auto& consider) {
        for (std::size_t a = 0; a < rows_.size(); ++a) {
          for (std::size_t b = 0; b < rows_.size(); ++b) {
            const bool in_order =
                rows_[a].ratio != rows_[b].ratio ? rows_[a].ratio > rows_[b].ratio : a <= b;
            if (in_order) consider(Pair(a, b, rows_, conditions));
          }
        }
      },
      tolerance);
}

Mix LinkModel::at(double position) const {
  const double clamped = std::clamp(position, 0.0, position_max());
  const auto below = static_cast<std::size_t>(clamped);
  const std::size_t above = std::min(below + 1, ladder_.size() - 1);
  return {.fast = ladder_[below],
          .strong = ladder_[above],
          .strong_share = clamped - static_cast<double>(below)};
}

double LinkModel::best_position(const Conditions& conditions, double tolerance) const {
  const Mix mix = best_of(
      [&](const auto& consider) {
        consider(Pair(ladder_[0], ladder_[0], rows_, conditions));
        for (std::size_t i = 1; i < ladder_.size(); ++i) {
          consider(Pair(ladder_[i - 1], ladder_[i], rows_, conditions));
        }
      },
      tolerance);
  const auto at = std::find(ladder_.begin(), ladder_.end(), mix.fast) - ladder_.begin();
  return static_cast<double>(at) + mix.strong_share;
}

}  // namespace vhdxm::compression
