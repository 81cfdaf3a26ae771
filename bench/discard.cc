// A real sender, reading a real disk through the whole pipeline, into a receiver in a process of
// its own that verifies and drops what comes: what the engine does without a disk behind it.
//
//   discard DISK [--tls] [--streams N]
//
// Prints one line of JSON: seconds, bytes, processor seconds of both processes. The receiver is in
// the mode that `advise` measures with. It takes payload only, so what the disk has besides data is
// left out, and cells of zeros, which are not sent anyway. bench/discard.sh puts iperf3 beside it.
#include <fmt/format.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/random.h"
#include "transfer/cell_hash.h"
#include "transfer/job_counters.h"
#include "transfer/link_measurer.h"
#include "transfer/receiver.h"
#include "transfer/send_setup.h"
#include "transfer/software.h"
#include "transfer/source_chain.h"

namespace vhdxm::transfer {
namespace {

/// Processor time of a process so far, all its threads.
double cpu_seconds(pid_t process) {
  clockid_t clock{};
  timespec time{};
  VHDXM_CHECK(::clock_getcpuclockid(process, &clock) == 0 && ::clock_gettime(clock, &time) == 0);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

/// The data of a disk, and nothing else, one after the other.
class DataOnly final : public vhdx::DiskView {
 public:
  explicit DataOnly(vhdx::DiskView& disk) : disk_(disk), description_(disk.description()) {
    std::vector<vhdx::Extent> extents;
    const std::uint64_t size = disk.geometry().virtual_size_bytes;
    for (std::uint64_t at = 0; at < size;) at = disk.map(at, size - at, extents).value();
    std::vector<std::byte> bytes(kCellBytes);
    for (const vhdx::Extent& extent : extents) {
      if (extent.kind != vhdx::ExtentKind::kData) continue;
      for (std::uint64_t done = 0; done + kCellBytes <= extent.length; done += kCellBytes) {
        read_exact_at(*extent.file, extent.file_offset + done, bytes, "bench").value();
        if (!all_zero(bytes)) add(*extent.file, extent.file_offset + done);
      }
    }
    description_.geometry.virtual_size_bytes = bytes_;
  }

  const vhdx::Description& description() const override { return description_; }
  Result<std::uint64_t> map(std::uint64_t offset, std::uint64_t length,
                            std::vector<vhdx::Extent>& out, std::size_t extents_max) override {
    auto piece = std::prev(std::upper_bound(
        pieces_.begin(), pieces_.end(), offset,
        [](std::uint64_t at, const vhdx::Extent& one) { return at < one.virtual_offset; }));
    const std::uint64_t end = offset + length;
    for (; offset < end && extents_max > 0; ++piece, --extents_max) {
      vhdx::Extent extent = *piece;
      const std::uint64_t skip = offset - extent.virtual_offset;
      extent.virtual_offset += skip;
      extent.file_offset += skip;
      extent.length = std::min(extent.length - skip, end - offset);
      out.push_back(extent);
      offset += extent.length;
    }
    return offset;
  }
  Result<void> payload_states(std::uint64_t first_block,
                              std::span<vhdx::PayloadState> out) override {
    return disk_.payload_states(first_block, out);
  }

 private:
  void add(File& file, std::uint64_t file_offset) {
    if (!pieces_.empty()) {
      vhdx::Extent& last = pieces_.back();
      if (last.file == &file && last.file_offset + last.length == file_offset) {
        last.length += kCellBytes;
        bytes_ += kCellBytes;
        return;
      }
    }
    pieces_.push_back({.virtual_offset = bytes_,
                       .length = kCellBytes,
                       .kind = vhdx::ExtentKind::kData,
                       .file = &file,
                       .file_offset = file_offset});
    bytes_ += kCellBytes;
  }

  vhdx::DiskView& disk_;
  vhdx::Description description_;
  std::vector<vhdx::Extent> pieces_;
  std::uint64_t bytes_ = 0;
};

/// A receiver in a process of its own.
class OtherProcess {
 public:
  OtherProcess(const PairingKey& key, bool plaintext) {
    int ready[2];
    int stop[2];
    VHDXM_CHECK(::pipe(ready) == 0 && ::pipe(stop) == 0);
    child_ = ::fork();
    VHDXM_CHECK(child_ >= 0);
    if (child_ == 0) {
      ::close(ready[0]);
      ::close(stop[1]);
      serve(key, plaintext, ready[1], stop[0]);
      std::_Exit(0);
    }
    ::close(ready[1]);
    ::close(stop[0]);
    stop_ = stop[1];
    VHDXM_CHECK(::read(ready[0], &port_, sizeof port_) == sizeof port_);
    ::close(ready[0]);
  }
  std::uint16_t port() const { return port_; }
  double cpu() const { return cpu_seconds(child_); }
  void end() {
    ::close(stop_);
    int status = 0;
    VHDXM_CHECK(::waitpid(child_, &status, 0) == child_ && status == 0);
  }

 private:
  static void serve(const PairingKey& key, bool plaintext, int ready, int stop) {
    std::string folder = (std::filesystem::temp_directory_path() / "discard-XXXXXX").string();
    VHDXM_CHECK(::mkdtemp(folder.data()) != nullptr);
    const auto receiver = Receiver::bind({.into = folder,
                                          .listen_address = "127.0.0.1",
                                          .port = 0,
                                          .key = key,
                                          .plaintext_data = plaintext})
                              .value();
    const std::uint16_t port = receiver->port();
    VHDXM_CHECK(::write(ready, &port, sizeof port) == sizeof port);
    std::thread waiting([&receiver, stop] {
      char none = 0;
      VHDXM_CHECK(::read(stop, &none, 1) == 0);
      receiver->stop();
    });
    VHDXM_CHECK(!receiver->run().has_value());
    waiting.join();
    std::filesystem::remove_all(folder);
  }

  pid_t child_ = -1;
  int stop_ = -1;
  std::uint16_t port_ = 0;
};

/// The sender: as LinkMeasurer, but of a disk, once and to its end.
class Discarded {
 public:
  Discarded(const SenderOptions& options, vhdx::DiskView& disk, const OtherProcess& receiver)
      : options_(options),
        disk_(disk),
        receiver_(receiver),
        shares_(shares_of(options)),
        mode_({}, 1e9),
        limiter_(0) {
    random_bytes(std::as_writable_bytes(std::span(preamble_.job_id)));
  }

  /// Seconds from the first frame that may go to the last that is acknowledged.
  double run() {
    asio::co_spawn(context_, converse(), [](const std::exception_ptr& failure) {
      if (failure) std::rethrow_exception(failure);
    });
    context_.run();
    return std::chrono::duration<double>(ended_ - began_).count();
  }
  /// Processor seconds of both processes in that time.
  double cpu() const { return cpu_; }

 private:
  template <class Reply>
  asio::awaitable<Reply> expect() {
    for (;;) {
      const Message message = co_await control_->receive();
      if (const auto* reply = std::get_if<Reply>(&message)) co_return *reply;
      if (const auto* fail = std::get_if<Fail>(&message)) {
        fmt::print(stderr, "discard: {}\n", fail->text);
        std::exit(1);
      }
    }
  }

  asio::awaitable<void> converse() {
    ControlConnection connection = co_await connect_control(context_, options_, preamble_);
    control_ = std::move(connection.channel);
    control_->start_writer();
    const std::uint64_t nonce = random_u64();
    control_->send(Hello{.preamble = encode(preamble_),
                         .features = features_of(options_),
                         .extent_bytes_max = extent_of(options_),
                         .streams_wanted = static_cast<std::uint16_t>(shares_.streams),
                         .nonce = nonce,
                         .software = kSoftware});
    const auto welcome = co_await expect<Welcome>();
    control_->allow_long_messages();
    control_->send(Measure{});
    (void)co_await expect<MeasureReady>();
    const auto streams =
        static_cast<std::uint16_t>(std::min<std::uint64_t>(shares_.streams, welcome.streams_max));
    control_->send(StreamRequest{.count = streams});
    const auto tokens = co_await expect<StreamTokens>();
    queue_ = std::make_unique<ExtentQueue>(
        welcome.extent_bytes_max, welcome.credit_bytes, nonce + welcome.nonce,
        [this](std::uint32_t, const Ledger&) { sent_ = true; },
        [](std::uint32_t, std::uint32_t) {});
    pool_ = std::make_unique<BufferPool>(welcome.extent_bytes_max, streams);
    streams_job_ = std::make_unique<SendStreamJob>(
        SendStreamJob{.queue = *queue_,
                      .limiter = limiter_,
                      .pool = *pool_,
                      .counters = counters_,
                      .mode = mode_,
                      .hash_seed = queue_->hash_seed(),
                      .key = options_.key,
                      .job_id = preamble_.job_id,
                      .host = connection.address,
                      .port = options_.port,
                      .timeouts = options_.timeouts,
                      .plaintext = options_.plaintext_data,
                      .on_lost = [](std::uint32_t) { std::abort(); },
                      .on_fatal = [](const Error&) { std::abort(); }});
    std::vector<std::unique_ptr<SendStream>> sending;
    for (const StreamGrant& grant : tokens.grants) {
      sending.push_back(std::make_unique<SendStream>(*streams_job_, grant));
    }
    cpu_ = -(cpu_seconds(0) + receiver_.cpu());
    began_ = std::chrono::steady_clock::now();
    queue_->begin_disk(0, disk_);
    while (!sent_) {
      const auto written = co_await expect<Written>();
      queue_->add_credit(written.credit_bytes);
      for (const WrittenCount& count : written.streams) {
        queue_->acknowledge(count.stream, count.frames).value();
      }
    }
    ended_ = std::chrono::steady_clock::now();
    cpu_ += cpu_seconds(0) + receiver_.cpu();
    queue_->stop();
    control_->send(EndJob{});
    (void)co_await expect<JobDone>();
    sending.clear();
    co_await control_->finish();
  }

  const SenderOptions options_;
  vhdx::DiskView& disk_;
  const OtherProcess& receiver_;
  double cpu_ = 0;
  const SenderBudget::Shares shares_;
  Preamble preamble_;
  asio::io_context context_{1};
  std::shared_ptr<ControlChannel> control_;
  JobCounters counters_;
  ModeControl mode_;
  RateLimiter limiter_;
  std::unique_ptr<BufferPool> pool_;
  std::unique_ptr<ExtentQueue> queue_;
  std::unique_ptr<SendStreamJob> streams_job_;
  bool sent_ = false;
  std::chrono::steady_clock::time_point began_;
  std::chrono::steady_clock::time_point ended_;
};

int run(int count, char** words) {
  SenderOptions options{.disk_path = {}, .host = "127.0.0.1", .key = PairingKey::generate()};
  options.mode = Mode::kPlain;
  options.plaintext_data = true;
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    if (word == "--tls") {
      options.plaintext_data = false;
    } else if (word == "--streams" && i + 1 < count) {
      options.streams = static_cast<unsigned>(std::strtoul(words[++i], nullptr, 10));
    } else {
      options.disk_path = word;
    }
  }
  if (options.disk_path.empty()) {
    fmt::print(stderr, "usage: discard DISK [--tls] [--streams N]\n");
    return 2;
  }
  OtherProcess receiver(options.key, options.plaintext_data);  // before there are threads
  options.port = receiver.port();
  const auto chain = SourceChain::open(options.disk_path, {}, true);
  if (chain.has_error()) {
    fmt::print(stderr, "discard: {}\n", describe(chain.error()));
    return 1;
  }
  DataOnly disk((*chain)->view(0));
  Discarded move(options, disk, receiver);
  const double seconds = move.run();
  receiver.end();
  const double bytes = static_cast<double>(disk.geometry().virtual_size_bytes);
  const double cpu = move.cpu();
  fmt::print(
      "{{\"seconds\":{:.4f},\"bytes\":{:.0f},\"GB_per_s\":{:.3f},\"cpu_s\":{:.3f},"
      "\"cpu_s_per_GB\":{:.3f}}}\n",
      seconds, bytes, bytes / seconds / 1e9, cpu, cpu / (bytes / 1e9));
  return 0;
}

}  // namespace
}  // namespace vhdxm::transfer

int main(int count, char** words) {
  return vhdxm::transfer::run(count, words);
}
