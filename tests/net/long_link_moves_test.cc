// Moves over a link with length that loses: nothing is timed, everything arrives.
#include "tests/net/delay_proxy.h"
#include "tests/net/net_test.h"

namespace vhdxm::transfer {
namespace {

using vhdx::kMiB;

class LongLinkMoves : public NetTest {};

TEST_F(LongLinkMoves, DelayAndLossChangeNoByte) {
  RunningReceiver receiver(receiver_options());
  const test::DelayProxy proxy(receiver.port(), {.bytes_per_second = 125'000'000,
                                                 .one_way = std::chrono::milliseconds(5),
                                                 .loss = 0.05,
                                                 .window_bytes = kMiB / 2});
  const std::string disk = test::write_data_disk(source_, "a.vhdx", 1, 6 * kMiB);
  SenderOptions options = sender_options(disk, proxy.port());
  options.verify = true;
  const SendResult result = send(options);
  ASSERT_TRUE(succeeded(result));
  EXPECT_EQ(result->streams_replaced, 0U);
  test::expect_same_layer(disk, target_ / "a.vhdx");
}

TEST_F(LongLinkMoves, ALimitedMoveIsWholeToo) {
  RunningReceiver receiver(receiver_options());
  const std::string disk = test::write_data_disk(source_, "a.vhdx", 1, 6 * kMiB);
  SenderOptions options = sender_options(disk, receiver.port());
  options.limit_bytes_per_second = 64 * kMiB;
  ASSERT_TRUE(succeeded(send(options)));
  test::expect_same_layer(disk, target_ / "a.vhdx");
}

}  // namespace
}  // namespace vhdxm::transfer
