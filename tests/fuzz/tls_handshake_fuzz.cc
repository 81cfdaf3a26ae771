// Before authentication: bytes of a stranger, or a good handshake with some of them changed.
//
// Input: u8 mode. 0 and 1: the rest is fed to a server or client in pieces whose length the next
// byte gives. 2: the rest are changes {u16 offset, u8 xor} of what an honest client says.
// Oracle: no stranger gets through, no changed handshake completes, and memory stays bounded.
#include <malloc.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "base/check.h"
#include "transfer/tls_engine.h"

namespace {

using namespace vhdxm;
using namespace vhdxm::transfer;

/// What OpenSSL may set aside beyond an idle engine while it listens to a stranger. Bytes.
constexpr std::size_t kGrowthMax = 256 * 1024;

std::atomic<std::size_t> openssl_bytes{0};
std::atomic<std::size_t> openssl_peak{0};

void* count(void* pointer) {
  if (pointer == nullptr) return nullptr;
  const std::size_t now = openssl_bytes += ::malloc_usable_size(pointer);
  if (now > openssl_peak) openssl_peak = now;
  return pointer;
}
void* counting_malloc(std::size_t size, const char*, int) {
  return count(std::malloc(size));
}
void counting_free(void* pointer, const char*, int) {
  openssl_bytes -= ::malloc_usable_size(pointer);
  std::free(pointer);
}
void* counting_realloc(void* pointer, std::size_t size, const char*, int) {
  openssl_bytes -= ::malloc_usable_size(pointer);
  return count(std::realloc(pointer, size));
}

// Before OpenSSL allocates for the first time.
const int counts = CRYPTO_set_mem_functions(counting_malloc, counting_realloc, counting_free);

constexpr std::array<std::byte, 3> kContext = {std::byte{'j'}, std::byte{'o'}, std::byte{'b'}};

PairingKey fixed_key() {
  Result<PairingKey> key =
      PairingKey::parse("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
  VHDXM_CHECK(key.has_value());
  return *key;
}

std::size_t drain(TlsEngine& engine) {
  const std::size_t said = engine.pending().size();
  engine.consume(said);
  return said;
}

void stranger(TlsEngine::Role role, std::span<const std::byte> input) {
  if (input.empty()) return;
  const std::size_t piece = std::size_t{1} + std::to_integer<std::size_t>(input[0]) * 16;
  const std::span<const std::byte> wire = input.subspan(1);
  TlsEngine engine(role, fixed_key(), kContext);
  static_cast<void>(engine.handshake().has_value());
  drain(engine);
  openssl_peak = openssl_bytes.load();
  const std::size_t before = openssl_bytes;
  for (std::size_t at = 0; at < wire.size(); at += piece) {
    engine.feed(wire.subspan(at, std::min(piece, wire.size() - at)));
    const Result<bool> result = engine.handshake();
    drain(engine);
    if (result.has_error()) break;
    VHDXM_CHECK(!*result);
  }
  engine.close();
  VHDXM_CHECK(openssl_peak - before <= kGrowthMax);
}

void changed_handshake(std::span<const std::byte> changes) {
  constexpr std::size_t kRecordHeaderBytes = 5;
  const PairingKey key = fixed_key();
  TlsEngine client(TlsEngine::Role::kClient, key, kContext);
  TlsEngine server(TlsEngine::Role::kServer, key, kContext);
  VHDXM_CHECK(client.handshake().has_value());
  std::vector<std::byte> hello(client.pending().begin(), client.pending().end());
  client.consume(hello.size());
  const std::vector<std::byte> said = hello;
  for (; changes.size() >= 3; changes = changes.subspan(3)) {
    const std::size_t at =
        std::to_integer<std::size_t>(changes[0]) | std::to_integer<std::size_t>(changes[1]) << 8;
    hello[at % hello.size()] ^= changes[2];
  }
  // The record header is not part of what the two sides sign.
  const bool changed = !std::equal(hello.begin() + kRecordHeaderBytes, hello.end(),
                                   said.begin() + kRecordHeaderBytes);
  server.feed(hello);
  bool server_done = false;
  bool client_done = false;
  for (int round = 0; round < 3; ++round) {
    const Result<bool> at_server = server.handshake();
    server_done = at_server.has_value() && *at_server;
    client.feed(server.pending());
    drain(server);
    const Result<bool> at_client = client.handshake();
    client_done = at_client.has_value() && *at_client;
    server.feed(client.pending());
    drain(client);
    if (at_server.has_error() || at_client.has_error()) break;
  }
  VHDXM_CHECK(!changed || (!server_done && !client_done));
  VHDXM_CHECK(hello != said || (server_done && client_done));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  VHDXM_CHECK(counts == 1);
  if (size < 1) return 0;
  const std::span<const std::byte> rest = std::as_bytes(std::span(data, size)).subspan(1);
  switch (data[0] % 3) {
    case 0:
      stranger(TlsEngine::Role::kServer, rest);
      break;
    case 1:
      stranger(TlsEngine::Role::kClient, rest);
      break;
    default:
      changed_handshake(rest);
  }
  return 0;
}
