#include "migration/target_cutover.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "migration/errc.h"
#include "migration/handover_codec.h"
#include "migration/journal_arbiter.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_folder.h"

namespace vhdxm::migration {
namespace {

class TargetCutoverTest : public testing::Test {
 protected:
  static transfer::OfferDisk disk(const std::string& name, const std::string& folder) {
    transfer::OfferDisk offer;
    offer.name = name;
    offer.folder = folder;
    return offer;
  }
  std::vector<std::byte> introduction(std::size_t count) const {
    Introduction message{.source = HostId::random(), .group = "web", .disks = {}};
    for (std::size_t i = 0; i < count; ++i) {
      message.disks.push_back({.id = OwnershipId::random(), .epoch = 1});
    }
    return encode(message);
  }
  ArrivalHooks hooks() {
    return {.on_offer = [this](const std::vector<DiskPlace>& places) -> Result<void> {
      offered_ = places;
      return {};
    }};
  }

  test::TempFolder usual_;
  test::TempFolder fast_;
  test::TempFolder state_folder_;
  DirectoryFiles state_{Directory::open(state_folder_.path()).value()};
  DirectoryFolders folders_{{usual_.path(), fast_.path()}};
  OwnershipStore store_{state_, folders_};
  JournalArbiter arbiter_{store_};
  HostOwnership host_{.id = HostId::random(), .store = store_, .arbiter = arbiter_};
  const transfer::FolderPaths paths_{.into = usual_.path(), .named = {{"fast", fast_.path()}}};
  std::vector<DiskPlace> offered_;
};

TEST_F(TargetCutoverTest, EachDiskHasItsPlace) {
  const transfer::JobId job{7};
  const std::vector<DiskPlace> places = {{.folder = fast_.path(), .name = "a.vhdx"},
                                         {.folder = usual_.path(), .name = "a.vhdx"}};
  TargetCutover cutover(host_, paths_, hooks());
  const auto begun =
      cutover.begin(job, {disk("a.vhdx", "fast"), disk("a.vhdx", "")}, introduction(2));
  ASSERT_TRUE(test::succeeded(begun));
  EXPECT_EQ(offered_, places);
  // What a start after a crash finds, in the record and beside the disks.
  const auto record = store_.job(job);
  ASSERT_TRUE(test::succeeded(record));
  ASSERT_TRUE(record->has_value());
  ASSERT_EQ((**record).disks.size(), 2u);
  for (std::size_t i = 0; i < places.size(); ++i) {
    EXPECT_EQ((**record).disks[i].place, places[i]);
    const auto sidecar = store_.sidecar(places[i]);
    ASSERT_TRUE(test::succeeded(sidecar));
    ASSERT_TRUE(sidecar->has_value());
    EXPECT_EQ((**sidecar).state, OwnershipState::kReceiving);
    EXPECT_EQ((**sidecar).id, (**record).disks[i].terms.id);
  }
  cutover.end();
  // One cleanup takes what came of both.
  ASSERT_TRUE(test::succeeded(store_.cleanup(job)));
  EXPECT_TRUE(std::filesystem::is_empty(usual_.path()));
  EXPECT_TRUE(std::filesystem::is_empty(fast_.path()));
}

TEST_F(TargetCutoverTest, AFolderThatIsNotThereIsRefusedBeforeAnythingIsWritten) {
  const transfer::JobId job{7};
  TargetCutover cutover(host_, paths_, hooks());
  const auto begun =
      cutover.begin(job, {disk("a.vhdx", "fast"), disk("b.vhdx", "slow")}, introduction(2));
  EXPECT_TRUE(test::failed_with(begun, Errc::kRecord, "slow"));
  EXPECT_TRUE(offered_.empty());
  EXPECT_FALSE(store_.job(job).value().has_value());
  EXPECT_TRUE(std::filesystem::is_empty(usual_.path()));
  EXPECT_TRUE(std::filesystem::is_empty(fast_.path()));
}

// What is done ahead for a release must not be done for one that will not come.
TEST_F(TargetCutoverTest, GetsReadyOnlyForWhatIsPrepared) {
  const transfer::JobId job{7};
  TargetCutover cutover(host_, paths_, hooks());
  ASSERT_TRUE(test::succeeded(cutover.begin(job, {disk("a.vhdx", "")}, introduction(1))));
  EXPECT_FALSE(cutover.get_ready());
  const JobRecord receiving = store_.job(job).value().value();
  HandoverTerms terms = receiving.terms();
  terms.attempt = AttemptId::random();
  const auto say = [&](const HandoverMessage& message) {
    return cutover.on_message(encode(message), {{.ledger = terms.disks[0].ledger}}).state;
  };
  EXPECT_EQ(say(Prepare{1, terms}), transfer::CutoverTarget::State::kPrepared);
  EXPECT_TRUE(cutover.get_ready());
  EXPECT_EQ(store_.job(job).value()->state, JobState::kPrepared) << "nothing follows from it";
  EXPECT_EQ(say(Void{.job = job, .number = 1, .attempt = terms.attempt}),
            transfer::CutoverTarget::State::kReceiving);
  EXPECT_FALSE(cutover.get_ready());
  EXPECT_EQ(store_.job(job).value()->state, JobState::kReceiving);
  cutover.end();
  for (const std::string& name : state_.list().value()) {
    EXPECT_FALSE(name.ends_with(kNewEnding)) << name;
  }
}

}  // namespace
}  // namespace vhdxm::migration
