#include "transfer/tls_engine.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/ssl.h>
#include <openssl/tls1.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "transfer/byte_queue.h"
#include "transfer/errc.h"

namespace vhdxm::transfer {
namespace {

constexpr std::string_view kPskLabel = "vhdx-migrate 1 psk";
/// What the ClientHello shows to anyone: it says nothing but which protocol this is.
constexpr std::string_view kPskIdentity = "vhdx-migrate/1";
/// One cipher suite: both sides must derive the key for its hash before either can speak.
constexpr std::array<unsigned char, 2> kCipherSuiteId = {0x13, 0x01};
constexpr const char* kCipherSuite = "TLS_AES_128_GCM_SHA256";
constexpr const char* kGroups = "X25519:P-256";
constexpr std::size_t kPskBytes = 32;

/// The longest that either side may say before it is authenticated. Bytes.
constexpr std::uint64_t kHandshakeBytesMax = 64 * 1024;
/// The longest first handshake message of a peer; OpenSSL sets a buffer of the announced length
/// aside (up to 128 KiB) before a byte of it has come. Ours have some 350 bytes.
constexpr std::size_t kFirstMessageBytesMax = 8 * 1024;
/// The key for sending is changed after this many bytes: AES-GCM is good for 2^24.5 records
/// (380 GiB) under one key. Spec: RFC 8446 5.5.
constexpr std::uint64_t kKeyUpdateBytes = std::uint64_t{64} << 30;

constexpr std::size_t kPlainRecordBytes = 16 * 1024;
/// Header, content type and tag of a record.
constexpr std::size_t kRecordOverheadBytes = 5 + 1 + 16;

template <auto function>
struct Deleter {
  template <class T>
  void operator()(T* pointer) const {
    function(pointer);
  }
};
template <class T, auto function>
using Owned = std::unique_ptr<T, Deleter<function>>;

using PskBytes = std::array<unsigned char, kPskBytes>;

/// HKDF-SHA256 of the pairing key; the context in `info` makes a key of its own for each use.
PskBytes derive_psk(const PairingKey& key, std::span<const std::byte> context) {
  std::vector<unsigned char> info(kPskLabel.begin(), kPskLabel.end());
  info.push_back(0);  // No label is the beginning of another.
  for (const std::byte byte : context) info.push_back(std::to_integer<unsigned char>(byte));

  const Owned<EVP_KDF, EVP_KDF_free> kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  VHDXM_CHECK(kdf != nullptr);
  const Owned<EVP_KDF_CTX, EVP_KDF_CTX_free> context_of_kdf(EVP_KDF_CTX_new(kdf.get()));
  VHDXM_CHECK(context_of_kdf != nullptr);
  auto secret = key.bytes();
  std::array<char, 7> digest = {'S', 'H', 'A', '2', '5', '6', '\0'};
  const std::array<OSSL_PARAM, 4> params = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.data(), 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret.data(), secret.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.data(), info.size()),
      OSSL_PARAM_construct_end()};
  PskBytes psk{};
  const int derived = EVP_KDF_derive(context_of_kdf.get(), psk.data(), psk.size(), params.data());
  OPENSSL_cleanse(secret.data(), secret.size());
  VHDXM_CHECK(derived == 1);
  return psk;
}

/// OpenSSL's own text for the error, which stands in static storage.
const char* reason_text(unsigned long code) {
  const char* text = ERR_reason_error_string(code);
  return text != nullptr ? text : "TLS error without a reason";
}

Error authentication_error(const char* where) {
  return Error{.code = Errc::kAuthentication, .where = where};
}

Error foreign_error(const char* where) {
  return Error{.code = Errc::kNotOurProtocol, .where = where};
}

constexpr const char* kOtherKey = "the peer has another pairing key";
constexpr const char* kNoKey = "the peer has no pairing key";
constexpr const char* kCertificate = "the peer showed a certificate instead of the pairing key";

/// What a failed handshake means to the people at both ends.
Error handshake_error(unsigned long code) {
  if (ERR_GET_LIB(code) != ERR_LIB_SSL) return authentication_error(reason_text(code));
  switch (ERR_GET_REASON(code)) {
    case SSL_R_BINDER_DOES_NOT_VERIFY:
    case SSL_R_DIGEST_CHECK_FAILED:
    // What a server of ours sends when the binder does not verify.
    case SSL_AD_REASON_OFFSET + SSL_AD_ILLEGAL_PARAMETER:
    case SSL_AD_REASON_OFFSET + SSL_AD_DECRYPT_ERROR:
    case SSL_AD_REASON_OFFSET + TLS1_AD_UNKNOWN_PSK_IDENTITY:
      return authentication_error(kOtherKey);
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
      return authentication_error(kNoKey);
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
      return authentication_error(kCertificate);
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_UNKNOWN_PROTOCOL:
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_WRONG_SSL_VERSION:
    case SSL_AD_REASON_OFFSET + SSL_AD_PROTOCOL_VERSION:
      return foreign_error("the peer does not speak TLS 1.3");
    default:
      return authentication_error(reason_text(code));
  }
}

/// What a failed read after the handshake means.
Error read_error(unsigned long code) {
  const int reason = ERR_GET_REASON(code);
  const bool alert = ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET &&
                     reason <= SSL_AD_REASON_OFFSET + 255;
  if (alert && reason != SSL_AD_REASON_OFFSET + SSL_AD_BAD_RECORD_MAC) {
    return Error{.code = Errc::kPeerFailed, .where = reason_text(code)};
  }
  return Error{.code = Errc::kChecksum, .where = reason_text(code)};
}

/// The error that started it; the queue is empty after.
unsigned long take_first_error() {
  const unsigned long code = ERR_peek_error();
  ERR_clear_error();
  return code;
}

}  // namespace

struct TlsEngine::Impl {
  Impl(Role role, const PairingKey& key, std::span<const std::byte> context);

  static const BIO_METHOD* bio_method();
  static int bio_write(BIO* bio, const char* data, std::size_t length, std::size_t* written);
  static int bio_read(BIO* bio, char* data, std::size_t length, std::size_t* read);
  static long bio_control(BIO* bio, int command, long number, void* pointer);
  static int use_psk(SSL* ssl, const EVP_MD* digest, const unsigned char** identity,
                     std::size_t* identity_bytes, SSL_SESSION** session);
  static int find_psk(SSL* ssl, const unsigned char* identity, std::size_t identity_bytes,
                      SSL_SESSION** session);

  void make_session(const PskBytes& psk);
  Result<bool> first_message_is_tls();
  Result<bool> finish_handshake();

  Role role_;
  bool done_ = false;
  bool looked_at_first_message_ = false;
  bool too_much_ = false;              ///< The peer sent more than a handshake has.
  std::uint64_t handshake_bytes_ = 0;  ///< Fed before the handshake was done.
  std::uint64_t bytes_under_key_ = 0;  ///< Written since the key was last changed.
  ByteQueue in_;
  std::span<const std::byte> lent_;  ///< Comes after in_.
  ByteQueue out_;
  Owned<SSL_CTX, SSL_CTX_free> context_;
  Owned<SSL, SSL_free> ssl_;
  Owned<SSL_SESSION, SSL_SESSION_free> session_;
};

TlsEngine::Impl::Impl(Role role, const PairingKey& key, std::span<const std::byte> context)
    : role_(role), context_(SSL_CTX_new(TLS_method())) {
  VHDXM_CHECK(context_ != nullptr);
  SSL_CTX* const ctx = context_.get();
  VHDXM_CHECK(SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1);
  VHDXM_CHECK(SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1);
  VHDXM_CHECK(SSL_CTX_set_ciphersuites(ctx, kCipherSuite) == 1);
  VHDXM_CHECK(SSL_CTX_set1_groups_list(ctx, kGroups) == 1);
  VHDXM_CHECK(SSL_CTX_set_num_tickets(ctx, 0) == 1);
  SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_clear_options(ctx, SSL_OP_ALLOW_NO_DHE_KEX);
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_max_early_data(ctx, 0);
  SSL_CTX_set_recv_max_early_data(ctx, 0);
  SSL_CTX_set_max_cert_list(ctx, kFirstMessageBytesMax);
  if (role == Role::kClient) {
    // There are no trust anchors: a server that shows a certificate is refused.
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, nullptr);
    SSL_CTX_set_psk_use_session_callback(ctx, &Impl::use_psk);
  } else {
    SSL_CTX_set_psk_find_session_callback(ctx, &Impl::find_psk);
  }

  ssl_.reset(SSL_new(ctx));
  VHDXM_CHECK(ssl_ != nullptr);
  SSL_set_app_data(ssl_.get(), this);
  PskBytes psk = derive_psk(key, context);
  make_session(psk);
  OPENSSL_cleanse(psk.data(), psk.size());

  BIO* const bio = BIO_new(bio_method());
  VHDXM_CHECK(bio != nullptr);
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);
  if (role == Role::kClient) {
    SSL_set_connect_state(ssl_.get());
  } else {
    SSL_set_accept_state(ssl_.get());
  }
  ERR_clear_error();
}

void TlsEngine::Impl::make_session(const PskBytes& psk) {
  session_.reset(SSL_SESSION_new());
  VHDXM_CHECK(session_ != nullptr);
  const SSL_CIPHER* const cipher = SSL_CIPHER_find(ssl_.get(), kCipherSuiteId.data());
  VHDXM_CHECK(cipher != nullptr);
  VHDXM_CHECK(SSL_SESSION_set1_master_key(session_.get(), psk.data(), psk.size()) == 1);
  VHDXM_CHECK(SSL_SESSION_set_cipher(session_.get(), cipher) == 1);
  VHDXM_CHECK(SSL_SESSION_set_protocol_version(session_.get(), TLS1_3_VERSION) == 1);
}

const BIO_METHOD* TlsEngine::Impl::bio_method() {
  // Never changed after it is made, so that all engines of the process share it.
  static const Owned<BIO_METHOD, BIO_meth_free> method = [] {
    Owned<BIO_METHOD, BIO_meth_free> made(
        BIO_meth_new(BIO_TYPE_SOURCE_SINK | 0x7f, "vhdx-migrate buffers"));
    VHDXM_CHECK(made != nullptr);
    VHDXM_CHECK(BIO_meth_set_write_ex(made.get(), &Impl::bio_write) == 1);
    VHDXM_CHECK(BIO_meth_set_read_ex(made.get(), &Impl::bio_read) == 1);
    VHDXM_CHECK(BIO_meth_set_ctrl(made.get(), &Impl::bio_control) == 1);
    return made;
  }();
  return method.get();
}

int TlsEngine::Impl::bio_write(BIO* bio, const char* data, std::size_t length,
                               std::size_t* written) {
  auto* const impl = static_cast<Impl*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  impl->out_.append(std::as_bytes(std::span(data, length)));
  *written = length;
  return 1;
}

int TlsEngine::Impl::bio_read(BIO* bio, char* data, std::size_t length, std::size_t* read) {
  auto* const impl = static_cast<Impl*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  const bool queued = !impl->in_.empty();
  const std::span<const std::byte> bytes = queued ? impl->in_.bytes() : impl->lent_;
  if (bytes.empty()) {
    BIO_set_retry_read(bio);
    *read = 0;
    return 0;
  }
  *read = std::min(length, bytes.size());
  std::copy_n(bytes.begin(), *read, std::as_writable_bytes(std::span(data, *read)).begin());
  if (queued) {
    impl->in_.consume(*read);
  } else {
    impl->lent_ = impl->lent_.subspan(*read);
  }
  return 1;
}

long TlsEngine::Impl::bio_control(BIO* bio, int command, long, void*) {
  const auto* const impl = static_cast<const Impl*>(BIO_get_data(bio));
  switch (command) {
    case BIO_CTRL_FLUSH:
      return 1;
    case BIO_CTRL_PENDING:
      return static_cast<long>(impl->in_.size() + impl->lent_.size());
    default:
      return 0;
  }
}

int TlsEngine::Impl::use_psk(SSL* ssl, const EVP_MD* digest, const unsigned char** identity,
                             std::size_t* identity_bytes, SSL_SESSION** session) {
  const auto* const impl = static_cast<const Impl*>(SSL_get_app_data(ssl));
  *session = nullptr;
  *identity = nullptr;
  *identity_bytes = 0;
  // After a HelloRetryRequest the hash is fixed; a server that chose another one gets no key.
  if (digest != nullptr && EVP_MD_get_type(digest) != NID_sha256) return 1;
  VHDXM_CHECK(SSL_SESSION_up_ref(impl->session_.get()) == 1);
  *session = impl->session_.get();
  *identity = reinterpret_cast<const unsigned char*>(kPskIdentity.data());
  *identity_bytes = kPskIdentity.size();
  return 1;
}

int TlsEngine::Impl::find_psk(SSL* ssl, const unsigned char* identity, std::size_t identity_bytes,
                              SSL_SESSION** session) {
  const auto* const impl = static_cast<const Impl*>(SSL_get_app_data(ssl));
  *session = nullptr;
  const std::string_view asked(reinterpret_cast<const char*>(identity), identity_bytes);
  if (asked != kPskIdentity) return 1;  // No key, no certificate: the handshake fails.
  VHDXM_CHECK(SSL_SESSION_up_ref(impl->session_.get()) == 1);
  *session = impl->session_.get();
  return 1;
}

/// Holds the peer's first bytes against what a handshake begins with, before OpenSSL sets memory
/// aside by a length in them. False: more bytes are needed first.
Result<bool> TlsEngine::Impl::first_message_is_tls() {
  constexpr unsigned kAlertRecord = 0x15;
  constexpr unsigned kHandshakeRecord = 0x16;
  constexpr unsigned kClientHello = 1;
  constexpr unsigned kServerHello = 2;
  constexpr std::size_t kRecordHeaderBytes = 5;
  constexpr std::size_t kMessageHeaderBytesOfTls = 4;
  const std::span<const std::byte> bytes = in_.bytes();
  const auto at = [&bytes](std::size_t i) { return std::to_integer<unsigned>(bytes[i]); };

  if (bytes.empty()) return false;
  const bool alert = role_ == Role::kClient && at(0) == kAlertRecord;
  if (!alert && at(0) != kHandshakeRecord) return foreign_error("not TLS");
  if (bytes.size() < 2) return false;
  if (at(1) != 3) return foreign_error("not TLS");
  if (bytes.size() < kRecordHeaderBytes) return false;
  if (alert) return true;
  const std::size_t record_bytes = at(3) << 8 | at(4);
  if (record_bytes < kMessageHeaderBytesOfTls) return foreign_error("not a TLS handshake");
  if (bytes.size() < kRecordHeaderBytes + kMessageHeaderBytesOfTls) return false;
  const unsigned hello = role_ == Role::kServer ? kClientHello : kServerHello;
  if (at(5) != hello) return foreign_error("not a TLS handshake");
  const std::size_t message_bytes = at(6) << 16 | at(7) << 8 | at(8);
  if (message_bytes > kFirstMessageBytesMax) {
    return Error{.code = Errc::kTooLarge,
                 .where = "TLS hello",
                 .found = message_bytes,
                 .expected = kFirstMessageBytesMax};
  }
  return true;
}

Result<bool> TlsEngine::Impl::finish_handshake() {
  // Both sides insist: without the key selected, nothing was proved.
  if (SSL_session_reused(ssl_.get()) != 1) return authentication_error(kNoKey);
  if (SSL_version(ssl_.get()) != TLS1_3_VERSION) return foreign_error("not TLS 1.3");
  done_ = true;
  return true;
}

TlsEngine::TlsEngine(Role role, const PairingKey& key, std::span<const std::byte> context)
    : impl_(std::make_unique<Impl>(role, key, context)) {}
TlsEngine::~TlsEngine() = default;
TlsEngine::TlsEngine(TlsEngine&&) noexcept = default;
TlsEngine& TlsEngine::operator=(TlsEngine&&) noexcept = default;

void TlsEngine::feed(std::span<const std::byte> ciphertext) {
  if (!impl_->done_) {
    impl_->handshake_bytes_ += ciphertext.size();
    if (impl_->handshake_bytes_ > kHandshakeBytesMax) impl_->too_much_ = true;
    if (impl_->too_much_) return;
  }
  impl_->in_.append(ciphertext);
}

void TlsEngine::lend(std::span<const std::byte> ciphertext) {
  VHDXM_CHECK(impl_->done_ && impl_->in_.empty() && impl_->lent_.empty());
  impl_->lent_ = ciphertext;
}

void TlsEngine::keep_lent() {
  impl_->in_.append(std::exchange(impl_->lent_, {}));
}

std::span<const std::byte> TlsEngine::pending() const {
  return impl_->out_.bytes();
}

void TlsEngine::consume(std::size_t bytes) {
  VHDXM_CHECK(bytes <= impl_->out_.size());
  impl_->out_.consume(bytes);
}

Result<bool> TlsEngine::handshake() {
  if (impl_->done_) return true;
  if (impl_->too_much_) {
    return Error{.code = Errc::kTooLarge,
                 .where = "TLS handshake",
                 .found = impl_->handshake_bytes_,
                 .expected = kHandshakeBytesMax};
  }
  SSL* const ssl = impl_->ssl_.get();
  // A client speaks first, a server says nothing before the peer's first bytes were looked at.
  if (!impl_->looked_at_first_message_ && (impl_->role_ == Role::kServer || !impl_->in_.empty())) {
    VHDXM_TRY(impl_->looked_at_first_message_, impl_->first_message_is_tls());
    if (!impl_->looked_at_first_message_) return false;
  }
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl);
  if (result == 1) return impl_->finish_handshake();
  const int kind = SSL_get_error(ssl, result);
  if (kind == SSL_ERROR_WANT_READ) {
    ERR_clear_error();
    return false;
  }
  return handshake_error(take_first_error());
}

Result<void> TlsEngine::write(std::span<const std::byte> plain) {
  VHDXM_CHECK(impl_->done_);
  if (plain.empty()) return {};
  SSL* const ssl = impl_->ssl_.get();
  ERR_clear_error();
  if (impl_->bytes_under_key_ >= kKeyUpdateBytes) update_key();
  impl_->out_.reserve(wire_bytes(plain.size()));
  std::size_t written = 0;
  if (SSL_write_ex(ssl, plain.data(), plain.size(), &written) != 1) {
    return Error{.code = Errc::kProtocol, .where = reason_text(take_first_error())};
  }
  VHDXM_CHECK(written == plain.size());
  impl_->bytes_under_key_ += plain.size();
  return {};
}

std::size_t TlsEngine::wire_bytes(std::size_t plain_bytes) {
  const std::size_t records = (plain_bytes + kPlainRecordBytes - 1) / kPlainRecordBytes;
  return plain_bytes + records * kRecordOverheadBytes;
}

Result<std::size_t> TlsEngine::read(std::span<std::byte> out) {
  VHDXM_CHECK(impl_->done_);
  SSL* const ssl = impl_->ssl_.get();
  std::size_t done = 0;
  while (done < out.size()) {
    std::size_t got = 0;
    ERR_clear_error();
    const int result = SSL_read_ex(ssl, out.data() + done, out.size() - done, &got);
    done += got;
    if (result == 1) continue;
    const int kind = SSL_get_error(ssl, result);
    if (kind == SSL_ERROR_WANT_READ) {
      ERR_clear_error();
      break;
    }
    if (done > 0) break;  // What was read is good; OpenSSL says the same at the next call.
    if (kind == SSL_ERROR_ZERO_RETURN) {
      return Error{.code = Errc::kPeerClosed, .where = "end of the TLS stream"};
    }
    return read_error(take_first_error());
  }
  return done;
}

void TlsEngine::update_key() {
  VHDXM_CHECK(impl_->done_);
  VHDXM_CHECK(SSL_key_update(impl_->ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED) == 1);
  impl_->bytes_under_key_ = 0;
}

void TlsEngine::close() {
  ERR_clear_error();
  if (impl_->done_) SSL_shutdown(impl_->ssl_.get());
  ERR_clear_error();
}

const char* TlsEngine::cipher() const {
  return SSL_get_cipher_name(impl_->ssl_.get());
}

}  // namespace vhdxm::transfer
