// A TLS peer made with OpenSSL alone, over memory: it has no pairing key, and as a server it shows
// a certificate that nobody vouches for, as a man in the middle does.
#pragma once

#include <openssl/ssl.h>

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace vhdxm::test {

class Stranger {
 public:
  enum class Role { kClient, kServer };
  explicit Stranger(Role role, int version_max = TLS1_3_VERSION);

  /// Goes on with the handshake. Whether it is done, as OpenSSL sees it.
  bool handshake() { return SSL_do_handshake(ssl_.get()) == 1; }
  /// What it has to say.
  std::vector<std::byte> take();
  void feed(std::span<const std::byte> bytes);

 private:
  void show_certificate();

  struct FreeContext {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  };
  struct FreeSsl {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  std::unique_ptr<SSL_CTX, FreeContext> context_;
  std::unique_ptr<SSL, FreeSsl> ssl_;
  BIO* in_ = nullptr;   ///< Owned by ssl_.
  BIO* out_ = nullptr;  ///< Owned by ssl_.
};

}  // namespace vhdxm::test
