#include "tests/support/sample_data.h"

#include <dlfcn.h>
#include <openssl/evp.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <span>

#include "base/check.h"

namespace vhdxm::test {
namespace {

using Bytes = std::vector<std::byte>;

void append(Bytes& bytes, const std::string& text) {
  for (const char letter : text) bytes.push_back(static_cast<std::byte>(letter));
}

Bytes random_bytes(std::size_t size, std::mt19937_64& random) {
  Bytes bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

std::string word(std::mt19937_64& random) {
  std::string made(2 + random() % 9, ' ');
  for (auto& letter : made) letter = "etaoinshrdlucmfwypvbgk"[random() % 22];
  return made;
}

Bytes text(std::size_t size, std::mt19937_64& random) {
  std::vector<std::string> words(4000);
  for (auto& one : words) one = word(random);
  Bytes bytes;
  while (bytes.size() < size) {
    // Squared: some words are much more frequent than others.
    const std::size_t pick = random() % words.size() * (random() % words.size()) / words.size();
    append(bytes, words[pick]);
    append(bytes, random() % 12 == 0 ? ".\n" : " ");
  }
  bytes.resize(size);
  return bytes;
}

Bytes mostly_zero(std::size_t size, std::mt19937_64& random) {
  Bytes bytes(size);
  for (std::size_t page = 0; page + 4096 <= size; page += 4096) {
    for (std::size_t i = random() % 4000; i < 4096 && i % 97 != 96; ++i) {
      bytes[page + i] = static_cast<std::byte>(random());
    }
  }
  return bytes;
}

/// Each part of it can be compressed by a quarter.
bool is_code(std::span<const char> bytes) {
  constexpr std::size_t kPart = 4096;
  std::vector<char> packed(ZSTD_compressBound(kPart));
  for (std::size_t at = 0; at + kPart <= bytes.size(); at += kPart) {
    const std::size_t length = ZSTD_compress(packed.data(), packed.size(), &bytes[at], kPart, 3);
    if (ZSTD_isError(length) != 0 || length > kPart / 4 * 3) return false;
  }
  return true;
}

Bytes program(std::size_t size, std::mt19937_64& random) {
  // The library is larger than most programs, so that no extent has anything twice.
  Dl_info library{};
  VHDXM_CHECK(::dladdr(reinterpret_cast<const void*>(&EVP_aes_256_ctr), &library) != 0);
  std::ifstream in(library.dli_fname, std::ios::binary);
  const std::vector<char> all{std::istreambuf_iterator<char>(in), {}};
  VHDXM_CHECK(all.size() > 4096);
  Bytes bytes;
  // It has tables of numbers that are as good as random, too: none of those at the beginning.
  std::size_t at = 0;
  do {
    at = random() % (all.size() / 2);
  } while (
      !is_code(std::span(all).subspan(at).first(std::min<std::size_t>(all.size() / 4, 65536))));
  while (bytes.size() < size) {
    bytes.push_back(static_cast<std::byte>(all[at]));
    at = (at + 1) % all.size();
  }
  return bytes;
}

Bytes database(std::size_t size, std::mt19937_64& random) {
  constexpr std::size_t kPage = 8192;
  Bytes bytes;
  for (std::uint64_t page = 0; bytes.size() < size; ++page) {
    Bytes one(kPage);
    std::memcpy(one.data(), &page, sizeof page);
    std::size_t row = kPage;
    for (std::uint16_t item = 0; item < 60; ++item) {
      row -= 120;
      const auto pointer = static_cast<std::uint16_t>(row);
      std::memcpy(one.data() + 24 + std::size_t{item} * 4, &pointer, sizeof pointer);
      const std::uint64_t key = page * 60 + item;
      std::memcpy(one.data() + row, &key, sizeof key);
      const std::string name = word(random);
      std::memcpy(one.data() + row + 24, name.data(), name.size());
      const Bytes noise = random_bytes(16, random);
      std::memcpy(one.data() + row + 80, noise.data(), noise.size());
    }
    bytes.insert(bytes.end(), one.begin(), one.end());
  }
  bytes.resize(size);
  return bytes;
}

Bytes base64(std::size_t size, std::mt19937_64& random) {
  Bytes bytes(size);
  for (auto& byte : bytes) {
    byte = static_cast<std::byte>(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[random() % 64]);
  }
  return bytes;
}

Bytes repeated_random(std::size_t size, std::mt19937_64& random) {
  const Bytes once = random_bytes(64 << 10, random);
  Bytes bytes;
  while (bytes.size() < size) bytes.insert(bytes.end(), once.begin(), once.end());
  bytes.resize(size);
  return bytes;
}

Bytes encrypted(std::size_t size, std::mt19937_64& random) {
  const Bytes plain = text(size, random);
  const Bytes key = random_bytes(48, random);  // and the counter's first value
  const auto* words = reinterpret_cast<const unsigned char*>(key.data());
  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
  Bytes bytes(size);
  int length = 0;
  VHDXM_CHECK(EVP_EncryptInit_ex(context, EVP_aes_256_ctr(), nullptr, words, words + 32) == 1 &&
              EVP_EncryptUpdate(context, reinterpret_cast<unsigned char*>(bytes.data()), &length,
                                reinterpret_cast<const unsigned char*>(plain.data()),
                                static_cast<int>(size)) == 1);
  EVP_CIPHER_CTX_free(context);
  return bytes;
}

Bytes compressed(std::size_t size, std::mt19937_64& random) {
  Bytes bytes;
  while (bytes.size() < size) {
    const Bytes plain = text(256 << 10, random);
    Bytes frame(ZSTD_compressBound(plain.size()));
    frame.resize(ZSTD_compress(frame.data(), frame.size(), plain.data(), plain.size(), 3));
    bytes.insert(bytes.end(), frame.begin(), frame.end());
  }
  bytes.resize(size);
  return bytes;
}

Bytes entropy_coded(std::size_t size, std::mt19937_64& random) {
  Bytes bytes = random_bytes(size, random);
  for (std::size_t i = 1; i < size; ++i) {
    if (bytes[i - 1] == std::byte{0xff}) bytes[i] = std::byte{0};
  }
  return bytes;
}

}  // namespace

const char* to_string(SampleKind kind) {
  constexpr const char* kNames[] = {
      "zeros",           "mostly_zero", "text",      "program",    "database",     "base64",
      "repeated_random", "random",      "encrypted", "compressed", "entropy_coded"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::vector<std::byte> sample_data(SampleKind kind, std::size_t size_bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  switch (kind) {
    case SampleKind::kZeros:
      return Bytes(size_bytes);
    case SampleKind::kMostlyZero:
      return mostly_zero(size_bytes, random);
    case SampleKind::kText:
      return text(size_bytes, random);
    case SampleKind::kProgram:
      return program(size_bytes, random);
    case SampleKind::kDatabase:
      return database(size_bytes, random);
    case SampleKind::kBase64:
      return base64(size_bytes, random);
    case SampleKind::kRepeatedRandom:
      return repeated_random(size_bytes, random);
    case SampleKind::kRandom:
      return random_bytes(size_bytes, random);
    case SampleKind::kEncrypted:
      return encrypted(size_bytes, random);
    case SampleKind::kCompressed:
      return compressed(size_bytes, random);
    case SampleKind::kEntropyCoded:
      return entropy_coded(size_bytes, random);
  }
  VHDXM_CHECK(false);
  return {};
}

}  // namespace vhdxm::test
