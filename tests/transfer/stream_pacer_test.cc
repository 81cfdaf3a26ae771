// Streams with links of their own speed under one limit, on a clock that the test moves.
#include "transfer/stream_pacer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <numeric>
#include <random>
#include <vector>

#include "tests/support/random_seed.h"
#include "transfer/control_pacer.h"

namespace vhdxm::transfer {
namespace {

using namespace std::chrono_literals;
using Duration = RateLimiter::Duration;
using TimePoint = RateLimiter::TimePoint;

constexpr std::uint64_t kMiB = 1024 * 1024;
const TimePoint kStart = TimePoint(1000s);

Duration from_seconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

/// Streams that always have something to send.
class Streams {
 public:
  struct Arrival {
    TimePoint at;
    std::uint64_t bytes = 0;
  };
  /// Nothing passes on any link in [begin, end).
  struct Stop {
    TimePoint begin;
    TimePoint end;
  };

  Streams(std::uint64_t rate, std::vector<double> speeds, std::uint64_t seed)
      : limiter_(rate), speeds_(std::move(speeds)), bytes_(speeds_.size()), random_(seed) {
    for (std::size_t i = 0; i < speeds_.size(); ++i) pacers_.emplace_back(limiter_);
    free_at_.assign(speeds_.size(), kStart);
  }

  /// So many messages from `at` on, as ControlChannel sends them, over a link that takes all.
  void say_on_control(std::size_t messages, std::size_t bytes, TimePoint at) {
    messages_left_ = messages;
    message_bytes_ = message_left_ = bytes;
    control_at_ = at;
  }
  std::size_t control_messages_left() const { return messages_left_; }

  void run(Duration duration, const std::vector<Stop>& stops = {}) {
    for (;;) {
      const auto next = std::min_element(free_at_.begin(), free_at_.end());
      if (messages_left_ > 0 && (next == free_at_.end() || control_at_ <= *next)) {
        step_control();
        continue;
      }
      if (next == free_at_.end()) break;
      if (*next >= kStart + duration) break;
      step(static_cast<std::size_t>(next - free_at_.begin()), stops);
    }
    std::sort(arrivals.begin(), arrivals.end(),
              [](const Arrival& a, const Arrival& b) { return a.at < b.at; });
  }

  const std::vector<std::uint64_t>& bytes() const { return bytes_; }

  /// The most and the least that passed in any 10 s that begin with something passing.
  struct Extremes {
    std::uint64_t most = 0;
    std::uint64_t least = ~std::uint64_t{0};
  };
  Extremes ten_seconds(Duration duration) const {
    Extremes found;
    std::uint64_t sum = 0;
    std::size_t begin = 0;
    for (std::size_t end = 0; end < arrivals.size(); ++end) {
      sum += arrivals[end].bytes;
      while (arrivals[end].at - arrivals[begin].at >= 10s) {
        // [begin, end) is all that passed in the 10 s from `begin` on.
        if (arrivals[end].at < kStart + duration) {
          found.least = std::min(found.least, sum - arrivals[end].bytes);
        }
        sum -= arrivals[begin++].bytes;
      }
      if (arrivals[end].at < kStart + duration) found.most = std::max(found.most, sum);
    }
    return found;
  }

  std::vector<Arrival> arrivals;

 private:
  void step(std::size_t stream, const std::vector<Stop>& stops) {
    TimePoint now = free_at_[stream];
    // Most pieces are a turn; the ends of frames and headers are shorter.
    const std::uint64_t turn = pacers_[stream].turn_bytes();
    const std::uint64_t bytes = random_() % 8 == 0 ? 86 + random_() % turn : turn;
    const Duration wait = pacers_[stream].ask(bytes, now);
    if (wait > Duration::zero()) {
      // Timers fire late, by some tenths of a millisecond.
      free_at_[stream] = now + wait + std::chrono::microseconds(random_() % 300);
      return;
    }
    for (const Stop& stop : stops) {
      if (now >= stop.begin && now < stop.end) now = stop.end;
    }
    now += from_seconds(static_cast<double>(bytes) / speeds_[stream]);
    free_at_[stream] = now;
    arrivals.push_back({now, bytes});
    bytes_[stream] += bytes;
  }

  void step_control() {
    const std::size_t piece = control_.piece_bytes(message_left_);
    const Duration wait = control_.ask(message_bytes_, piece, control_at_);
    if (wait > Duration::zero()) {
      control_at_ += wait + std::chrono::microseconds(random_() % 300);
      return;
    }
    arrivals.push_back({control_at_, piece});
    message_left_ -= piece;
    if (message_left_ > 0) return;
    --messages_left_;
    message_left_ = message_bytes_;
  }

  RateLimiter limiter_;
  ControlPacer control_{limiter_};
  std::size_t messages_left_ = 0;
  std::size_t message_bytes_ = 0;
  std::size_t message_left_ = 0;
  TimePoint control_at_;
  std::deque<StreamPacer> pacers_;
  const std::vector<double> speeds_;
  std::vector<std::uint64_t> bytes_;
  std::vector<TimePoint> free_at_;
  std::mt19937_64 random_;
};

struct Case {
  std::uint64_t rate = 0;
  std::vector<double> speeds;
};

/// `headroom`: what all links carry together, in rates, at least.
Case random_case(std::mt19937_64& random, double headroom) {
  Case one;
  one.rate = (10 + (random() % 4 == 0 ? random() % 1000 : random() % 90)) * kMiB;
  one.speeds.resize(1 + random() % 16);
  const double fair = static_cast<double>(one.rate) / static_cast<double>(one.speeds.size());
  for (double& speed : one.speeds) {
    speed = fair * (0.1 + 0.01 * static_cast<double>(random() % 400));
  }
  const double sum = std::accumulate(one.speeds.begin(), one.speeds.end(), 0.0);
  const double missing = headroom * static_cast<double>(one.rate) / sum;
  if (missing > 1) {
    for (double& speed : one.speeds) speed *= missing;
  }
  return one;
}

/// Max-min fair shares: nobody has less than another who could do with less. Bytes a second.
std::vector<double> fair_shares(const Case& one) {
  std::vector<double> shares(one.speeds.size(), 0);
  std::vector<std::size_t> order(one.speeds.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return one.speeds[a] < one.speeds[b]; });
  double left = static_cast<double>(one.rate);
  for (std::size_t i = 0; i < order.size(); ++i) {
    const double equal = left / static_cast<double>(order.size() - i);
    shares[order[i]] = std::min(one.speeds[order[i]], equal);
    left -= shares[order[i]];
  }
  return shares;
}

TEST(StreamPacer, WithoutALimitEverythingMayGo) {
  RateLimiter limiter(0);
  StreamPacer pacer(limiter);
  EXPECT_FALSE(pacer.limited());
  EXPECT_EQ(pacer.ask(1000 * kMiB, kStart), Duration::zero());
}

TEST(StreamPacer, TurnsAreWholeRecordsAndThreeMilliseconds) {
  const auto turn_at = [](std::uint64_t rate) {
    RateLimiter limiter(rate);
    return StreamPacer(limiter).turn_bytes();
  };
  EXPECT_EQ(turn_at(10 * kMiB), 32U * 1024);
  EXPECT_EQ(turn_at(100 * kMiB), 304U * 1024);
  EXPECT_EQ(turn_at(100 * kMiB) % (16 * 1024), 0U);
  EXPECT_EQ(turn_at(10'000 * kMiB), kMiB);
}

TEST(StreamPacer, MoreThanATurnIsPaidForAsSeveral) {
  RateLimiter limiter(10 * kMiB);
  StreamPacer pacer(limiter);
  TimePoint now = kStart;
  for (Duration wait = pacer.ask(kMiB, now); wait > Duration::zero(); wait = pacer.ask(kMiB, now)) {
    now += wait;
  }
  EXPECT_NEAR(std::chrono::duration<double>(now - kStart).count(), 0.1 - 0.05, 0.005);
}

TEST(StreamPacer, AnyTenSecondsAreWithinThreePercentOfTheLimit) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < test::rounds(100); ++round) {
    const Case one = random_case(random, 1.2);
    Streams streams(one.rate, one.speeds, random());
    streams.run(31s);
    const auto found = streams.ten_seconds(30s);
    const double expected = 10.0 * static_cast<double>(one.rate);
    ASSERT_LE(static_cast<double>(found.most), 1.03 * expected)
        << one.rate << " over " << one.speeds.size();
    ASSERT_GE(static_cast<double>(found.least), 0.97 * expected)
        << one.rate << " over " << one.speeds.size();
  }
}

// The plan of a 64 TiB disk in blocks of 1 MiB goes out on control, between streams that are under
// way, or alone; what is short goes at once and is paid for.
TEST(StreamPacer, AnyTenSecondsAreWithinTheLimitWhateverControlSays) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < test::rounds(60); ++round) {
    Case one = random_case(random, 1.2);
    if (round % 3 == 0) one = {.rate = (10 + random() % 40) * kMiB, .speeds = {}};
    Streams streams(one.rate, one.speeds, random());
    streams.say_on_control(256, 64 * 1024 + 21,
                           kStart + std::chrono::milliseconds(random() % 9000));
    streams.run(31s);
    const double expected = 10.0 * static_cast<double>(one.rate);
    ASSERT_LE(static_cast<double>(streams.ten_seconds(30s).most), 1.03 * expected)
        << one.rate << " over " << one.speeds.size();
    ASSERT_EQ(streams.control_messages_left(), 0U);
  }
}

TEST(ControlPacer, ShortMessagesDoNotWaitAndArePaidFor) {
  RateLimiter limiter(kMiB);
  ControlPacer control(limiter);
  (void)limiter.take(4 * kMiB, kStart);
  EXPECT_EQ(control.ask(100, 122, kStart), Duration::zero());
  EXPECT_GT(control.ask(64 * 1024, 32 * 1024, kStart), 3s);
  EXPECT_EQ(control.piece_bytes(100), 100U);
  EXPECT_EQ(control.piece_bytes(kMiB), 32U * 1024);
  EXPECT_NEAR(std::chrono::duration<double>(limiter.take(kMiB, kStart)).count(), 5, 0.1);
}

TEST(ControlPacer, WithoutALimitMessagesAreNotCut) {
  RateLimiter limiter(0);
  ControlPacer control(limiter);
  EXPECT_EQ(control.piece_bytes(kMiB), kMiB);
  EXPECT_EQ(control.ask(kMiB, kMiB, kStart), Duration::zero());
}

TEST(StreamPacer, ALinkThatStoodStillDoesNotCatchUp) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < test::rounds(100); ++round) {
    const Case one = random_case(random, 3);
    Streams streams(one.rate, one.speeds, random());
    const TimePoint first = kStart + std::chrono::milliseconds(1000 + random() % 5000);
    const TimePoint second = kStart + std::chrono::milliseconds(15000 + random() % 5000);
    streams.run(31s, {{first, first + std::chrono::milliseconds(random() % 8000)},
                      {second, second + std::chrono::milliseconds(random() % 3000)}});
    ASSERT_LE(static_cast<double>(streams.ten_seconds(30s).most),
              1.03 * 10.0 * static_cast<double>(one.rate))
        << one.rate << " over " << one.speeds.size();
  }
}

TEST(StreamPacer, EveryStreamHasItsFairShare) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < test::rounds(100); ++round) {
    const Case one = random_case(random, 1.2);
    Streams streams(one.rate, one.speeds, random());
    streams.run(30s);
    const std::vector<double> shares = fair_shares(one);
    for (std::size_t i = 0; i < shares.size(); ++i) {
      ASSERT_GE(static_cast<double>(streams.bytes()[i]), 0.9 * 30 * shares[i])
          << "stream " << i << " of " << shares.size() << " with "
          << one.speeds[i] / static_cast<double>(one.rate) << " of the rate";
    }
  }
}

}  // namespace
}  // namespace vhdxm::transfer
