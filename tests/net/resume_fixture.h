// Sends that break in the middle, and are run again.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/posix_file.h"
#include "tests/net/net_test.h"
#include "tests/net/tcp_proxy.h"
#include "tests/support/expect_error.h"
#include "transfer/frame.h"
#include "transfer/job_journal.h"
#include "vhdx/layer.h"

namespace vhdxm::transfer {

class Resume : public NetTest {
 protected:
  /// A sender whose extents are small and whose one stream makes cuts fall where they are wanted.
  SenderOptions one_stream(const std::string& disk, std::uint16_t port) const {
    SenderOptions options = sender_options(disk, port);
    options.streams = 1;
    options.extent_bytes = kCellBytes;
    return options;
  }

  /// Sends until `bytes` have passed on the data stream; from then on none gets through.
  Failure send_cut(const std::string& disk, std::uint16_t port, std::uint64_t bytes) {
    using Kind = test::ProxyFault::Kind;
    const test::TcpProxy proxy(port, [bytes](std::size_t connection) {
      if (connection == 0) return test::ProxyRule{};
      return test::ProxyRule{
          .up = {.kind = Kind::kCut, .after_bytes = connection == 1 ? bytes : 0}};
    });
    const auto result = send(one_stream(disk, proxy.port()));
    EXPECT_TRUE(failed_as(result, FailureClass::kNetwork));
    return result.has_error() ? result.error() : Failure{};
  }

  JobReport send_again(const std::string& disk, const SenderOptions& options) {
    const auto result = send(options);
    EXPECT_TRUE(succeeded(result));
    if (result.has_error()) return {};
    const std::string name = std::filesystem::path(disk).filename().string();
    test::expect_same_layer(disk, target_ / name);
    EXPECT_TRUE(std::filesystem::is_empty(target_ / kStateFolderName));
    return *result;
  }

  bool journal_of(const std::string& name) const {
    return std::filesystem::exists(target_ / kStateFolderName + "/" + JournalFile::file_name(name));
  }

  /// Writes bytes into the file of a disk where the layer has them.
  static void overwrite(const std::string& path, std::uint64_t virtual_offset,
                        const std::vector<std::byte>& bytes) {
    std::shared_ptr<PosixFile> file =
        PosixFile::open(path, {.access = PosixFile::Access::kReadWrite}).value();
    const auto layer = vhdx::Layer::open(file, vhdx::Layer::Replay::kInMemory).value();
    std::vector<vhdx::Extent> extents;
    ASSERT_TRUE(test::succeeded(layer->map(virtual_offset, bytes.size(), extents)));
    ASSERT_EQ(extents.size(), 1U);
    ASSERT_EQ(extents[0].kind, vhdx::ExtentKind::kData);
    ASSERT_TRUE(test::succeeded(file->write_at(extents[0].file_offset, bytes)));
  }
};

}  // namespace vhdxm::transfer
