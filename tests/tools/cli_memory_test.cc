// How much memory the two sides of a move take, as they say themselves under --json.
//
// The bound is the empty move's peak (the program, its libraries, a stream at each side) and what
// --memory says, 64 MiB unless told, and what is counted apart: the BAT cache (4 MiB a layer) and
// the block plan (2 bits a block: 1 MiB for 4 TiB in blocks of 1 MiB, while it is encoded and sent
// up to three times).
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/temp_folder.h"
#include "tests/tools/sparse_content.h"
#include "tests/tools/tool_process.h"

namespace vhdxm::test {
namespace {

constexpr std::uint64_t kApartBytes = 7 * kMiB;

class CliMemory : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directory(into_); }

  /// A dynamic disk with `data_mib` MiB in pieces all over it.
  std::string make_disk(const std::string& name, const std::string& size, std::uint64_t size_mib,
                        std::uint64_t data_mib, std::uint64_t seed = 1) {
    const std::string disk = folder_ / name;
    if (data_mib == 0) {
      EXPECT_EQ(run_tool({"create", disk, "--size", size, "--block-size", "1M"}).exit, 0);
      return disk;
    }
    constexpr std::uint64_t kPieces = 32;
    std::vector<Stretch> pieces;
    for (std::uint64_t i = 0; i < kPieces; ++i) {
      pieces.push_back({i * (size_mib / kPieces) * kMiB, data_mib / kPieces * kMiB});
    }
    make_raw(disk + ".raw", size_mib * kMiB, pieces, seed);
    EXPECT_EQ(run_tool({"import", disk + ".raw", disk, "--block-size", "1M"}).exit, 0);
    std::filesystem::remove(disk + ".raw");
    return disk;
  }

  void receive(const Words& options = {}) {
    Words words = {"receive", "--into",     into_,     "--listen",   "127.0.0.1:0",
                   "--json",  "--key-file", key_file_, "--progress", "none"};
    words.insert(words.end(), options.begin(), options.end());
    receiver_ = std::make_unique<ToolProcess>(words);
    const std::string& said = receiver_->read_until("\"type\":\"pairing\"");
    const auto begin = said.find("\"address\":\"") + 11;
    host_ = said.substr(begin, said.find('"', begin) - begin);
  }

  Words send_words(const std::string& disk, const Words& options) const {
    Words words = {"send", disk, host_, "--key-file", key_file_, "--json", "--progress", "none"};
    words.insert(words.end(), options.begin(), options.end());
    return words;
  }

  static std::uint64_t number(const boost::json::object& object, const char* member) {
    return object.at(member).to_number<std::uint64_t>();
  }

  std::uint64_t stop_receiver() {
    receiver_->signal(SIGTERM);
    std::uint64_t peak = 0;
    for (const auto& object : receiver_->wait().objects()) {
      if (object.at("type").as_string() != "job_done") continue;
      peak = std::max(peak, number(object, "peak_rss_bytes"));
    }
    EXPECT_GT(peak, 0U);
    return peak;
  }

  struct Peaks {
    std::uint64_t sender = 0;
    std::uint64_t receiver = 0;
  };
  /// Of a receiver that serves these sends at the same time; the senders' highest.
  Peaks move(const std::vector<std::string>& disks, const Words& receive_options,
             const Words& send_options) {
    receive(receive_options);
    std::vector<std::unique_ptr<ToolProcess>> senders;
    for (const std::string& disk : disks) {
      senders.push_back(std::make_unique<ToolProcess>(send_words(disk, send_options)));
    }
    Peaks peaks;
    for (const auto& sender : senders) {
      const Ended ended = sender->wait();
      EXPECT_EQ(ended.exit, 0) << ended.out << ended.err;
      if (ended.exit != 0) continue;
      peaks.sender = std::max(peaks.sender, number(ended.object("done"), "peak_rss_bytes"));
    }
    peaks.receiver = stop_receiver();
    return peaks;
  }

  /// What the program needs to move nothing.
  Peaks empty_move() { return move({make_disk("empty.vhdx", "8M", 8, 0)}, {}, {"--streams", "1"}); }

  TempFolder folder_;
  std::string into_ = folder_ / "into";
  std::string key_file_ = folder_ / "pair.key";
  std::string host_;
  std::unique_ptr<ToolProcess> receiver_;
};

TEST_F(CliMemory, FourTebibytesOverSixteenStreamsTakeNoMoreThanSixtyFourMebibytes) {
  const Peaks empty = empty_move();
  const std::string disk = make_disk("large.vhdx", "4T", 4ULL << 20, 256);
  const Peaks peaks = move({disk}, {}, {"--streams", "16", "--verify"});
  EXPECT_LE(peaks.sender, empty.sender + 64 * kMiB + kApartBytes);
  EXPECT_LE(peaks.receiver, empty.receiver + 64 * kMiB + kApartBytes);
  RecordProperty("sender_peak_mib", static_cast<int>(peaks.sender / kMiB));
  RecordProperty("receiver_peak_mib", static_cast<int>(peaks.receiver / kMiB));
  RecordProperty("empty_move_peak_mib", static_cast<int>(empty.sender / kMiB));
}

TEST_F(CliMemory, SeveralSendersShareWhatTheReceiverWasGiven) {
  const Peaks empty = empty_move();
  std::vector<std::string> disks;
  for (int i = 0; i < 4; ++i) {
    disks.push_back(
        make_disk(std::to_string(i) + ".vhdx", "1G", 1024, 64, static_cast<std::uint64_t>(i)));
  }
  const Peaks peaks = move(disks, {"--memory", "32M"}, {"--streams", "64", "--memory", "16M"});
  EXPECT_LE(peaks.sender, empty.sender + 16 * kMiB + kApartBytes);
  EXPECT_LE(peaks.receiver, empty.receiver + 32 * kMiB + kApartBytes);
}

}  // namespace
}  // namespace vhdxm::test
