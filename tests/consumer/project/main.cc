// Moves a disk between two folders of this host through the installed library, then cancels a move.
#include <vhdx_migrate/base/directory.h>
#include <vhdx_migrate/transfer/receiver.h>
#include <vhdx_migrate/transfer/sender.h>
#include <vhdx_migrate/vhdx/bulk_writer.h>
#include <vhdx_migrate/vhdx/content_compare.h>

#include <cstdio>
#include <future>
#include <random>
#include <stdexcept>
#include <thread>

using namespace vhdxm;

namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;

void require(bool condition, const char* what) {
  if (!condition) throw std::runtime_error(what);
}

// A dynamic disk of 1 GiB with 24 MiB in its middle.
void make_disk(const Directory& folder) {
  vhdx::Description description;
  description.geometry = {.virtual_size_bytes = 1024 * kMiB, .block_bytes = 8 * kMiB};
  description.virtual_disk_id = Guid::random();
  description.data_write_guid = Guid::random();
  vhdx::BlockPlan plan(description.geometry);
  for (const std::uint64_t block : {50, 51, 52}) plan.set(block, vhdx::BlockUse::kFull);
  std::shared_ptr<File> file = folder.create_file("disk.vhdx", false).value();
  auto writer = vhdx::BulkWriter::start(file, description, plan, {}).value();
  std::vector<std::byte> content(24 * kMiB);
  std::mt19937 random(1);
  for (auto& byte : content) byte = static_cast<std::byte>(random());
  writer->write(50 * 8 * kMiB, content).value();
  writer->seal().value();
}

class RunningReceiver {
 public:
  RunningReceiver(const std::string& into, const transfer::PairingKey& key)
      : receiver_(transfer::Receiver::bind(
                      {.into = into, .listen_address = "127.0.0.1", .port = 0, .key = key})
                      .value()),
        thread_([this] { receiver_->run(); }) {}
  ~RunningReceiver() { receiver_->stop(); }
  std::uint16_t port() const { return receiver_->port(); }

 private:
  std::unique_ptr<transfer::Receiver> receiver_;
  std::jthread thread_;
};

void move(const std::string& disk, std::uint16_t port, const transfer::PairingKey& key) {
  transfer::Sender sender({.disk_path = disk, .host = "127.0.0.1", .port = port, .key = key},
                          [](const transfer::Progress& progress) {
                            std::printf("%s: %llu of %llu bytes\n", to_string(progress.phase),
                                        static_cast<unsigned long long>(progress.bytes_done),
                                        static_cast<unsigned long long>(progress.bytes_total));
                          });
  const transfer::SendResult result = sender.run();
  if (result.has_error()) throw std::runtime_error(result.error().message);
  require(result->totals.bytes_done == 24 * kMiB, "the move read what the map says is there");
}

// Starts a move slowed to a crawl and cancels it as soon as it copies.
void cancel(const std::string& disk, std::uint16_t port, const transfer::PairingKey& key) {
  std::promise<void> copying;
  bool told = false;
  transfer::Sender sender({.disk_path = disk,
                           .host = "127.0.0.1",
                           .port = port,
                           .key = key,
                           .name = "cancelled.vhdx",
                           .limit_bytes_per_second = 1 * kMiB},
                          [&](const transfer::Progress& progress) {
                            if (progress.phase != transfer::Phase::kCopying || told) return;
                            told = true;
                            copying.set_value();
                          });
  auto result = std::async(std::launch::async, [&] { return sender.run(); });
  copying.get_future().wait();
  sender.cancel();
  const transfer::SendResult ended = result.get();
  require(ended.has_error(), "a cancelled move fails");
  require(ended.error().failure_class == transfer::FailureClass::kCancelled, "as cancelled");
}

}  // namespace

int main(int argc, char** argv) try {
  require(argc == 3, "usage: consumer SOURCE-FOLDER DESTINATION-FOLDER");
  const auto source = Directory::open(argv[1]).value();
  const auto destination = Directory::open(argv[2]).value();
  make_disk(*source);
  const auto key = transfer::PairingKey::generate();
  {
    const RunningReceiver receiver(destination->path(), key);
    move(source->path_of("disk.vhdx"), receiver.port(), key);
    cancel(source->path_of("disk.vhdx"), receiver.port(), key);
  }
  const auto sent = vhdx::open_content(source->path_of("disk.vhdx"), {}).value();
  const auto arrived = vhdx::open_content(destination->path_of("disk.vhdx"), {}).value();
  require(vhdx::compare_content(*sent, *arrived).value().same(), "the content is the same");
  require(!destination->exists("cancelled.vhdx").value(), "a cancelled move makes no disk");
  std::puts("moved, compared, cancelled");
  return 0;
} catch (const std::exception& exception) {
  std::fprintf(stderr, "consumer: %s\n", exception.what());
  return 1;
}
