#include "tests/support/stranger.h"

#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <string_view>

namespace vhdxm::test {
namespace {

template <auto function>
struct Free {
  template <class T>
  void operator()(T* pointer) const {
    function(pointer);
  }
};

}  // namespace

Stranger::Stranger(Role role, int version_max) : context_(SSL_CTX_new(TLS_method())) {
  SSL_CTX_set_max_proto_version(context_.get(), version_max);
  if (role == Role::kServer) show_certificate();
  ssl_.reset(SSL_new(context_.get()));
  in_ = BIO_new(BIO_s_mem());
  out_ = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl_.get(), in_, out_);
  if (role == Role::kServer) {
    SSL_set_accept_state(ssl_.get());
  } else {
    SSL_set_connect_state(ssl_.get());
  }
}

std::vector<std::byte> Stranger::take() {
  std::vector<std::byte> wire(static_cast<std::size_t>(BIO_pending(out_)));
  if (!wire.empty()) BIO_read(out_, wire.data(), static_cast<int>(wire.size()));
  return wire;
}

void Stranger::feed(std::span<const std::byte> bytes) {
  BIO_write(in_, bytes.data(), static_cast<int>(bytes.size()));
}

void Stranger::show_certificate() {
  const std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>> key(EVP_EC_gen("P-256"));
  const std::unique_ptr<X509, Free<X509_free>> certificate(X509_new());
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME* const name = X509_get_subject_name(certificate.get());
  const std::string_view text = "vhdx-migrate";
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(text.data()),
                             static_cast<int>(text.size()), -1, 0);
  X509_set_issuer_name(certificate.get(), name);
  X509_sign(certificate.get(), key.get(), EVP_sha256());
  ASSERT_EQ(SSL_CTX_use_certificate(context_.get(), certificate.get()), 1);
  ASSERT_EQ(SSL_CTX_use_PrivateKey(context_.get(), key.get()), 1);
}

}  // namespace vhdxm::test
