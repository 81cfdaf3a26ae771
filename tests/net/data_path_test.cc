// One buffer from disk to socket, one from socket to disk: seen at the system calls.
#include <fcntl.h>

#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "tests/net/net_test.h"
#include "tests/net/system_calls.h"
#include "tests/support/cached_pages.h"
#include "transfer/frame.h"

namespace vhdxm::transfer {
namespace {

using test::SystemCall;
using vhdx::kMiB;
using Kind = SystemCall::Kind;

/// Memory, as ranges of addresses.
class Memory {
 public:
  void add(const std::byte* begin, std::size_t length) {
    auto [first, end] = std::pair(begin, begin + length);
    auto at = ranges_.upper_bound(first);
    if (at != ranges_.begin() && std::prev(at)->second >= first) --at;
    while (at != ranges_.end() && at->first <= end) {
      first = std::min(first, at->first);
      end = std::max(end, at->second);
      at = ranges_.erase(at);
    }
    ranges_[first] = end;
  }
  /// How much of [begin, begin + length) is in here; it lies in one range or in none.
  std::size_t overlap(const std::byte* begin, std::size_t length) const {
    auto at = ranges_.upper_bound(begin);
    if (at == ranges_.begin() || std::prev(at)->second < begin + length) return 0;
    return length;
  }

 private:
  std::map<const std::byte*, const std::byte*> ranges_;
};

/// What a move did with payload, told from its system calls alone.
struct Path {
  std::uint64_t read = 0;                    ///< From a file, by a thread that sends data.
  std::uint64_t sent_where_read = 0;         ///< From memory that this thread had read into.
  std::uint64_t sent_elsewhere = 0;          ///< By those threads, from other memory.
  std::uint64_t written_where_received = 0;  ///< From memory that this thread had received into.
  std::uint64_t written_elsewhere = 0;       ///< By threads that receive data, from other memory.
};

class DataPath : public NetTest {
 protected:
  /// Moves a disk of 6 MiB of data and nothing else.
  void move(bool plaintext) {
    make_source();
    move_source(plaintext);
  }

  void make_source() {
    disk_ = test::write_disk(source_, "a.vhdx",
                             test::ModelDisk(test::small_geometry(8 * kMiB),
                                             {{.length = 6 * kMiB, .kind = vhdx::ExtentKind::kData},
                                              {.offset = 6 * kMiB, .length = 2 * kMiB}},
                                             77));
  }

  std::size_t cached_pages_of_source() const {
    const auto file = PosixFile::open(disk_, {}).value();
    return test::cached_pages(file->fd(), 0, static_cast<std::size_t>(file->size().value()));
  }

  void move_source(bool plaintext) {
    ReceiverOptions receiver_side = receiver_options();
    receiver_side.plaintext_data = plaintext;
    RunningReceiver receiver(receiver_side);
    SenderOptions options = sender_options(disk_, receiver.port());
    options.plaintext_data = plaintext;
    options.streams = 2;
    {
      const test::SystemCallWatch watch([this](const SystemCall& call) {
        const bool direct = (::fcntl(call.fd, F_GETFL) & O_DIRECT) != 0;
        const std::lock_guard lock(mutex_);
        calls_.push_back(call);
        if (call.kind == Kind::kFileRead && direct) direct_reads_ += call.length;
      });
      auto result = send(options);
      ASSERT_TRUE(succeeded(result));
      report_ = std::move(*result);
      arrived_ = receiver.wait_for(ReceiverEvent::Type::kJobDone);
    }
    cached_ = cached_pages_of_source();
    test::expect_same_layer(disk_, target_ / "a.vhdx");
  }

  /// Sockets over which payload went; control carries less.
  std::set<int> data_sockets(Kind kind) const {
    std::map<int, std::size_t> bytes;
    for (const SystemCall& call : calls_) {
      if (call.kind == kind) bytes[call.fd] += call.length;
    }
    std::set<int> found;
    for (const auto& [fd, sum] : bytes) {
      if (sum >= kMiB) found.insert(fd);
    }
    return found;
  }

  Path path() const {
    const std::set<int> sending = data_sockets(Kind::kSend);
    const std::set<int> receiving = data_sockets(Kind::kReceive);
    std::set<std::thread::id> senders;
    std::set<std::thread::id> receivers;
    for (const SystemCall& call : calls_) {
      if (call.kind == Kind::kSend && sending.contains(call.fd)) senders.insert(call.thread);
      if (call.kind == Kind::kReceive && receiving.contains(call.fd)) {
        // Joining is the control thread's, which writes nothing.
        receivers.insert(call.thread);
      }
    }
    Path path;
    std::map<std::thread::id, Memory> filled;
    for (const SystemCall& call : calls_) {
      Memory& memory = filled[call.thread];
      const std::size_t inside = memory.overlap(call.memory, call.length);
      if (senders.contains(call.thread)) {
        if (call.kind == Kind::kFileRead) {
          path.read += call.length;
          memory.add(call.memory, call.length);
        } else if (call.kind == Kind::kSend && sending.contains(call.fd)) {
          (inside > 0 ? path.sent_where_read : path.sent_elsewhere) += call.length;
        }
      }
      if (receivers.contains(call.thread)) {
        if (call.kind == Kind::kReceive && receiving.contains(call.fd)) {
          memory.add(call.memory, call.length);
        } else if (call.kind == Kind::kFileWrite) {
          (inside > 0 ? path.written_where_received : path.written_elsewhere) += call.length;
        }
      }
    }
    return path;
  }

  /// `zeros`: what was read and, being zero, neither hashed nor sent.
  static void expect_all_at_every_stage(const BufferPool::StageBytes& stages,
                                        std::uint64_t zeros = 0) {
    EXPECT_EQ(stages.filled, 6 * kMiB + zeros);
    EXPECT_EQ(stages.hashed, 6 * kMiB);
    EXPECT_EQ(stages.drained, 6 * kMiB);
    EXPECT_EQ(stages.foreign, 0U);
  }

  std::mutex mutex_;
  std::string disk_;
  std::size_t cached_ = 0;          ///< Pages of the source's file, after the move.
  std::uint64_t direct_reads_ = 0;  ///< Bytes read past the page cache. Protected by mutex_.
  std::vector<SystemCall> calls_;   ///< Protected by mutex_ while a move runs. In order a thread.
  JobReport report_;
  ReceiverEvent arrived_;
};

TEST_F(DataPath, PlainPayloadGoesOutFromWhereItWasReadAndDownFromWhereItCameIn) {
  move(/*plaintext=*/true);
  const Path path = this->path();
  EXPECT_EQ(path.read, 6 * kMiB + report_.totals.zero_bytes) << "every byte is read once";
  EXPECT_EQ(path.sent_where_read, 6 * kMiB) << "and is sent from there";
  EXPECT_EQ(path.written_where_received, 6 * kMiB);
  EXPECT_EQ(path.written_elsewhere, 0U);
  // Preamble, Join and the end of two streams, and the frames' headers.
  EXPECT_LE(path.sent_elsewhere, report_.frames * kFrameHeaderBytes + 2 * 512);
  expect_all_at_every_stage(report_.buffer_stages, report_.totals.zero_bytes);
  expect_all_at_every_stage(arrived_.buffer_stages);
}

TEST_F(DataPath, TlsIsTheOnlyOtherHandThatTouchesPayload) {
  move(/*plaintext=*/false);
  const Path path = this->path();
  EXPECT_EQ(path.read, 6 * kMiB + report_.totals.zero_bytes);
  EXPECT_EQ(path.sent_where_read, 0U) << "nothing leaves as it was read";
  EXPECT_GT(path.sent_elsewhere, 6 * kMiB);
  EXPECT_EQ(path.written_where_received, 0U);
  EXPECT_EQ(path.written_elsewhere, 6 * kMiB);
  expect_all_at_every_stage(report_.buffer_stages, report_.totals.zero_bytes);
  expect_all_at_every_stage(arrived_.buffer_stages);
}

TEST_F(DataPath, ASourceThatIsColdStaysColdAndOneThatIsWarmIsNotReadFromTheDevice) {
  constexpr std::size_t kPayload = 6 * kMiB / 4096;
  make_source();
  const auto file = PosixFile::open(disk_, {}).value();
  std::vector<std::byte> content(static_cast<std::size_t>(file->size().value()));
  ASSERT_EQ(content.size() % 4096, 0U);
  if (!test::drop_cached(file->fd(), content.size())) {
    GTEST_SKIP() << "this file system keeps all in its cache";
  }
  move_source(/*plaintext=*/true);
  EXPECT_GE(direct_reads_, 6 * kMiB);
  // The tables went through the cache, with what the kernel reads ahead.
  EXPECT_LT(cached_, content.size() / 4096 - kPayload + kPayload / 10);

  direct_reads_ = 0;
  ASSERT_EQ(file->read_some_at(0, content).value(), content.size());
  ASSERT_EQ(cached_pages_of_source(), content.size() / 4096);
  std::filesystem::remove(target_ / "a.vhdx");
  move_source(/*plaintext=*/true);
  EXPECT_EQ(direct_reads_, 0U);
  EXPECT_EQ(cached_, content.size() / 4096);
}

}  // namespace
}  // namespace vhdxm::transfer
