#include "transfer/tls_engine.h"

#include <gtest/gtest.h>
#include <openssl/err.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash128.h"
#include "tests/support/stranger.h"
#include "transfer/byte_queue.h"
#include "transfer/errc.h"

namespace vhdxm::transfer {
namespace {

using Role = TlsEngine::Role;
using test::Stranger;

constexpr std::size_t kWhole = std::numeric_limits<std::size_t>::max();

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::vector<std::byte> noise(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

/// Moves all that `from` has to say to `to`, in pieces of `piece` bytes.
std::size_t carry(TlsEngine& from, TlsEngine& to, std::size_t piece = kWhole) {
  std::size_t carried = 0;
  while (!from.pending().empty()) {
    const std::size_t count = std::min(piece, from.pending().size());
    to.feed(from.pending().first(count));
    from.consume(count);
    carried += count;
  }
  return carried;
}

/// A client and a server and what became of their handshake.
struct Pair {
  Pair(const PairingKey& client_key, const PairingKey& server_key,
       std::string_view client_context = "job 1", std::string_view server_context = "job 1")
      : client(Role::kClient, client_key, as_bytes(client_context)),
        server(Role::kServer, server_key, as_bytes(server_context)) {}

  /// Runs both sides until neither has anything to say.
  void run(std::size_t piece = kWhole) {
    for (int round = 0; round < 10; ++round) {
      step(client, client_done, client_error);
      carry(client, server, piece);
      step(server, server_done, server_error);
      if (carry(server, client, piece) == 0 && round > 2) break;
    }
  }
  static void step(TlsEngine& engine, bool& done, std::optional<Error>& error) {
    if (error) return;
    const Result<bool> result = engine.handshake();
    if (result.has_error()) {
      error = result.error();
    } else {
      done = *result;
    }
  }
  bool both_done() const { return client_done && server_done; }

  TlsEngine client;
  TlsEngine server;
  bool client_done = false;
  bool server_done = false;
  std::optional<Error> client_error;
  std::optional<Error> server_error;
};

Pair connected() {
  const PairingKey key = PairingKey::generate();
  Pair pair(key, key);
  pair.run();
  EXPECT_TRUE(pair.both_done());
  return pair;
}

/// Reads until the engine wants more ciphertext.
std::vector<std::byte> drain(TlsEngine& engine, std::size_t step_bytes = 100'000) {
  std::vector<std::byte> all;
  std::vector<std::byte> step(step_bytes);
  while (true) {
    const Result<std::size_t> got = engine.read(step);
    EXPECT_TRUE(got.has_value()) << describe(got.error());
    if (got.has_error() || *got == 0) return all;
    all.insert(all.end(), step.begin(), step.begin() + static_cast<std::ptrdiff_t>(*got));
  }
}

TEST(TlsEngine, SameKeyAndContextConnect) {
  Pair pair = connected();
  EXPECT_STREQ(pair.client.cipher(), "TLS_AES_128_GCM_SHA256");
  EXPECT_STREQ(pair.server.cipher(), "TLS_AES_128_GCM_SHA256");
}

TEST(TlsEngine, HandshakeWorksByteByByte) {
  const PairingKey key = PairingKey::generate();
  Pair pair(key, key);
  for (int i = 0; i < 2000 && !pair.both_done(); ++i) {
    Pair::step(pair.client, pair.client_done, pair.client_error);
    if (!pair.client.pending().empty()) {
      pair.server.feed(pair.client.pending().first(1));
      pair.client.consume(1);
    }
    Pair::step(pair.server, pair.server_done, pair.server_error);
    if (!pair.server.pending().empty()) {
      pair.client.feed(pair.server.pending().first(1));
      pair.server.consume(1);
    }
    ASSERT_FALSE(pair.client_error) << describe(*pair.client_error);
    ASSERT_FALSE(pair.server_error) << describe(*pair.server_error);
  }
  EXPECT_TRUE(pair.both_done());
}

TEST(TlsEngine, WhatIsLentReadsLikeWhatIsFed) {
  Pair pair = connected();
  std::vector<std::byte> plain(300'000);
  for (std::size_t i = 0; i < plain.size(); ++i) plain[i] = static_cast<std::byte>(i * 7 >> 3);
  ASSERT_TRUE(pair.client.write(plain));
  std::vector<std::byte> wire(pair.client.pending().begin(), pair.client.pending().end());
  std::vector<std::byte> got;
  std::vector<std::byte> step(10'000);
  for (std::size_t at = 0; at < wire.size();) {
    // The piece's memory is used again for the next, as a socket's buffer is.
    std::vector<std::byte> piece(
        wire.begin() + static_cast<std::ptrdiff_t>(at),
        wire.begin() + static_cast<std::ptrdiff_t>(std::min(at + 70'001, wire.size())));
    at += piece.size();
    pair.server.lend(piece);
    for (bool first = true;; first = false) {
      const Result<std::size_t> count = pair.server.read(step);
      ASSERT_TRUE(count.has_value()) << describe(count.error());
      got.insert(got.end(), step.begin(), step.begin() + static_cast<std::ptrdiff_t>(*count));
      if (*count == 0) break;
      // Once, in the middle: the lender wants its memory back.
      if (first) {
        pair.server.keep_lent();
        std::fill(piece.begin(), piece.end(), std::byte{0xee});
      }
    }
  }
  EXPECT_TRUE(got == plain);
}

TEST(TlsEngine, OtherKeyIsRefusedByBothSides) {
  Pair pair(PairingKey::generate(), PairingKey::generate());
  pair.run();
  EXPECT_FALSE(pair.client_done);
  EXPECT_FALSE(pair.server_done);
  ASSERT_TRUE(pair.server_error);
  EXPECT_EQ(pair.server_error->code, Errc::kAuthentication) << describe(*pair.server_error);
  EXPECT_STREQ(pair.server_error->where, "the peer has another pairing key");
  ASSERT_TRUE(pair.client_error) << "the alert must reach the client";
  EXPECT_EQ(pair.client_error->code, Errc::kAuthentication) << describe(*pair.client_error);
  EXPECT_STREQ(pair.client_error->where, "the peer has another pairing key");
}

TEST(TlsEngine, SameKeyForAnotherContextIsRefused) {
  const PairingKey key = PairingKey::generate();
  Pair pair(key, key, "job 1", "job 2");
  pair.run();
  EXPECT_FALSE(pair.client_done);
  EXPECT_FALSE(pair.server_done);
  ASSERT_TRUE(pair.server_error);
  EXPECT_EQ(pair.server_error->code, Errc::kAuthentication) << describe(*pair.server_error);
  ASSERT_TRUE(pair.client_error);
  EXPECT_EQ(pair.client_error->code, Errc::kAuthentication) << describe(*pair.client_error);
}

TEST(TlsEngine, DataThatComesWithTheEndOfTheHandshakeIsKept) {
  const PairingKey key = PairingKey::generate();
  Pair pair(key, key);
  ASSERT_TRUE(pair.client.handshake());
  carry(pair.client, pair.server);
  ASSERT_TRUE(pair.server.handshake());
  carry(pair.server, pair.client);
  ASSERT_TRUE(*pair.client.handshake());
  ASSERT_TRUE(pair.client.write(as_bytes("first words")));
  carry(pair.client, pair.server);  // both in one feed
  ASSERT_TRUE(*pair.server.handshake());
  EXPECT_EQ(drain(pair.server).size(), 11u);
}

TEST(TlsEngine, DataTravelsBothWaysAtOnce) {
  Pair pair = connected();
  const auto there = noise(300'000, 1);
  const auto back = noise(200'000, 2);
  ASSERT_TRUE(pair.client.write(there));
  ASSERT_TRUE(pair.server.write(back));
  carry(pair.client, pair.server);
  carry(pair.server, pair.client);
  EXPECT_EQ(drain(pair.server), there);
  EXPECT_EQ(drain(pair.client), back);
}

TEST(TlsEngine, DataSplitAnywhereArrivesWhole) {
  Pair pair = connected();
  const auto sent = noise(40'000, 3);
  ASSERT_TRUE(pair.client.write(sent));
  std::vector<std::byte> got;
  while (!pair.client.pending().empty()) {
    pair.server.feed(pair.client.pending().first(1));
    pair.client.consume(1);
    const auto some = drain(pair.server, 7);
    got.insert(got.end(), some.begin(), some.end());
  }
  EXPECT_EQ(got, sent);
}

TEST(TlsEngine, OneMebibyteIsSixtyFourRecordsInOnePiece) {
  Pair pair = connected();
  ASSERT_TRUE(pair.client.write(noise(1 << 20, 4)));
  std::span<const std::byte> wire = pair.client.pending();
  std::size_t records = 0;
  while (wire.size() >= 5) {
    EXPECT_EQ(std::to_integer<unsigned>(wire[0]), 0x17u);
    const std::size_t length =
        std::to_integer<std::size_t>(wire[3]) << 8 | std::to_integer<std::size_t>(wire[4]);
    ASSERT_GE(wire.size(), 5 + length);
    wire = wire.subspan(5 + length);
    ++records;
  }
  EXPECT_TRUE(wire.empty());
  EXPECT_EQ(records, 64u);
}

TEST(TlsEngine, ReadFillsTheCallersBufferAcrossRecords) {
  Pair pair = connected();
  const auto sent = noise(100'000, 5);
  ASSERT_TRUE(pair.client.write(sent));
  carry(pair.client, pair.server);
  std::vector<std::byte> out(90'000);
  const Result<std::size_t> got = pair.server.read(out);
  ASSERT_TRUE(got);
  EXPECT_EQ(*got, out.size());
  EXPECT_TRUE(std::equal(out.begin(), out.end(), sent.begin()));
}

TEST(TlsEngine, CloseIsToldApartFromSilence) {
  Pair pair = connected();
  std::vector<std::byte> out(10);
  ASSERT_TRUE(pair.client.write(as_bytes("last")));
  pair.client.close();
  carry(pair.client, pair.server);
  Result<std::size_t> got = pair.server.read(out);
  ASSERT_TRUE(got);
  EXPECT_EQ(*got, 4u);
  got = pair.server.read(out);
  ASSERT_TRUE(got.has_error());
  EXPECT_EQ(got.error().code, Errc::kPeerClosed);
}

TEST(TlsEngine, CutStreamIsNoEnd) {
  Pair pair = connected();
  ASSERT_TRUE(pair.client.write(noise(1000, 6)));
  pair.server.feed(pair.client.pending().first(500));
  std::vector<std::byte> out(1000);
  const Result<std::size_t> got = pair.server.read(out);
  ASSERT_TRUE(got);
  EXPECT_EQ(*got, 0u) << "half a record is nothing yet, and no end of the stream";
}

TEST(TlsEngine, EveryFlippedBitOfARecordIsFound) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 40; ++round) {
    Pair pair = connected();
    ASSERT_TRUE(pair.client.write(noise(200, seed)));
    std::vector<std::byte> wire(pair.client.pending().begin(), pair.client.pending().end());
    // Not the length: a longer record is only awaited.
    const std::size_t at = 5 + random() % (wire.size() - 5);
    wire[at] ^= static_cast<std::byte>(1u << random() % 8);
    pair.server.feed(wire);
    std::vector<std::byte> out(1000);
    const Result<std::size_t> got = pair.server.read(out);
    ASSERT_TRUE(got.has_error()) << "byte " << at;
    EXPECT_EQ(got.error().code, Errc::kChecksum) << describe(got.error());
    // The other side hears of it.
    carry(pair.server, pair.client);
    const Result<std::size_t> heard = pair.client.read(out);
    ASSERT_TRUE(heard.has_error());
    EXPECT_EQ(heard.error().code, Errc::kChecksum) << describe(heard.error());
  }
}

TEST(TlsEngine, ReplayedRecordIsFound) {
  Pair pair = connected();
  ASSERT_TRUE(pair.client.write(noise(200, 7)));
  const std::vector<std::byte> wire(pair.client.pending().begin(), pair.client.pending().end());
  pair.server.feed(wire);
  pair.server.feed(wire);
  EXPECT_EQ(
      [&] {
        std::vector<std::byte> out(200);
        return *pair.server.read(out);
      }(),
      200u);
  std::vector<std::byte> out(200);
  const Result<std::size_t> again = pair.server.read(out);
  ASSERT_TRUE(again.has_error());
  EXPECT_EQ(again.error().code, Errc::kChecksum);
}

TEST(TlsEngine, ChangedSendingKeyGoesUnnoticed) {
  Pair pair = connected();
  for (int i = 0; i < 5; ++i) {
    const auto sent = noise(50'000, 8);
    pair.client.update_key();
    ASSERT_TRUE(pair.client.write(sent));
    carry(pair.client, pair.server);
    EXPECT_EQ(drain(pair.server), sent);
    ASSERT_TRUE(pair.server.write(as_bytes("yes")));
    carry(pair.server, pair.client);
    EXPECT_EQ(drain(pair.client).size(), 3u);
  }
}

TEST(TlsEngine, MovedEngineGoesOn) {
  Pair pair = connected();
  TlsEngine moved = std::move(pair.client);
  ASSERT_TRUE(moved.write(as_bytes("hello")));
  carry(moved, pair.server);
  EXPECT_EQ(drain(pair.server).size(), 5u);
}

TEST(TlsEngine, ServerRefusesWhatIsNotTls) {
  for (const std::string_view text :
       {"GET / HTTP/1.1\r\nHost: example\r\n\r\n", "SSH-2.0-OpenSSH_9.2p1\r\n", "\n",
        "NBDMAGICIHAVEOPT", "\x16\x04zz", "\x15\x03\x03\x00\x02\x02\x28"}) {
    TlsEngine server(Role::kServer, PairingKey::generate(), as_bytes("job"));
    server.feed(as_bytes(text));
    const Result<bool> result = server.handshake();
    ASSERT_TRUE(result.has_error()) << text;
    EXPECT_EQ(result.error().code, Errc::kNotOurProtocol) << describe(result.error());
    EXPECT_TRUE(server.pending().empty()) << "nothing is said to a stranger";
  }
}

TEST(TlsEngine, ClientRefusesWhatIsNotTls) {
  TlsEngine client(Role::kClient, PairingKey::generate(), as_bytes("job"));
  ASSERT_TRUE(client.handshake());
  client.feed(as_bytes("220 mail.example ESMTP\r\n"));
  const Result<bool> result = client.handshake();
  ASSERT_TRUE(result.has_error());
  EXPECT_EQ(result.error().code, Errc::kNotOurProtocol);
}

TEST(TlsEngine, StrangerCannotMakeItKeepMoreThanAHandshake) {
  TlsEngine server(Role::kServer, PairingKey::generate(), as_bytes("job"));
  const std::vector<std::byte> piece(16 * 1024, std::byte{0x16});
  for (int i = 0; i < 1000; ++i) server.feed(piece);
  const Result<bool> result = server.handshake();
  ASSERT_TRUE(result.has_error());
  EXPECT_EQ(result.error().code, Errc::kTooLarge) << describe(result.error());
}

TEST(TlsEngine, LengthOfAHelloIsNotBelieved) {
  TlsEngine server(Role::kServer, PairingKey::generate(), as_bytes("job"));
  // A ClientHello that announces 128 KiB.
  constexpr std::array<unsigned char, 9> kHello = {0x16, 3, 1, 0x40, 0, 1, 2, 0, 0};
  server.feed(std::as_bytes(std::span(kHello)));
  const Result<bool> result = server.handshake();
  ASSERT_TRUE(result.has_error());
  EXPECT_EQ(result.error().code, Errc::kTooLarge) << describe(result.error());
}

/// Runs both until one of them ends; what the engine said.
Result<bool> run_against(Stranger& stranger, TlsEngine& engine) {
  Result<bool> result = false;
  for (int round = 0; round < 10; ++round) {
    stranger.handshake();
    engine.feed(stranger.take());
    result = engine.handshake();
    stranger.feed(engine.pending());
    engine.consume(engine.pending().size());
    if (result.has_error() || *result) break;
  }
  return result;
}

TEST(TlsEngine, ClientRefusesAServerWithACertificateInsteadOfTheKey) {
  Stranger server(Stranger::Role::kServer);
  TlsEngine client(Role::kClient, PairingKey::generate(), as_bytes("job"));
  const Result<bool> result = run_against(server, client);
  ASSERT_TRUE(result.has_error());
  EXPECT_EQ(result.error().code, Errc::kAuthentication) << describe(result.error());
  EXPECT_STREQ(result.error().where, "the peer showed a certificate instead of the pairing key");
}

TEST(TlsEngine, ServerRefusesAClientWithoutAKey) {
  Stranger client(Stranger::Role::kClient);
  TlsEngine server(Role::kServer, PairingKey::generate(), as_bytes("job"));
  const Result<bool> result = run_against(client, server);
  ASSERT_TRUE(result.has_error());
  EXPECT_EQ(result.error().code, Errc::kAuthentication) << describe(result.error());
  EXPECT_STREQ(result.error().where, "the peer has no pairing key");
  EXPECT_FALSE(client.handshake());
}

TEST(TlsEngine, ServerRefusesTls12) {
  Stranger client(Stranger::Role::kClient, TLS1_2_VERSION);
  TlsEngine server(Role::kServer, PairingKey::generate(), as_bytes("job"));
  const Result<bool> result = run_against(client, server);
  ASSERT_TRUE(result.has_error());
  EXPECT_EQ(result.error().code, Errc::kNotOurProtocol) << describe(result.error());
}

TEST(TlsEngine, ClientRefusesTls12) {
  Stranger server(Stranger::Role::kServer, TLS1_2_VERSION);
  TlsEngine client(Role::kClient, PairingKey::generate(), as_bytes("job"));
  const Result<bool> result = run_against(server, client);
  ASSERT_TRUE(result.has_error());
  EXPECT_EQ(result.error().code, Errc::kNotOurProtocol) << describe(result.error());
}

TEST(TlsEngine, FailureLeavesNothingInTheErrorQueue) {
  Pair pair(PairingKey::generate(), PairingKey::generate());
  pair.run();
  EXPECT_EQ(ERR_peek_error(), 0u);
}

TEST(ByteQueue, ConsumingInSmallPiecesKeepsTheRest) {
  ByteQueue queue;
  const auto all = noise(10'000, 9);
  std::size_t in = 0;
  std::size_t out = 0;
  while (out < all.size()) {
    const std::size_t give = std::min<std::size_t>(all.size() - in, 37);
    queue.append(std::span(all).subspan(in, give));
    in += give;
    const std::size_t take = std::min<std::size_t>(queue.size(), 23);
    ASSERT_TRUE(std::equal(queue.bytes().begin(),
                           queue.bytes().begin() + static_cast<std::ptrdiff_t>(take),
                           all.begin() + static_cast<std::ptrdiff_t>(out)));
    queue.consume(take);
    out += take;
    ASSERT_EQ(queue.size(), in - out);
  }
}

}  // namespace
}  // namespace vhdxm::transfer
