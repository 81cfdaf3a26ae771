// Peers that prove nothing. Whatever they say to a receiver, it opens no file for them and serves
// the next sender; whatever they say to a sender, it tells its person what they are and sends
// nothing.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <random>
#include <vector>

#include "tests/net/folder_watch.h"
#include "tests/net/hand_connection.h"
#include "tests/net/hand_receiver.h"
#include "tests/net/hand_sender.h"
#include "tests/net/net_test.h"
#include "tests/net/tcp_proxy.h"
#include "tests/support/random_seed.h"
#include "tests/support/stranger.h"

namespace vhdxm::transfer {
namespace {

using namespace std::chrono_literals;
using test::FolderWatch;
using test::Names;
using test::names_in;
using test::ProxyFault;
using test::Stranger;
using test::TcpProxy;
using test::Untouched;
using test::write_data_disk;
using Type = ReceiverEvent::Type;

std::vector<std::byte> random_content(std::size_t size, std::mt19937_64& random) {
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

/// The first flight of a sender's TLS.
std::vector<std::byte> client_hello(const PairingKey& key, const Preamble& preamble) {
  TlsEngine engine(TlsEngine::Role::kClient, key, encode(preamble));
  EXPECT_FALSE(engine.handshake().has_error());
  return {engine.pending().begin(), engine.pending().end()};
}

/// Plays TLS without a key, until the other side ends the connection or OpenSSL is content.
/// Returns whether it is.
bool run_without_key(HandConnection& connection, Stranger& stranger) {
  for (;;) {
    const bool done = stranger.handshake();
    connection.send_raw(stranger.take());
    if (done) return true;
    const auto bytes = connection.receive_raw();
    if (bytes.empty()) return false;
    stranger.feed(bytes);
  }
}

class UnprovenSender : public NetTest {
 protected:
  UnprovenSender() : UnprovenSender(Timeouts{}) {}
  explicit UnprovenSender(Timeouts timeouts)
      : receiver_([&] {
          ReceiverOptions options = receiver_options();
          options.timeouts = timeouts;
          return options;
        }()),
        watch_(target_.path()) {}

  // Nothing was opened for all the bad peers together, and a good one is served after them.
  void TearDown() override {
    EXPECT_EQ(receiver_.count(Type::kJobStarted), 0u);
    EXPECT_EQ(watch_.touched(), Names{});
    const std::string disk = write_data_disk(source_, "good.vhdx", 1);
    ASSERT_TRUE(succeeded(send(sender_options(disk, receiver_.port()))));
    EXPECT_EQ(names_in(target_), Names{"good.vhdx"});
    EXPECT_NE(watch_.touched(), Names{}) << "the watch sees nothing at all";
  }

  /// The next peer that was turned away, as the receiver tells it.
  testing::AssertionResult refused_for(Errc errc, FailureClass failure_class) {
    const ReceiverEvent event = receiver_.wait_for(Type::kPeerRefused, ++refused_);
    if (!event.failure) return testing::AssertionFailure() << "no failure";
    if (event.failure->error.code != make_error_code(errc)) {
      return testing::AssertionFailure() << event.failure->message;
    }
    EXPECT_EQ(event.job, 0u);
    EXPECT_NE(event.peer, "");
    return failed_as(*event.failure, failure_class);
  }

  RunningReceiver receiver_;
  FolderWatch watch_;
  std::vector<HandConnection> half_open_;  ///< Still there when the good sender comes.
  std::size_t refused_ = 0;
};

TEST_F(UnprovenSender, OtherKey) {
  const std::string disk = write_data_disk(source_, "a.vhdx", 1);
  const Untouched untouched(disk);
  SenderOptions options = sender_options(disk, receiver_.port());
  options.key = PairingKey::generate();
  const SendResult result = send(options);
  ASSERT_TRUE(failed_as(result, FailureClass::kAuthentication));
  EXPECT_NE(result.error().advice.find("key file"), std::string::npos);
  EXPECT_TRUE(refused_for(Errc::kAuthentication, FailureClass::kAuthentication));
}

TEST_F(UnprovenSender, OtherVersionIsToldWhichOneIsSpoken) {
  for (const std::uint16_t version : std::initializer_list<std::uint16_t>{
           0, kProtocolVersion - 1, kProtocolVersion + 1, 0xffff}) {
    HandConnection peer = HandConnection::connect(receiver_.port());
    Preamble preamble;
    preamble.version = version;
    peer.send_raw(encode(preamble));
    const auto bytes = peer.receive_raw_exactly(kPreambleBytes);
    ASSERT_EQ(bytes.size(), kPreambleBytes);
    const auto refusal = decode_refusal(std::span(bytes).first<kPreambleBytes>());
    ASSERT_FALSE(refusal.has_error());
    EXPECT_TRUE(*refusal == Refusal{.reason = RefusalReason::kVersion});
    peer.close();
    EXPECT_TRUE(refused_for(Errc::kVersion, FailureClass::kIncompatible));
  }
}

TEST_F(UnprovenSender, KindThatIsNotTaken) {
  for (const auto kind :
       {ConnectionKind::kJobControl, ConnectionKind::kKerberosOffer, ConnectionKind::kForward}) {
    HandConnection peer = HandConnection::connect(receiver_.port());
    peer.send_raw(encode(Preamble{.kind = kind}));
    const auto bytes = peer.receive_raw_exactly(kPreambleBytes);
    ASSERT_EQ(bytes.size(), kPreambleBytes);
    const auto refusal = decode_refusal(std::span(bytes).first<kPreambleBytes>());
    ASSERT_FALSE(refusal.has_error());
    EXPECT_EQ(refusal->reason, RefusalReason::kKind);
    peer.close();
    EXPECT_TRUE(refused_for(Errc::kRefused, FailureClass::kAuthentication));
  }
}

TEST_F(UnprovenSender, GarbageIsClosedWithoutAWord) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  std::vector<std::vector<std::byte>> garbage;
  for (int i = 0; i < 20; ++i) garbage.push_back(random_content(32 + random() % 5000, random));
  for (const std::string_view text :
       {std::string_view("GET / HTTP/1.1\r\nHost: 192.0.2.1:6600\r\n\r\n"),
        std::string_view("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")}) {
    const auto bytes = std::as_bytes(std::span(text));
    garbage.emplace_back(bytes.begin(), bytes.end());
  }
  for (const auto& bytes : garbage) {
    HandConnection peer = HandConnection::connect(receiver_.port());
    peer.send_raw(bytes);
    EXPECT_TRUE(peer.receive_raw().empty());
    EXPECT_TRUE(refused_for(Errc::kNotOurProtocol, FailureClass::kFailed));
  }
}

TEST_F(UnprovenSender, GarbageInPlaceOfTls) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int i = 0; i < 20; ++i) {
    auto bytes = random_content(64 + random() % 100'000, random);
    // Also what looks like a handshake record of 2^63 bytes, as far as a record can.
    if (i % 2 == 0) bytes[0] = std::byte{22};
    if (i % 4 == 0) std::fill_n(bytes.begin() + 3, 6, std::byte{0xff});
    HandConnection peer = HandConnection::connect(receiver_.port());
    peer.send_raw(encode(Preamble{}));
    peer.send_raw(bytes);
    peer.end_writing();
    peer.wait_for_close();
    const ReceiverEvent event = receiver_.wait_for(Type::kPeerRefused, ++refused_);
    ASSERT_TRUE(event.failure.has_value());
  }
}

TEST_F(UnprovenSender, WithoutAKey) {
  HandConnection peer = HandConnection::connect(receiver_.port());
  peer.send_raw(encode(Preamble{}));
  Stranger stranger(Stranger::Role::kClient);
  EXPECT_FALSE(run_without_key(peer, stranger));
  EXPECT_TRUE(refused_for(Errc::kAuthentication, FailureClass::kAuthentication));
}

// What somebody recorded on the wire is of no use: the other half of the key is new each time.
TEST_F(UnprovenSender, ReplayOfAWholeConnection) {
  std::vector<std::byte> recorded;
  {
    const test::TempFolder elsewhere;
    RunningReceiver other({.into = elsewhere.path(), .key = key_});
    const TcpProxy proxy(other.port());
    HandSender sender(proxy.port(), key_);
    sender.connect();
    sender.hello();
    sender.control.close();
    recorded = proxy.recorded_up(0);
  }
  ASSERT_GT(recorded.size(), kPreambleBytes);
  HandConnection peer = HandConnection::connect(receiver_.port());
  peer.send_raw(recorded);
  peer.wait_for_close();
  const ReceiverEvent event = receiver_.wait_for(Type::kPeerRefused, ++refused_);
  ASSERT_TRUE(event.failure.has_value());
  EXPECT_EQ(event.failure->failure_class, FailureClass::kAuthentication) << event.failure->message;
}

// A relay cannot turn a connection that was meant for one job into one for another.
TEST_F(UnprovenSender, ChangedPreamble) {
  const TcpProxy proxy(receiver_.port(), [](std::size_t) {
    return test::ProxyRule{.up = {.kind = ProxyFault::Kind::kFlip, .after_bytes = 20}};
  });
  const std::string disk = write_data_disk(source_, "a.vhdx", 1);
  const Untouched untouched(disk);
  EXPECT_TRUE(failed_as(send(sender_options(disk, proxy.port())), FailureClass::kAuthentication));
  EXPECT_TRUE(refused_for(Errc::kAuthentication, FailureClass::kAuthentication));
}

TEST_F(UnprovenSender, DataStreamOfNoJob) {
  HandSender sender(receiver_.port(), key_);
  HandConnection stream = sender.open_data(sender.preamble.job_id);
  stream.send(sender.join_message({.stream = 0, .token = {}}));
  stream.wait_for_close();
  EXPECT_TRUE(refused_for(Errc::kAuthentication, FailureClass::kAuthentication));
}

// Each costs a descriptor for as long as it takes for 64 others to come; no more.
TEST_F(UnprovenSender, AThousandHalfOpenConnections) {
  const auto hello = client_hello(key_, Preamble{});
  for (int i = 0; i < 1000; ++i) {
    half_open_.push_back(HandConnection::connect(receiver_.port()));
    if (i % 3 > 0) half_open_.back().send_raw(encode(Preamble{}));
    if (i % 3 > 1) half_open_.back().send_raw(std::span(hello).first(hello.size() / 2));
  }
  receiver_.wait_for(Type::kPeerRefused, 1000 - 64);
}

class SilentSender : public UnprovenSender {
 protected:
  SilentSender() : UnprovenSender(Timeouts{.handshake = 300ms}) {}
};

TEST_F(SilentSender, IsClosedWhereverItStops) {
  std::vector<std::byte> words;
  const auto preamble = encode(Preamble{});
  words.insert(words.end(), preamble.begin(), preamble.end());
  const auto hello = client_hello(key_, Preamble{});
  words.insert(words.end(), hello.begin(), hello.end());
  std::vector<HandConnection> peers;
  for (const std::size_t said : {std::size_t{0}, std::size_t{1}, kPreambleBytes - 1, kPreambleBytes,
                                 kPreambleBytes + 3, words.size() - 1, words.size()}) {
    peers.push_back(HandConnection::connect(receiver_.port()));
    peers.back().send_raw(std::span(words).first(said));
  }
  for (HandConnection& peer : peers) {
    peer.wait_for_close();
    EXPECT_TRUE(refused_for(Errc::kTimeout, FailureClass::kNetwork));
  }
}

// And what somebody says who listens to a sender.
class UnprovenReceiver : public NetTest {
 protected:
  SenderOptions options() const {
    SenderOptions options = sender_options(disk_, listener_.port());
    options.timeouts.handshake = 2s;
    return options;
  }

  const std::string disk_ = write_data_disk(source_, "a.vhdx", 1);
  const Untouched untouched_{disk_};
  HandListener listener_;
};

TEST_F(UnprovenReceiver, OtherKey) {
  RunningSender sender(options());
  HandConnection peer = listener_.accept();
  const auto preamble = peer.receive_raw_exactly(kPreambleBytes);
  EXPECT_FALSE(peer.run_tls(TlsEngine::Role::kServer, PairingKey::generate(), preamble));
  EXPECT_TRUE(failed_as(sender.result(), FailureClass::kAuthentication));
}

TEST_F(UnprovenReceiver, ManInTheMiddleWithACertificate) {
  RunningSender sender(options());
  HandConnection peer = listener_.accept();
  peer.receive_raw_exactly(kPreambleBytes);
  Stranger stranger(Stranger::Role::kServer);
  run_without_key(peer, stranger);
  // Not a byte of Hello came, whatever OpenSSL thinks of the handshake.
  peer.wait_for_close();
  EXPECT_TRUE(failed_as(sender.result(), FailureClass::kAuthentication, "certificate"));
}

TEST_F(UnprovenReceiver, Refusals) {
  struct Case {
    Refusal refusal;
    FailureClass failure_class;
    std::string text;
  };
  for (const Case& one :
       {Case{{.reason = RefusalReason::kVersion, .version_min = 7, .version_max = 9},
             FailureClass::kIncompatible,
             fmt::format("speaks versions 7 to 9 of the protocol, this program version {}",
                         kProtocolVersion)},
        Case{{.reason = RefusalReason::kKind}, FailureClass::kFailed, "kind of connection"},
        Case{{.reason = RefusalReason::kBusy}, FailureClass::kNetwork, "as many connections"}}) {
    RunningSender sender(options());
    HandConnection peer = listener_.accept();
    peer.receive_raw_exactly(kPreambleBytes);
    peer.send_raw(encode(one.refusal));
    EXPECT_TRUE(failed_as(sender.result(), one.failure_class, one.text));
  }
}

TEST_F(UnprovenReceiver, Garbage) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int i = 0; i < 20; ++i) {
    auto bytes = random_content(1 + random() % 100'000, random);
    if (i % 2 == 0) bytes[0] = std::byte{22};  // a TLS record, it seems
    RunningSender sender(options());
    HandConnection peer = listener_.accept();
    peer.receive_raw_exactly(kPreambleBytes);
    peer.send_raw(bytes);
    peer.end_writing();
    EXPECT_TRUE(failed_as(sender.result(), FailureClass::kNetwork));
  }
}

TEST_F(UnprovenReceiver, AnotherServiceIsCalledByItsName) {
  RunningSender sender(options());
  HandConnection peer = listener_.accept();
  peer.send_raw("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n");
  peer.end_writing();
  EXPECT_TRUE(failed_as(sender.result(), FailureClass::kNetwork, "is not vhdx-migrate"));
}

TEST_F(UnprovenReceiver, SilenceWhereverItStops) {
  for (const std::size_t said : std::initializer_list<std::size_t>{0, 1, 100}) {
    SenderOptions impatient = options();
    impatient.timeouts.handshake = 300ms;
    RunningSender sender(impatient);
    HandConnection peer = listener_.accept();
    const auto preamble = peer.receive_raw_exactly(kPreambleBytes);
    TlsEngine engine(TlsEngine::Role::kServer, key_, preamble);
    engine.feed(peer.receive_raw());
    EXPECT_FALSE(engine.handshake().has_error());
    peer.send_raw(engine.pending().first(std::min(said, engine.pending().size())));
    EXPECT_TRUE(failed_as(sender.result(), FailureClass::kNetwork, "silent"));
  }
}

TEST_F(UnprovenReceiver, NobodyThere) {
  std::optional<HandListener> gone(std::in_place);
  SenderOptions options = sender_options(disk_, gone->port());
  gone.reset();
  EXPECT_TRUE(failed_as(send(options), FailureClass::kNetwork, "Nothing listens"));
}

}  // namespace
}  // namespace vhdxm::transfer
