// send and receive as two processes on this machine.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <csignal>
#include <filesystem>
#include <memory>
#include <set>
#include <string>

#include "tests/support/temp_folder.h"
#include "tests/tools/sparse_content.h"
#include "tests/tools/tool_process.h"

namespace vhdxm::test {
namespace {

class CliTransfer : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directory(into_); }

  /// A disk of 40 MiB with `data_mib` MiB of content.
  std::string make_disk(const std::string& name, std::uint64_t data_mib = 2,
                        std::uint64_t seed = 1) {
    const std::string disk = folder_ / name;
    make_raw(disk + ".raw", 40 * kMiB, {{kMiB, data_mib * kMiB}}, seed);
    EXPECT_EQ(run_tool({"import", disk + ".raw", disk, "--block-size", "1M"}).exit, 0);
    return disk;
  }

  /// Starts a receiver on a free port; returns once it listens.
  void receive(const Words& options = {}) {
    Words words = {"receive", "--into", into_, "--listen", "127.0.0.1:0", "--json"};
    if (!key_file_.empty()) words.insert(words.end(), {"--key-file", key_file_});
    words.insert(words.end(), options.begin(), options.end());
    receiver_ = std::make_unique<ToolProcess>(words);
    const std::string& said = receiver_->read_until("\"type\":\"pairing\"");
    const auto listening = boost::json::parse(said.substr(0, said.find('\n'))).as_object();
    EXPECT_EQ(listening.at("type").as_string(), "listening");
    host_ = listening.at("address").as_string().c_str();
  }

  Ended send(const std::string& disk, const Words& options = {}) {
    Words words = {"send", disk, host_, "--key-file", key_file_, "--json"};
    words.insert(words.end(), options.begin(), options.end());
    return run_tool(words);
  }

  /// Ends the receiver, and looks at how it ended.
  Ended stop_receiver() {
    receiver_->signal(SIGTERM);
    Ended ended = receiver_->wait();
    EXPECT_EQ(ended.exit, 130);
    return ended;
  }

  /// Neither partial files nor any but `names` are in the receiver's folder.
  void expect_names(const std::set<std::string>& names) {
    std::set<std::string> there;
    for (const auto& entry : std::filesystem::directory_iterator(into_)) {
      const std::string name = entry.path().filename();
      if (!name.starts_with('.')) there.insert(name);
    }
    EXPECT_EQ(there, names);
  }

  void expect_same_content(const std::string& first, const std::string& second) {
    const Ended ended = run_tool({"compare", first, second});
    EXPECT_EQ(ended.exit, 0) << ended.out << ended.err;
  }

  TempFolder folder_;
  std::string into_ = folder_ / "into";
  std::string key_file_ = folder_ / "pair.key";
  std::string host_;
  std::unique_ptr<ToolProcess> receiver_;
};

TEST_F(CliTransfer, ADiskArrivesAsItIs) {
  const std::string disk = make_disk("web01.vhdx", 8);
  const std::string before = content_of_file(disk);
  receive({"--once"});
  const Ended sent = send(disk, {"--verify"});
  EXPECT_EQ(sent.exit, 0) << sent.out << sent.err;
  const Ended received = receiver_->wait();
  EXPECT_EQ(received.exit, 0) << received.out << received.err;

  expect_names({"web01.vhdx"});
  expect_same_content(disk, into_ + "/web01.vhdx");
  EXPECT_EQ(run_tool({"check", into_ + "/web01.vhdx"}).exit, 0);
  EXPECT_TRUE(content_of_file(disk) == before);

  const auto done = sent.object("done");
  EXPECT_EQ(done.at("ownership").as_string(),
            "web01.vhdx is complete at " + host_ + "; the source keeps its copy and is unchanged.");
  EXPECT_EQ(done.at("virtual_bytes").as_int64(), static_cast<std::int64_t>(40 * kMiB));
  EXPECT_GT(done.at("wire_bytes").as_int64(), static_cast<std::int64_t>(8 * kMiB));
  EXPECT_LT(done.at("wire_bytes").as_int64(), static_cast<std::int64_t>(9 * kMiB));
  EXPECT_GE(done.at("streams").as_int64(), 1);
  EXPECT_GT(done.at("peak_rss_bytes").as_int64(), 0);
  EXPECT_TRUE(done.at("cipher").as_string().starts_with("TLS_"));
  const auto& report = done.at("disks").as_array().at(0).as_object();
  EXPECT_TRUE(report.at("verified").as_bool());
  EXPECT_EQ(report.at("ledger").as_string().size(), 32U);
  EXPECT_EQ(received.object("disk_arrived").at("disk").as_string(), "web01.vhdx");
  EXPECT_EQ(received.object("job_done").at("job").as_int64(), 1);
}

TEST_F(CliTransfer, AChainArrivesWithItsParents) {
  const std::string parent = make_disk("base.vhdx", 4);
  const std::string child = folder_ / "child.avhdx";
  ASSERT_EQ(run_tool({"create", child, "--parent", parent}).exit, 0);
  receive();
  EXPECT_EQ(send(child).exit, 0);
  stop_receiver();
  expect_names({"base.vhdx", "child.avhdx"});
  expect_same_content(child, into_ + "/child.avhdx");
}

TEST_F(CliTransfer, SendingAgainFindsTheSameDisk) {
  const std::string disk = make_disk("web01.vhdx");
  receive();
  EXPECT_EQ(send(disk).exit, 0);
  const Ended again = send(disk);
  EXPECT_EQ(again.exit, 0) << again.out;
  EXPECT_EQ(again.object("done").at("disks").as_array().at(0).at("outcome").as_string(),
            "identical");
  stop_receiver();
}

TEST_F(CliTransfer, ANameThatAnotherDiskHasIsRefused) {
  receive();
  EXPECT_EQ(send(make_disk("a.vhdx", 2, 1), {"--as", "web01.vhdx"}).exit, 0);
  const std::string there = content_of_file(into_ + "/web01.vhdx");
  const Ended refused = send(make_disk("b.vhdx", 2, 2), {"--as", "web01.vhdx"});
  EXPECT_EQ(refused.exit, 3) << refused.out;
  const auto error = refused.object("error");
  EXPECT_EQ(error.at("ownership").as_string(),
            "The source still owns " + (folder_ / "b.vhdx") + "; it was not changed.");
  EXPECT_NE(error.at("advice").as_string(), "");
  stop_receiver();
  EXPECT_TRUE(content_of_file(into_ + "/web01.vhdx") == there);
  expect_names({"web01.vhdx"});
}

TEST_F(CliTransfer, AnotherKeyIsExitFourAndNothingArrives) {
  const std::string disk = make_disk("web01.vhdx");
  receive();
  std::filesystem::remove(key_file_);
  ToolProcess other(
      {"receive", "--into", into_, "--listen", "127.0.0.1:0", "--key-file", key_file_});
  other.read_until("Listening on");
  other.signal(SIGINT);
  other.wait();
  const Ended refused = send(disk);
  EXPECT_EQ(refused.exit, 4) << refused.out;
  EXPECT_NE(refused.object("error").at("advice").as_string(), "");
  receiver_->read_until("peer_refused");
  stop_receiver();
  expect_names({});
}

TEST_F(CliTransfer, NobodyListeningIsExitFive) {
  const std::string disk = make_disk("web01.vhdx");
  receive();
  stop_receiver();
  const Ended ended = send(disk);
  EXPECT_EQ(ended.exit, 5) << ended.out;
  EXPECT_NE(ended.object("error").at("message").as_string().find("127.0.0.1"), std::string::npos);
  EXPECT_NE(ended.object("error").at("advice").as_string(), "");
}

TEST_F(CliTransfer, AnInterruptedSendIsResumedByTheNext) {
  const std::string disk = make_disk("web01.vhdx", 39);
  const std::string before = content_of_file(disk);
  receive();
  ToolProcess sender({"send", disk, host_, "--key-file", key_file_, "--json", "--limit", "10M"});
  sender.read_until_match("\"written_bytes\":[1-9]");
  sender.signal(SIGINT);
  const Ended ended = sender.wait();
  EXPECT_EQ(ended.exit, 130) << ended.out << ended.err;
  EXPECT_EQ(ended.object("error").at("exit").as_int64(), 130);
  EXPECT_EQ(ended.object("error").at("ownership").as_string(),
            "The source still owns " + disk + "; it was not changed.");
  EXPECT_EQ(ended.object("error").at("advice").as_string(),
            "Run the same command again: it resumes.");
  receiver_->read_until("job_failed");
  expect_names({"web01.vhdx.partial"});
  EXPECT_TRUE(content_of_file(disk) == before);

  const Ended again = send(disk);
  EXPECT_EQ(again.exit, 0) << again.out;
  EXPECT_EQ(again.object("resuming").at("disk").as_string(), "web01.vhdx");
  const auto done = again.object("done");
  EXPECT_EQ(done.at("resumed_bytes").as_int64(), done.at("same_bytes").as_int64());
  EXPECT_TRUE(done.at("disks").as_array().at(0).at("resumed").as_bool());
  stop_receiver();
  expect_names({"web01.vhdx"});
  expect_same_content(disk, into_ + "/web01.vhdx");
}

TEST_F(CliTransfer, CleanupShowsAndRemovesWhatIsUnfinishedButNothingInUse) {
  const std::string disk = make_disk("web01.vhdx", 39);
  receive();
  ToolProcess sender({"send", disk, host_, "--key-file", key_file_, "--json", "--limit", "10M"});
  sender.read_until("\"phase\":\"copying\"");
  const Ended busy = run_tool({"cleanup", "web01.vhdx", "--into", into_, "--json"});
  EXPECT_EQ(busy.exit, 5) << busy.out;
  EXPECT_NE(busy.object("error").at("message").as_string().find("web01.vhdx is being received"),
            std::string::npos);
  EXPECT_TRUE(
      run_tool({"cleanup", "--into", into_, "--json"}).object("partial").at("in_use").as_bool());
  sender.signal(SIGINT);
  sender.wait();
  receiver_->read_until("job_failed");
  stop_receiver();
  receive();  // says what waits to be resumed
  receiver_->read_until("\"type\":\"resumable\"");
  stop_receiver();

  const Ended shown = run_tool({"cleanup", "--into", into_, "--json"});
  EXPECT_EQ(shown.exit, 0);
  const auto partial = shown.object("partial");
  EXPECT_EQ(partial.at("disk").as_string(), "web01.vhdx");
  EXPECT_TRUE(partial.at("resumable").as_bool());
  EXPECT_EQ(run_tool({"cleanup", "other.vhdx", "--into", into_}).exit, 2);
  EXPECT_EQ(run_tool({"cleanup"}).exit, 2);
  expect_names({"web01.vhdx.partial"});
  const std::string id = partial.at("id").as_string().c_str();
  EXPECT_EQ(run_tool({"cleanup", id, "--into", into_}).exit, 0);
  expect_names({});
  const Ended nothing = run_tool({"cleanup", "--into", into_});
  EXPECT_EQ(nothing.exit, 0);
  EXPECT_NE(nothing.err.find("nothing unfinished"), std::string::npos) << nothing.err;
}

TEST_F(CliTransfer, ASeedAtTheDestinationIsUsed) {
  const std::string disk = make_disk("web01.vhdx", 8);
  receive();
  EXPECT_EQ(send(disk).exit, 0);
  const Ended seeded = send(disk, {"--as", "web02.vhdx", "--seed-from", "web01.vhdx"});
  EXPECT_EQ(seeded.exit, 0) << seeded.out;
  EXPECT_EQ(seeded.object("done").at("same_bytes").as_int64(), static_cast<std::int64_t>(8 * kMiB));
  EXPECT_LT(seeded.object("done").at("wire_bytes").as_int64(), 64 * 1024);
  const Ended refused = send(disk, {"--as", "web03.vhdx", "--seed-from", "none.vhdx"});
  EXPECT_EQ(refused.exit, 3) << refused.out;
  EXPECT_NE(refused.object("error").at("message").as_string().find("none.vhdx"), std::string::npos);
  EXPECT_EQ(send(disk, {"--seed-from", "../web01.vhdx"}).exit, 2);
  stop_receiver();
  expect_names({"web01.vhdx", "web02.vhdx"});
  expect_same_content(disk, into_ + "/web02.vhdx");
}

TEST_F(CliTransfer, AStoppedReceiverKeepsWhatCameAndTellsTheSender) {
  const std::string disk = make_disk("web01.vhdx", 39);
  receive();
  ToolProcess sender({"send", disk, host_, "--key-file", key_file_, "--json", "--limit", "10M"});
  sender.read_until("\"phase\":\"copying\"");
  stop_receiver();
  const Ended ended = sender.wait();
  EXPECT_TRUE(ended.exit == 7 || ended.exit == 5) << ended.exit << ended.out;
  expect_names({"web01.vhdx.partial"});
}

TEST_F(CliTransfer, TheDataIsInPlainTextOnlyIfBothSay) {
  const std::string disk = make_disk("web01.vhdx");
  receive();
  EXPECT_EQ(send(disk, {"--plaintext-data"}).exit, 4);
  stop_receiver();
  receive({"--plaintext-data"});
  const Ended sent = send(disk, {"--plaintext-data"});
  EXPECT_EQ(sent.exit, 0) << sent.out;
  EXPECT_TRUE(sent.object("done").at("plaintext_data").as_bool());
  stop_receiver();
}

TEST_F(CliTransfer, ArrivingDisksGetTheModeThatWasAskedFor) {
  const std::string disk = make_disk("web01.vhdx");
  receive({"--file-mode", "0640", "--once"});
  EXPECT_EQ(send(disk).exit, 0);
  receiver_->wait();
  struct stat status {};
  ASSERT_EQ(::stat((into_ + "/web01.vhdx").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640U);
}

TEST_F(CliTransfer, APersonSeesWhatToDoAndWhatWasDone) {
  const std::string disk = make_disk("web01.vhdx");
  ToolProcess receiver(
      {"receive", "--into", into_, "--listen", "127.0.0.1:0", "--key-file", key_file_, "--once"});
  const std::string first = receiver.read_until("\n");
  ASSERT_TRUE(first.starts_with("Listening on 127.0.0.1:")) << first;
  const std::string address = first.substr(13, first.find(',') - 13);
  const Ended sent = run_tool({"send", disk, address, "--key-file", key_file_});
  EXPECT_EQ(sent.exit, 0);
  EXPECT_EQ(sent.out, "");
  EXPECT_NE(sent.err.find("web01.vhdx is complete at " + address + "; the source keeps its copy"),
            std::string::npos)
      << sent.err;
  const Ended received = receiver.wait();
  EXPECT_EQ(received.exit, 0);
  EXPECT_NE(received.err.find("  vhdx-migrate send DISK.vhdx " + address + " --key-file " +
                              key_file_ + "\n"),
            std::string::npos)
      << received.err;
  EXPECT_NE(received.err.find("web01.vhdx, 40 MiB, is complete here"), std::string::npos);
}

TEST_F(CliTransfer, TheKeyFileIsMadeForItsOwnerAlone) {
  receive();
  stop_receiver();
  struct stat status {};
  ASSERT_EQ(::stat(key_file_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
  const std::string key = content_of_file(key_file_);
  EXPECT_EQ(key.size(), std::string("vhdx-migrate:\n").size() + 64);
  receive();
  stop_receiver();
  EXPECT_EQ(content_of_file(key_file_), key) << "a key file that is there is taken as it is";
}

TEST_F(CliTransfer, ABadKeyFileIsWrongUsageAndNotShown) {
  const std::string disk = make_disk("web01.vhdx");
  host_ = "127.0.0.1:1";
  EXPECT_EQ(send(disk).exit, 2) << "there is no key file";
  make_raw(key_file_, 100, {});
  damage(key_file_, 0, "secret-text");
  const Ended ended = send(disk);
  EXPECT_EQ(ended.exit, 2);
  EXPECT_EQ(ended.out.find("secret-text"), std::string::npos);
  EXPECT_EQ(run_tool({"receive", "--into", into_, "--key-file", key_file_}).exit, 2);
}

TEST_F(CliTransfer, WithoutAKeyAndATerminalSendSaysWhatIsMissing) {
  const Ended ended = run_tool({"send", make_disk("web01.vhdx"), "127.0.0.1:1", "--json"});
  EXPECT_EQ(ended.exit, 2);
  EXPECT_NE(ended.object("error").at("advice").as_string().find("--key-file"), std::string::npos);
}

class CliKeyPrompt : public CliTransfer {
 protected:
  void SetUp() override {
    CliTransfer::SetUp();
    disk_ = make_disk("web01.vhdx");
    key_file_ = "";
    receive();
    const auto& said = receiver_->read_until("\"key\":\"");
    const auto begin = said.find("\"key\":\"") + 7;
    key_ = said.substr(begin, said.find('"', begin) - begin);
  }

  ToolProcess send_at_terminal() {
    return ToolProcess({"send", disk_, host_}, ToolProcess::Streams::kTerminal,
                       {{"TERM", "xterm"}});
  }

  std::string disk_;
  std::string key_;
};

TEST_F(CliKeyPrompt, TakesTheKeyAtTheTerminalWithoutShowingIt) {
  ToolProcess sender = send_at_terminal();
  sender.read_until("Key that the receiving host shows");
  sender.type(key_ + "\n");
  const Ended ended = sender.wait();
  EXPECT_EQ(ended.exit, 0) << ended.out;
  EXPECT_EQ(ended.out.find(key_.substr(0, 8)), std::string::npos) << "the key was echoed";
  EXPECT_NE(ended.out.find("web01.vhdx is complete at"), std::string::npos) << ended.out;
  stop_receiver();
  expect_same_content(disk_, into_ + "/web01.vhdx");
}

TEST_F(CliKeyPrompt, AsksAgainAfterATypingMistake) {
  ToolProcess sender = send_at_terminal();
  sender.read_until("Key that");
  sender.type("0123 4567\n");
  sender.read_until("That is not a key");
  sender.type(key_ + "\n");
  EXPECT_EQ(sender.wait().exit, 0);
  stop_receiver();
}

TEST_F(CliKeyPrompt, CtrlCEndsTheQuestion) {
  ToolProcess sender = send_at_terminal();
  sender.read_until("Key that");
  sender.type("\x03");
  EXPECT_EQ(sender.wait().exit, 130);
  stop_receiver();
}

TEST_F(CliKeyPrompt, NoKeyIsWrongUsage) {
  ToolProcess sender = send_at_terminal();
  sender.read_until("Key that");
  sender.type("\x04");
  EXPECT_EQ(sender.wait().exit, 2);
  stop_receiver();
}

}  // namespace
}  // namespace vhdxm::test
