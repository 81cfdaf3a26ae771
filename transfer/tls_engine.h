// TLS 1.3 with an external pre-shared key, sans I/O: bytes in, bytes out.
//
// OpenSSL is driven through buffers of our own, large enough that one system call moves many
// records. No certificates are offered or accepted; the client aborts unless the key was selected
// (an OpenSSL client otherwise talks happily to anyone with a self-signed certificate), session
// tickets are off, key exchange is always ephemeral (psk_dhe_ke).
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "transfer/pairing_key.h"

namespace vhdxm::transfer {

/// Thread safety: one thread at a time.
class TlsEngine {
 public:
  enum class Role { kClient, kServer };

  /// `context`: bound into the pre-shared key, the same bytes on both sides (the preamble), so that
  /// a connection meant for one job or purpose cannot be passed off as another.
  TlsEngine(Role role, const PairingKey& key, std::span<const std::byte> context);
  ~TlsEngine();
  TlsEngine(TlsEngine&&) noexcept;
  TlsEngine& operator=(TlsEngine&&) noexcept;

  // Ciphertext.
  /// Takes bytes that came from the peer. Before the handshake is done no more than 64 KiB are
  /// taken in all; what is above makes handshake() fail with kTooLarge.
  void feed(std::span<const std::byte> ciphertext);
  /// The same after the handshake without a copy: the bytes stay the caller's, who leaves them
  /// alone until read() asks for more. Requires: read() has asked for more.
  void lend(std::span<const std::byte> ciphertext);
  /// Copies what is left of what was lent: the caller needs its memory.
  void keep_lent();
  /// Bytes for the peer; valid until the next call of a member. consume() what was sent.
  std::span<const std::byte> pending() const;
  void consume(std::size_t bytes);

  // Handshake.
  /// Goes on with what was fed. True when done and the key was proved by both sides.
  /// Errors: Errc::kAuthentication (other key, no key, certificate), kNotOurProtocol (not TLS).
  /// pending() may hold an alert for the peer even after an error.
  Result<bool> handshake();

  // Data, after the handshake.
  /// Encrypts all of `plain` into pending().
  Result<void> write(std::span<const std::byte> plain);
  /// Decrypts into `out`; returns bytes, 0 when more ciphertext is needed first.
  /// Errors: kPeerClosed after the peer's close_notify; kChecksum for a forged or damaged record.
  Result<std::size_t> read(std::span<std::byte> out);
  /// Queues close_notify into pending().
  void close();
  /// Changes the key for sending; write() does it by itself long before a key is worn out.
  void update_key();

  /// The ciphertext that write() makes of so many bytes.
  static std::size_t wire_bytes(std::size_t plain_bytes);

  /// "TLS_AES_128_GCM_SHA256"
  const char* cipher() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vhdxm::transfer
