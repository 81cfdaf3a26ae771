// The disks of a mover: which of them a client gets, and how one is closed under it.
#include "tools/mover_disks.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <thread>

#include "tests/net/disk_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_folder.h"
#include "vhdx/errc.h"

namespace vhdxm::tools {
namespace {

using test::failed_with;
using test::succeeded;
using vhdx::kMiB;

class MoverDisksTest : public testing::Test {
 protected:
  std::string write(const std::string& file, std::uint64_t bytes = 16 * kMiB) {
    return test::write_disk(folder_, file,
                            test::data_disk(test::small_geometry(bytes), 2 * kMiB, 1),
                            [](vhdx::Description& one) { one.opaque_items.clear(); });
  }
  MoverDisks::Wish disk(const std::string& name) {
    return {.name = name, .path = write(name + ".vhdx")};
  }
  /// Of disk() there is what has arrived by now.
  MoverDisks::Wish arriving(const std::string& name) {
    (void)write(name + ".vhdx.partial");
    return {.name = name, .path = folder_ / (name + ".vhdx")};
  }

  const test::TempFolder folder_;
};

TEST_F(MoverDisksTest, InAGroupADiskIsAskedForByItsNameAlone) {
  MoverDisks disks(/*group=*/true);
  ASSERT_TRUE(succeeded(disks.open({disk("a"), disk("b")}, {})));
  EXPECT_EQ(disks.client_opens(""), nullptr);
  EXPECT_EQ(disks.client_opens("c"), nullptr);
  const auto b = disks.client_opens("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->name(), "b");
  EXPECT_EQ(disks.clients(), 1u);
  EXPECT_EQ(disks.find("a")->clients, 0u);
  EXPECT_EQ(disks.find("b")->clients, 1u);
  // The last one that is left is still only itself.
  ASSERT_NE(disks.take("a"), nullptr);
  EXPECT_EQ(disks.client_opens("a"), nullptr);
  EXPECT_EQ(disks.client_opens(""), nullptr);
  disks.client_closes(*b);
  EXPECT_EQ(disks.clients(), 0u);
}

TEST_F(MoverDisksTest, WithoutAGroupThereIsOneDiskAndAnyNameIsIt) {
  MoverDisks disks(/*group=*/false);
  EXPECT_EQ(disks.client_opens(""), nullptr) << "there is none yet";
  ASSERT_TRUE(succeeded(disks.open({disk("a")}, {})));
  EXPECT_NE(disks.client_opens(""), nullptr);
  EXPECT_NE(disks.client_opens("whatever"), nullptr);
  EXPECT_TRUE(failed_with(disks.open({disk("b")}, {}), BaseErrc::kInvalidArgument));
  EXPECT_EQ(disks.list().size(), 1u);
}

TEST_F(MoverDisksTest, OpensAllOrNone) {
  MoverDisks disks(/*group=*/true);
  const auto a = disk("a");
  const auto b = disk("b");
  const auto never = [&](const MoverDisks::Wish& wish) -> Result<void> {
    if (wish.name == "a") return {};
    return Error{.code = BaseErrc::kCancelled, .where = "not this one"};
  };
  EXPECT_TRUE(failed_with(disks.open({a, b}, never), BaseErrc::kCancelled));
  EXPECT_TRUE(failed_with(disks.open({a, a}, {}), BaseErrc::kInvalidArgument));
  EXPECT_TRUE(disks.list().empty());
  // Nothing holds the first one, which was open for a moment.
  ASSERT_TRUE(succeeded(disks.open({a}, {})));
  EXPECT_TRUE(failed_with(disks.open({a}, {}), BaseErrc::kInvalidArgument));
  ASSERT_TRUE(succeeded(disks.open({b}, {})));
  EXPECT_EQ(disks.list().size(), 2u);
  EXPECT_EQ(&disks.find("a")->disk->live()->gate(), disks.gate().get());
  EXPECT_EQ(&disks.find("b")->disk->live()->gate(), disks.gate().get());
}

TEST_F(MoverDisksTest, WhoIsThereBeforeADiskHasItWhenItHasArrived) {
  MoverDisks disks(/*group=*/true);
  disks.expect({arriving("a"), {.name = "b", .path = folder_ / "b.vhdx"}});
  EXPECT_EQ(disks.expected(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(disks.client_opens("b"), nullptr) << "there is nothing of it";
  const auto a = disks.client_opens("a");
  ASSERT_NE(a, nullptr);
  ASSERT_NE(a->arriving(), nullptr);
  EXPECT_EQ(a->live(), nullptr);
  EXPECT_EQ(a->arriving()->size_bytes(), 16 * kMiB);
  std::vector<std::byte> before(kMiB);
  ASSERT_TRUE(succeeded(a->arriving()->read(kMiB, before)));
  EXPECT_TRUE(disks.list().empty());
  EXPECT_EQ(disks.clients(), 0u) << "of disks that can be used";
  std::filesystem::rename(folder_ / "a.vhdx.partial", folder_ / "a.vhdx");
  EXPECT_TRUE(succeeded(a->arriving()->read(kMiB, before))) << "between the two";
  ASSERT_TRUE(succeeded(disks.open({{.name = "a", .path = folder_ / "a.vhdx"}}, {})));
  EXPECT_EQ(a->arriving(), nullptr);
  ASSERT_NE(a->live(), nullptr);
  EXPECT_EQ(disks.find("a")->disk, a);
  EXPECT_EQ(disks.clients(), 1u);
  EXPECT_EQ(disks.expected(), (std::vector<std::string>{"b"}));
  std::vector<std::byte> after(kMiB);
  ASSERT_TRUE(succeeded(a->live()->read(kMiB, after)));
  EXPECT_EQ(after, before);
  disks.client_closes(*a);
  EXPECT_EQ(disks.clients(), 0u);
}

TEST_F(MoverDisksTest, WhoWasToldOfAnotherDiskIsSentAway) {
  MoverDisks disks(/*group=*/false);
  disks.expect({arriving("a")});
  const auto told = disks.client_opens("");
  ASSERT_NE(told, nullptr);
  // What has arrived is larger than what they were told of.
  const std::string path = write("a.vhdx", 32 * kMiB);
  ASSERT_TRUE(succeeded(disks.open({{.name = "a", .path = path}}, {})));
  EXPECT_FALSE(MoverDisk::Request(*told).may_go_on());
  EXPECT_EQ(disks.clients(), 0u);
  const auto next = disks.client_opens("");
  ASSERT_NE(next, nullptr);
  EXPECT_NE(next, told);
  disks.client_closes(*told);
  EXPECT_EQ(disks.clients(), 1u);
  disks.client_closes(*next);
}

TEST_F(MoverDisksTest, ThePartialThatIsAnotherByNowIsNotRead) {
  MoverDisks disks(/*group=*/false);
  disks.expect({arriving("a")});
  const auto told = disks.client_opens("");
  ASSERT_NE(told, nullptr);
  std::filesystem::remove(folder_ / "a.vhdx.partial");
  (void)write("a.vhdx.partial", 32 * kMiB);
  std::vector<std::byte> bytes(kMiB);
  EXPECT_TRUE(failed_with(told->arriving()->read(0, bytes), BaseErrc::kInvalidArgument));
  // The last client takes with it what was known: the next one is told anew.
  disks.client_closes(*told);
  EXPECT_EQ(disks.client_opens("")->arriving()->size_bytes(), 32 * kMiB);
}

TEST_F(MoverDisksTest, ADiskThatIsClosedWaitsForWhatIsUnderWayAndTakesNothingNew) {
  MoverDisks disks(/*group=*/true);
  const auto a = disk("a");
  ASSERT_TRUE(succeeded(disks.open({a}, {})));
  const auto open = disks.client_opens("a");
  std::promise<void> begun;
  std::promise<void> go_on;
  std::atomic<bool> done = false;
  std::thread client([&] {
    const MoverDisk::Request request(*open);
    EXPECT_TRUE(request.may_go_on());
    begun.set_value();
    go_on.get_future().wait();
    done = true;
  });
  begun.get_future().wait();
  const auto taken = disks.take("a");
  auto closed = std::async(std::launch::async, [&] {
    EXPECT_TRUE(succeeded(taken->close()));
    EXPECT_TRUE(done);
  });
  // What comes while it is being closed is turned away, whenever that begins.
  for (;;) {
    const MoverDisk::Request late(*open);
    if (!late.may_go_on()) break;
    std::this_thread::yield();
  }
  go_on.set_value();
  client.join();
  closed.get();
  taken->let_go();
  ASSERT_TRUE(succeeded(disks.open({a}, {}))) << "though the client is still there";
  disks.client_closes(*open);
  EXPECT_EQ(disks.clients(), 0u);
}

}  // namespace
}  // namespace vhdxm::tools
