// What every test of whole moves has: two folders, a key, and options that fit each other.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "tests/net/disk_file.h"
#include "tests/net/running_receiver.h"
#include "tests/support/temp_folder.h"
#include "transfer/sender.h"

namespace vhdxm::transfer {

class NetTest : public testing::Test {
 protected:
  ReceiverOptions receiver_options() const { return {.into = target_.path(), .key = key_}; }
  SenderOptions sender_options(const std::string& disk, std::uint16_t port) const {
    return {.disk_path = disk, .host = "127.0.0.1", .port = port, .key = key_};
  }
  static SendResult send(const SenderOptions& options, ProgressFunction progress = {}) {
    return Sender(options, std::move(progress)).run();
  }

  test::TempFolder source_;
  test::TempFolder target_;
  const PairingKey key_ = PairingKey::generate();
};

inline testing::AssertionResult succeeded(const SendResult& result) {
  if (result.has_value()) return testing::AssertionSuccess();
  return testing::AssertionFailure() << result.error().message;
}

/// `text`: a piece of the message.
inline testing::AssertionResult failed_as(const Failure& failure, FailureClass failure_class,
                                          std::string_view text = "") {
  if (failure.failure_class != failure_class) {
    return testing::AssertionFailure()
           << "class " << static_cast<int>(failure.failure_class) << ": " << failure.message;
  }
  if (failure.message.find(text) == std::string::npos) {
    return testing::AssertionFailure() << "lacks \"" << text << "\": " << failure.message;
  }
  return testing::AssertionSuccess() << failure.message;
}

inline testing::AssertionResult failed_as(const SendResult& result, FailureClass failure_class,
                                          std::string_view text = "") {
  if (result.has_value()) return testing::AssertionFailure() << "it did not fail";
  return failed_as(result.error(), failure_class, text);
}

}  // namespace vhdxm::transfer
