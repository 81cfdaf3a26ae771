#include "bench/whole_move.h"

#include <stdlib.h>
#include <sys/resource.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/buffer_pool.h"
#include "base/check.h"
#include "base/posix_file.h"
#include "bench/random_content.h"
#include "vhdx/bulk_writer.h"
#include "vhdx/layer.h"
#include "vhdx/layer_digest.h"

namespace vhdxm::bench {
namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;
constexpr std::uint32_t kBlockBytes = 4 * kMiB;

std::uint64_t data_mib() {
  const char* const text = std::getenv("VHDXM_BENCH_MIB");
  return text != nullptr ? std::strtoull(text, nullptr, 10) / 4 * 4 : 16;
}

/// A dynamic disk of twice the size, whose first half is data.
void make_disk(const std::string& path, std::uint64_t data_bytes) {
  vhdx::Description description;
  description.geometry = {.virtual_size_bytes = 2 * data_bytes, .block_bytes = kBlockBytes};
  description.virtual_disk_id = Guid::random();
  description.data_write_guid = Guid::random();
  vhdx::BlockPlan plan(description.geometry);
  for (std::uint64_t block = 0; block < data_bytes / kBlockBytes; ++block) {
    plan.set(block, vhdx::BlockUse::kFull);
  }
  std::ofstream(path).flush();
  std::shared_ptr<File> file =
      PosixFile::open(path, {.access = PosixFile::Access::kReadWrite}).value();
  auto writer = vhdx::BulkWriter::start(file, description, std::move(plan), {}).value();
  auto content = random_content(kBlockBytes);
  for (std::uint64_t at = 0; at < data_bytes; at += kBlockBytes) {
    content[at / kBlockBytes % kBlockBytes] ^= std::byte{1};  // no block is another's copy
    writer->write(at, content).value();
  }
  writer->seal().value();
}

Hash128 digest_of(const std::string& path) {
  std::shared_ptr<File> file = PosixFile::open(path, {}).value();
  const auto layer = vhdx::Layer::open(file, vhdx::Layer::Replay::kInMemory).value();
  BufferPool pool(kMiB, 1);
  const Buffer buffer = pool.acquire();
  return vhdx::layer_digest(*layer, 1, buffer.bytes(), {}).value();
}

}  // namespace

WholeMove::WholeMove(const Options& options) : options_(options), data_bytes_(data_mib() * kMiB) {
  folder_ = (std::filesystem::temp_directory_path() / "vhdxm-bench-XXXXXX").string();
  VHDXM_CHECK(::mkdtemp(folder_.data()) != nullptr);
  std::filesystem::create_directory(folder_ + "/into");
  make_disk(folder_ + "/a.vhdx", data_bytes_);
  receiver_ = transfer::Receiver::bind({.into = folder_ + "/into",
                                        .listen_address = "127.0.0.1",
                                        .port = 0,
                                        .key = key_,
                                        .memory_bytes = options.memory_bytes,
                                        .plaintext_data = options.plaintext})
                  .value();
  receiving_ = std::thread([this] { VHDXM_CHECK(!receiver_->run().has_value()); });
}

WholeMove::~WholeMove() {
  receiver_->stop();
  receiving_.join();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void WholeMove::run(std::uint16_t port) {
  const auto result = transfer::Sender({.disk_path = folder_ + "/a.vhdx",
                                        .host = "127.0.0.1",
                                        .port = port,
                                        .key = key_,
                                        .streams = options_.streams,
                                        .memory_bytes = options_.memory_bytes,
                                        .plaintext_data = options_.plaintext})
                          .run();
  VHDXM_CHECK(result.has_value());
  VHDXM_CHECK(result->totals.written_bytes == data_bytes_);
  VHDXM_CHECK(result->plaintext_data == options_.plaintext);
  VHDXM_CHECK(result->buffer_stages.drained == data_bytes_ && result->buffer_stages.foreign == 0);
}

void WholeMove::clear(bool check) {
  const std::string arrived = folder_ + "/into/a.vhdx";
  if (check) {
    VHDXM_CHECK(digest_of(arrived) == digest_of(folder_ + "/a.vhdx"));
  }
  std::filesystem::remove(arrived);
}

void WholeMove::report(benchmark::State& state, double cpu_seconds) const {
  const auto bytes = static_cast<std::int64_t>(data_bytes_) * state.iterations();
  state.SetBytesProcessed(bytes);
  state.counters["cpu_s_per_GB"] = cpu_seconds / (static_cast<double>(bytes) / 1e9);
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace vhdxm::bench
