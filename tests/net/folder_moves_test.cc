// A receiver with several storage folders: each disk is in the one that its sender names, and
// nowhere else.
#include <filesystem>
#include <string>
#include <vector>

#include "base/directory.h"
#include "tests/net/hand_sender.h"
#include "tests/net/net_test.h"
#include "tests/support/expect_error.h"
#include "transfer/partials.h"
#include "vhdx/image.h"

namespace vhdxm::transfer {
namespace {

using test::expect_same_content;
using test::expect_same_layer;
using test::ModelDisk;
using test::Names;
using test::names_in;
using test::Untouched;
using test::write_child;
using test::write_data_disk;
using vhdx::kMiB;
using Type = ReceiverEvent::Type;

class FolderMoves : public NetTest {
 protected:
  ReceiverOptions options_with_folders() const {
    ReceiverOptions options = receiver_options();
    options.folders = {{"fast", fast_.path()}, {"bulk-2", bulk_.path()}};
    return options;
  }
  SenderOptions into(const std::string& folder, const std::string& disk) {
    SenderOptions options = sender_options(disk, receiver_.port());
    options.folder = folder;
    return options;
  }
  /// Not even the state of a job was made there.
  static bool is_empty(const test::TempFolder& folder) {
    return std::filesystem::is_empty(folder.path());
  }
  HandSender at_offer() {
    HandSender sender(receiver_.port(), key_);
    sender.connect();
    sender.hello();
    return sender;
  }
  static OfferDisk offer_of(const std::string& name, const std::string& folder) {
    OfferDisk offer = HandDisk(name).offer;
    offer.folder = folder;
    return offer;
  }
  /// The receiver refuses these disks, and makes nothing.
  void expect_refused(const std::vector<OfferDisk>& disks, Errc errc, std::string_view text) {
    HandSender sender = at_offer();
    std::uint32_t index = 0;
    for (OfferDisk disk : disks) {
      disk.disk = index++;
      sender.control.send(disk);
    }
    sender.control.send(OfferEnd{.disk_count = index});
    const Fail fail = sender.expect_fail();
    EXPECT_EQ(fail.code, static_cast<int>(errc)) << fail.text;
    EXPECT_NE(fail.text.find(text), std::string::npos) << fail.text;
    receiver_.wait_for(Type::kJobFailed, ++failed_);
    EXPECT_TRUE(is_empty(target_) && is_empty(fast_) && is_empty(bulk_));
  }

  test::TempFolder fast_;
  test::TempFolder bulk_;
  RunningReceiver receiver_{options_with_folders()};
  std::size_t failed_ = 0;
};

TEST_F(FolderMoves, EachDiskIsInItsFolderAlone) {
  const std::string disk = write_data_disk(source_, "a.vhdx", 1);
  for (const auto& [folder, path] : {std::pair<std::string, std::string>{"fast", fast_.path()},
                                     {"bulk-2", bulk_.path()},
                                     {"", target_.path()}}) {
    SCOPED_TRACE(folder);
    const Untouched untouched(disk);
    SenderOptions options = into(folder, disk);
    options.verify = true;
    const SendResult result = send(options);
    ASSERT_TRUE(succeeded(result));
    const std::string shown = folder.empty() ? "a.vhdx" : folder + "/a.vhdx";
    EXPECT_EQ(result->disks.at(0).name, shown);
    EXPECT_EQ(receiver_.wait_for(Type::kDiskArrived, receiver_.count(Type::kDiskArrived)).disk,
              shown);
    expect_same_layer(disk, path + "/a.vhdx");
  }
  EXPECT_EQ(names_in(target_), Names{"a.vhdx"});
  EXPECT_EQ(names_in(fast_), Names{"a.vhdx"});
  EXPECT_EQ(names_in(bulk_), Names{"a.vhdx"});
  // Again: what is compared is the one of that folder.
  const auto again = send(into("fast", disk));
  ASSERT_TRUE(succeeded(again));
  EXPECT_EQ(again->disks.at(0).outcome, DiskReport::Outcome::kIdentical);
}

TEST_F(FolderMoves, OneThatIsNotThereIsRefusedBeforeAnythingIsMade) {
  const std::string disk = write_data_disk(source_, "a.vhdx", 1);
  for (const std::string folder : {"slow", "FAST", "bulk", "into"}) {
    const SendResult result = send(into(folder, disk));
    EXPECT_TRUE(failed_as(result, FailureClass::kIncompatible, "no storage folder '" + folder));
    EXPECT_TRUE(failed_as(result, FailureClass::kIncompatible, "there are bulk-2, fast"));
    receiver_.wait_for(Type::kJobFailed, ++failed_);
  }
  // Also if it is only one of several disks, and the last.
  expect_refused({offer_of("a.vhdx", ""), offer_of("b.vhdx", "fast"), offer_of("c.vhdx", "slow")},
                 Errc::kIncompatible, "'slow' for c.vhdx");
  RunningReceiver plain(receiver_options());
  SenderOptions options = sender_options(disk, plain.port());
  options.folder = "fast";
  EXPECT_TRUE(failed_as(send(options), FailureClass::kIncompatible, "none has a name there"));
  EXPECT_TRUE(is_empty(target_) && is_empty(fast_) && is_empty(bulk_));
}

TEST_F(FolderMoves, APathIsNotEvenSaid) {
  const std::string disk = write_data_disk(source_, "a.vhdx", 1);
  for (const std::string folder :
       {"..", "/", "/tmp", "a/b", "fast/", "fa st", ".", "f\xc3\xa4st"}) {
    EXPECT_TRUE(failed_as(send(into(folder, disk)), FailureClass::kUsage)) << folder;
  }
  EXPECT_EQ(receiver_.count(Type::kJobStarted), 0u);
}

TEST_F(FolderMoves, TwoDisksOfOneNameNeedTwoFolders) {
  expect_refused({offer_of("a.vhdx", "fast"), offer_of("a.vhdx", "fast")}, Errc::kIncompatible,
                 "two names");
  HandSender sender = at_offer();
  const HandDisk one("a.vhdx");
  sender.offer({offer_of("a.vhdx", "fast"), offer_of("a.vhdx", ""), offer_of("a.vhdx", "bulk-2")});
  sender.begin(0, one.plan);
  EXPECT_EQ(names_in(fast_), Names{"a.vhdx.partial"});
  EXPECT_TRUE(is_empty(target_) && is_empty(bulk_));
  sender.control = HandConnection{-1};
  // What it left is listed, gone on with and removed where it is.
  receiver_.wait_for(Type::kJobFailed, ++failed_);
  const auto folder = Directory::open(fast_.path()).value();
  const auto partials = list_partials(*folder);
  ASSERT_TRUE(test::succeeded(partials));
  ASSERT_EQ(partials->size(), 1u);
  EXPECT_TRUE((*partials)[0].resumable);
  EXPECT_TRUE(test::succeeded(remove_partial(*folder, (*partials)[0])));
  EXPECT_EQ(names_in(fast_), Names{});
}

TEST_F(FolderMoves, AnInterruptedOneIsGoneOnWithWhateverTheFolderIsCalledByThen) {
  const std::string disk = write_data_disk(source_, "a.vhdx", 1);
  {
    std::unique_ptr<Sender> sender;
    sender = std::make_unique<Sender>(into("fast", disk), [&](const Progress& progress) {
      if (progress.phase == Phase::kSealing || progress.phase == Phase::kCommitting) {
        sender->cancel();
      }
    });
    EXPECT_TRUE(failed_as(sender->run(), FailureClass::kCancelled));
  }
  EXPECT_TRUE(receiver_.wait_for(Type::kJobFailed).kept);
  EXPECT_EQ(names_in(fast_), Names{"a.vhdx.partial"});
  receiver_.stop();
  ReceiverOptions options = receiver_options();
  options.folders = {{"quick", fast_.path()}};
  RunningReceiver renamed(options);
  SenderOptions again = sender_options(disk, renamed.port());
  again.folder = "quick";
  const SendResult result = send(again);
  ASSERT_TRUE(succeeded(result));
  EXPECT_TRUE(result->disks.at(0).resumed);
  EXPECT_EQ(names_in(fast_), Names{"a.vhdx"});
  expect_same_layer(disk, fast_ / "a.vhdx");
}

TEST_F(FolderMoves, ASeedIsLookedForInTheDisksFolder) {
  const std::string disk = write_data_disk(source_, "a.vhdx", 1);
  write_data_disk(target_, "old.vhdx", 1);
  SenderOptions options = into("fast", disk);
  options.seed_from = "old.vhdx";
  EXPECT_TRUE(failed_as(send(options), FailureClass::kIncompatible, fast_.path()));
  EXPECT_TRUE(is_empty(fast_));
  std::filesystem::rename(target_ / "old.vhdx", fast_ / "old.vhdx");
  const SendResult result = send(options);
  ASSERT_TRUE(succeeded(result));
  EXPECT_EQ(result->totals.same_bytes, 3 * kMiB);
  EXPECT_EQ(names_in(fast_), (Names{"a.vhdx", "old.vhdx"}));
}

TEST_F(FolderMoves, AChainGoesToOneFolderAndResolvesThere) {
  const std::string base = write_data_disk(source_, "base.vhdx", 1);
  vhdx::Geometry geometry = test::small_geometry(8 * kMiB);
  geometry.type = vhdx::DiskType::kDifferencing;
  const std::string leaf = write_child(
      source_, "leaf.avhdx",
      ModelDisk(geometry, {{.offset = 0, .length = kMiB, .kind = vhdx::ExtentKind::kData}}, 2),
      base);
  ASSERT_TRUE(succeeded(send(into("bulk-2", leaf))));
  EXPECT_EQ(names_in(bulk_), (Names{"base.vhdx", "leaf.avhdx"}));
  EXPECT_EQ(names_in(target_), Names{});
  expect_same_content(leaf, bulk_ / "leaf.avhdx");
}

TEST_F(FolderMoves, AChainInTwoFoldersIsRefused) {
  OfferDisk base = offer_of("base.vhdx", "fast");
  OfferDisk leaf = offer_of("leaf.avhdx", "bulk-2");
  leaf.description.geometry.type = vhdx::DiskType::kDifferencing;
  leaf.description.parent = vhdx::ParentLocator{
      .entries = {{"parent_linkage", to_string(base.description.data_write_guid)},
                  {"relative_path", ".\\base.vhdx"}}};
  expect_refused({base, leaf}, Errc::kIncompatible, "to one folder together");
  leaf.folder = "fast";
  HandSender sender = at_offer();
  sender.offer({base, leaf});
}

TEST_F(FolderMoves, RoomIsCountedByFileSystemNotByFolder) {
  const auto folder = Directory::open(fast_.path()).value();
  const auto other = Directory::open(bulk_.path()).value();
  ASSERT_EQ(folder->file_system().value(), other->file_system().value());
  // Each would fit alone, with much to spare if others write meanwhile; together they do not.
  const std::uint64_t free = folder->free_bytes().value();
  OfferDisk one = offer_of("a.vhdx", "fast");
  OfferDisk two = offer_of("b.vhdx", "bulk-2");
  one.payload_bytes = two.payload_bytes = free / 4 * 3;
  expect_refused({one, two}, Errc::kNoSpace, "free and needs");
  HandSender sender = at_offer();
  sender.offer({one});
}

}  // namespace
}  // namespace vhdxm::transfer
