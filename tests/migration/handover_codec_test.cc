// Messages of a hand-over as bytes: they come back as they were, and nothing else is taken for one.
#include "migration/handover_codec.h"

#include <gtest/gtest.h>

#include <random>

#include "migration/errc.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"
#include "transfer/messages.h"

namespace vhdxm::migration {
namespace {

using test::succeeded;

class RandomMessages {
 public:
  explicit RandomMessages(std::uint64_t seed) : random_(seed) {}

  HandoverMessage next() {
    switch (random_() % 9) {
      case 0:
        return Prepare{.number = random_(), .terms = terms()};
      case 1:
        return Prepared{terms()};
      case 2:
        return PrepareRefused{job(), AttemptId::random(), std::string(random_() % 40, 'r')};
      case 3:
        return Void{.job = job(), .number = random_(), .attempt = AttemptId::random()};
      case 4:
        return Voided{job(), AttemptId::random()};
      case 5:
        return Released{terms()};
      case 6: {
        Owned owned{.job = job(), .disks = {}};
        for (std::uint64_t i = random_() % 4; i > 0; --i) {
          owned.disks.push_back({.id = OwnershipId::random(), .epoch = random_()});
        }
        return owned;
      }
      case 7:
        return Query{.job = job(), .disks = {OwnershipId::random(), OwnershipId::random()}};
      default: {
        Answer answer;
        answer.job = job();
        answer.found = static_cast<RecordFound>(random_() % 3);
        answer.state = static_cast<JobState>(1 + random_() % 7);
        answer.terms = terms();
        answer.number = random_();
        const OwnershipId id = OwnershipId::random();
        answer.disks.push_back({.id = id, .found = RecordFound::kNone, .sidecar = {}});
        answer.disks.push_back(
            {.id = id,
             .found = RecordFound::kReadable,
             .sidecar = {.id = id, .epoch = 1 + random_() % 9, .state = OwnershipState::kOwned}});
        return answer;
      }
    }
  }

 private:
  JobId job() {
    JobId id{};
    for (auto& byte : id) byte = static_cast<std::uint8_t>(1 + random_() % 255);
    return id;
  }
  HandoverTerms terms() {
    HandoverTerms terms{.job = job(),
                        .attempt = AttemptId::random(),
                        .source = HostId::random(),
                        .target = HostId::random(),
                        .disks = {}};
    for (std::uint64_t i = random_() % 5; i > 0; --i) {
      terms.disks.push_back({.id = OwnershipId::random(),
                             .epoch = random_(),
                             .ledger = {.low = random_(), .high = random_()}});
    }
    return terms;
  }

  std::mt19937_64 random_;
};

TEST(HandoverCodec, WhatIsTakenIsWhatWasSaid) {
  const std::uint64_t seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  RandomMessages messages(seed + 1);
  for (int i = 0; i < 3000; ++i) {
    const auto bytes = encode(messages.next());
    ASSERT_LE(bytes.size(), transfer::kHandoverBytesMax);
    const auto again = decode_handover(bytes);
    ASSERT_TRUE(succeeded(again));
    EXPECT_EQ(encode(*again), bytes);
    // Shorter, longer or changed: refused, or another message that encodes to just these bytes.
    auto bad = bytes;
    bad.resize(random() % bytes.size());
    EXPECT_TRUE(decode_handover(bad).has_error());
    bad = bytes;
    bad.push_back({});
    EXPECT_TRUE(decode_handover(bad).has_error());
    bad = bytes;
    bad[random() % bad.size()] ^= static_cast<std::byte>(1u << random() % 8);
    const auto other = decode_handover(bad);
    if (other.has_value()) {
      EXPECT_EQ(encode(*other), bad);
    }
  }
}

TEST(HandoverCodec, IntroductionsNameWhomTheyIntroduce) {
  const Introduction introduction{.source = HostId::random(),
                                  .group = "web-01",
                                  .disks = {{.id = OwnershipId::random(), .epoch = 3}}};
  const auto again = decode_introduction(encode(introduction));
  ASSERT_TRUE(succeeded(again));
  EXPECT_EQ(again->source, introduction.source);
  EXPECT_EQ(again->group, "web-01");
  EXPECT_EQ(again->disks, introduction.disks);
  Introduction bad = introduction;
  bad.source = {};
  EXPECT_TRUE(test::failed_with(decode_introduction(encode(bad)), Errc::kRecord));
  bad = introduction;
  bad.disks[0].epoch = 0;
  EXPECT_TRUE(test::failed_with(decode_introduction(encode(bad)), Errc::kRecord));
  for (const std::string& group :
       std::vector<std::string>{"../web", "-", "w b", std::string(65, 'a')}) {
    Introduction named = introduction;
    named.group = group;
    EXPECT_TRUE(test::failed_with(decode_introduction(encode(named)), Errc::kRecord)) << group;
  }
  bad.disks.clear();
  EXPECT_TRUE(test::failed_with(decode_introduction(encode(bad)), Errc::kRecord));
  EXPECT_TRUE(test::failed_with(decode_introduction_answer(encode(introduction)), Errc::kRecord));
  EXPECT_TRUE(
      test::failed_with(decode_introduction_answer(encode(IntroductionAnswer{})), Errc::kRecord));
  EXPECT_TRUE(succeeded(decode_introduction_answer(encode(IntroductionAnswer{HostId::random()}))));
  auto newer = encode(introduction);
  newer[0] = std::byte{9};
  EXPECT_TRUE(test::failed_with(decode_introduction(newer), Errc::kVersion));
}

}  // namespace
}  // namespace vhdxm::migration
