// A death at every step of every operation: what a start finds is what was before or what was to
// be, for all disks of a job alike, and nothing is left over.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "migration/ownership_store.h"
#include "tests/migration/sample_job.h"
#include "tests/support/crash_folder.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_seed.h"

namespace vhdxm::migration {
namespace {

using test::StepFaults;
using test::succeeded;

struct Host {
  StepFaults faults;
  test::CrashFolders folders{faults};
  test::CrashFolder state{faults};
  OwnershipStore store{state, folders};

  /// What both sidecars say, which must be the same, and the job's record.
  std::string standing() {
    std::string text;
    for (const JobDisk& disk : sample_job(JobState::kActive).disks) {
      const auto sidecar = store.sidecar(disk.place).value();
      text += sidecar ? to_string(sidecar->state) : "none";
      text += " ";
    }
    for (const JobId& id : store.jobs().value()) {
      text += std::string(to_string(store.job(id).value().value().state)) + " ";
    }
    return text;
  }
};

using Work = std::function<Result<void>(Host&)>;

Result<void> own(Host& host) {
  for (const JobDisk& disk : sample_job(JobState::kActive).disks) {
    host.folders.at("disks").place(disk.place.name);
    VHDXM_TRY_VOID(host.store.adopt(disk.place, disk.terms.id));
  }
  return {};
}
Result<void> begin_source(Host& host) {
  return host.store.begin_source(sample_job(JobState::kActive));
}
Result<void> put_released(Host& host) {
  return host.store.put(sample_job(JobState::kReleased));
}
Result<void> settle_released(Host& host) {
  return host.store.settle(sample_job(JobState::kReleased));
}
Result<void> release(Host& host) {
  VHDXM_TRY_VOID(own(host));
  VHDXM_TRY_VOID(begin_source(host));
  VHDXM_TRY_VOID(put_released(host));
  return settle_released(host);
}
Result<void> begin_target(Host& host) {
  JobRecord job = sample_job(JobState::kReceiving);
  VHDXM_TRY_VOID(host.store.begin_target(job));
  for (const JobDisk& disk : job.disks) {
    host.folders.at("disks").place(OwnershipStore::partial_name(disk.place));
  }
  return {};
}
Result<void> take(Host& host) {
  const JobRecord owned = sample_job(JobState::kOwned);
  VHDXM_TRY_VOID(host.store.put(owned));
  VHDXM_TRY_VOID(host.store.give_names(owned));
  VHDXM_TRY_VOID(host.store.settle(owned));
  return host.store.drop(owned);
}

struct Case {
  const char* name;
  Work before;
  Work work;
  /// What a start may find after a death in `work`.
  std::vector<std::string> after;
};

const Case kCases[] = {
    {"begin at the source", own, begin_source, {"owned owned "}},
    {"the commit",
     [](Host& h) -> Result<void> {
       VHDXM_TRY_VOID(own(h));
       return begin_source(h);
     },
     put_released,
     {"owned owned ", "released released released "}},
    {"the commit that was foreseen",
     [](Host& h) -> Result<void> {
       VHDXM_TRY_VOID(own(h));
       return begin_source(h);
     },
     [](Host& h) -> Result<void> {
       VHDXM_TRY_VOID(h.store.foresee(sample_job(JobState::kReleased)));
       return put_released(h);
     },
     {"owned owned ", "released released released "}},
    {"a commit that was foreseen and never came",
     [](Host& h) -> Result<void> {
       VHDXM_TRY_VOID(own(h));
       VHDXM_TRY_VOID(begin_source(h));
       return h.store.foresee(sample_job(JobState::kReleased));
     },
     [](Host& h) { return h.store.withdraw(sample_job(JobState::kActive)); },
     {"owned owned "}},
    {"settling what was released",
     [](Host& h) -> Result<void> {
       VHDXM_TRY_VOID(own(h));
       VHDXM_TRY_VOID(begin_source(h));
       return put_released(h);
     },
     settle_released,
     {"released released released "}},
    {"withdrawing",
     [](Host& h) -> Result<void> {
       VHDXM_TRY_VOID(own(h));
       return begin_source(h);
     },
     [](Host& h) { return h.store.withdraw(sample_job(JobState::kActive)); },
     {"owned owned "}},
    {"begin at the destination",
     [](Host&) { return Result<void>(); },
     begin_target,
     {"none none ", "receiving receiving receiving "}},
    {"preparing",
     begin_target,
     [](Host& h) { return h.store.put(sample_job(JobState::kPrepared)); },
     {"receiving receiving receiving ", "receiving receiving prepared "}},
    {"taking",
     [](Host& h) -> Result<void> {
       VHDXM_TRY_VOID(begin_target(h));
       return h.store.put(sample_job(JobState::kPrepared));
     },
     take,
     {"receiving receiving prepared ", "owned owned "}},
    {"taking what was foreseen",
     [](Host& h) -> Result<void> {
       VHDXM_TRY_VOID(begin_target(h));
       VHDXM_TRY_VOID(h.store.put(sample_job(JobState::kPrepared)));
       return h.store.foresee(sample_job(JobState::kOwned));
     },
     take,
     {"receiving receiving prepared ", "owned owned "}},
    {"an attempt that came to nothing after it was foreseen",
     [](Host& h) -> Result<void> {
       VHDXM_TRY_VOID(begin_target(h));
       VHDXM_TRY_VOID(h.store.put(sample_job(JobState::kPrepared)));
       return h.store.foresee(sample_job(JobState::kOwned));
     },
     [](Host& h) { return h.store.put(sample_job(JobState::kReceiving)); },
     {"receiving receiving prepared ", "receiving receiving receiving "}},
    {"moving back",
     release,
     [](Host& h) -> Result<void> {
       JobRecord back = sample_job(JobState::kReceiving);
       back.job = sample_job_id(0x78);
       for (JobDisk& disk : back.disks) disk.terms.epoch = 2;
       return h.store.begin_target(back);
     },
     {"released released released ", "incoming incoming receiving "}},
    {"cleaning up",
     [](Host& h) -> Result<void> {
       VHDXM_TRY_VOID(release(h));
       return h.store.put(sample_job(JobState::kConfirmed));
     },
     [](Host& h) { return h.store.cleanup(sample_job_id()); },
     {"released released confirmed ", "none released confirmed ", "none none confirmed ",
      "none none "}},
};

class OwnershipStoreCrash : public testing::TestWithParam<Case> {};

TEST_P(OwnershipStoreCrash, LeavesWhatWasOrWhatWasToBe) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  const Case& c = GetParam();
  bool died = true;
  std::uint64_t deaths = 0;
  for (std::uint64_t step = 0; died; ++step) {
    died = false;
    for (int fate = 0; fate < 3 * 8; ++fate) {
      Host host;
      host.folders.at("disks");
      ASSERT_TRUE(succeeded(c.before(host)));
      host.faults.dies_at = host.faults.steps + step;
      host.faults.moment = static_cast<StepFaults::Moment>(fate % 3);
      try {
        ASSERT_TRUE(succeeded(c.work(host)));
      } catch (const test::HostDied&) {
        died = true;
        ++deaths;
      }
      host.faults.dies_at = StepFaults::kNever;
      if (fate >= 3) {
        host.folders.lose_power(random);
        host.state.lose_power(random);
      }
      ASSERT_TRUE(succeeded(host.store.recover()));
      const std::string found = host.standing();
      EXPECT_TRUE(std::find(c.after.begin(), c.after.end(), found) != c.after.end())
          << c.name << ": a death at step " << step << ", fate " << fate << " leaves " << found;
      for (test::CrashFolder* folder : {&host.folders.at("disks"), &host.state}) {
        for (const std::string& name : folder->list().value()) {
          EXPECT_FALSE(name.ends_with(kNewEnding)) << name;
        }
      }
      // What was found is durable by now, and found again.
      host.folders.lose_power(random);
      host.state.lose_power(random);
      EXPECT_EQ(host.standing(), found) << c.name << ", step " << step << ", fate " << fate;
      ASSERT_TRUE(succeeded(host.store.recover()));
      EXPECT_EQ(host.standing(), found);
    }
  }
  EXPECT_GT(deaths, 24U);
}

INSTANTIATE_TEST_SUITE_P(Each, OwnershipStoreCrash, testing::ValuesIn(kCases), [](const auto& one) {
  std::string name = one.param.name;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
});

}  // namespace
}  // namespace vhdxm::migration
