#include "transfer/pairing_key.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "base/directory.h"
#include "base/posix_file.h"
#include "base/random.h"

namespace vhdxm::transfer {
namespace {

constexpr std::string_view kPrefix = "vhdx-migrate:";
constexpr std::size_t kKeyBytes = 32;
/// A key file has 78 bytes; one above this is something else.
constexpr std::uint64_t kFileBytesMax = 1024;

Error no_key(const char* where, const std::string& path = {}) {
  return Error{.code = BaseErrc::kInvalidArgument, .where = where, .subject = path};
}

std::optional<std::uint8_t> hex_value(char c) {
  if (c >= '0' && c <= '9') return static_cast<std::uint8_t>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<std::uint8_t>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<std::uint8_t>(c - 'A' + 10);
  return std::nullopt;
}

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool begins_with_prefix(std::string_view text) {
  return text.size() >= kPrefix.size() &&
         std::equal(kPrefix.begin(), kPrefix.end(), text.begin(),
                    [](char expected, char found) { return expected == lower(found); });
}

/// A string that holds a key while it is made or read; wiped afterwards.
class SecretText {
 public:
  explicit SecretText(std::string text) : text_(std::move(text)) {}
  SecretText(const SecretText&) = delete;
  SecretText& operator=(const SecretText&) = delete;
  ~SecretText() { OPENSSL_cleanse(text_.data(), text_.size()); }
  std::string_view view() const { return text_; }
  std::span<std::byte> bytes() { return std::as_writable_bytes(std::span(text_)); }

 private:
  std::string text_;
};

struct PathParts {
  std::string folder;
  std::string name;
};

PathParts split(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

}  // namespace

PairingKey PairingKey::generate() {
  PairingKey key;
  random_bytes(std::as_writable_bytes(std::span(key.bytes_)));
  return key;
}

Result<PairingKey> PairingKey::parse(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  if (begins_with_prefix(text)) text.remove_prefix(kPrefix.size());
  PairingKey key;
  std::size_t digits = 0;
  for (const char c : text) {
    if (is_space(c) || c == '-') continue;
    const std::optional<std::uint8_t> value = hex_value(c);
    if (!value) return no_key("a pairing key has hexadecimal digits only");
    if (digits < 2 * kKeyBytes) {
      std::uint8_t& byte = key.bytes_[digits / 2];
      byte = static_cast<std::uint8_t>(byte << 4 | *value);
    }
    ++digits;
  }
  if (digits != 2 * kKeyBytes) {
    Error error = no_key("number of hexadecimal digits of a pairing key");
    error.found = digits;
    error.expected = 2 * kKeyBytes;
    return error;
  }
  return key;
}

Result<PairingKey> PairingKey::read_file(const std::string& path) {
  VHDXM_TRY(const std::unique_ptr<PosixFile> file, PosixFile::open(path, {}));
  struct stat status {};
  if (::fstat(file->fd(), &status) != 0) return errno_error("look up").about(path);
  if (!S_ISREG(status.st_mode)) return no_key("a key file is a regular file", path);
  if (static_cast<std::uint64_t>(status.st_size) > kFileBytesMax) {
    return no_key("too long for a key file", path);
  }
  SecretText content(std::string(static_cast<std::size_t>(status.st_size), '\0'));
  VHDXM_TRY_VOID(read_exact_at(*file, 0, content.bytes(), "key file"));

  constexpr const char* kRule =
      "a key file is one line: vhdx-migrate: and 64 lower-case hex digits";
  std::string_view line = content.view();
  if (!line.empty() && line.back() == '\n') line.remove_suffix(1);
  if (!line.starts_with(kPrefix)) return no_key(kRule, path);
  line.remove_prefix(kPrefix.size());
  const bool digits_only = std::all_of(line.begin(), line.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  if (!digits_only || line.size() != 2 * kKeyBytes) return no_key(kRule, path);
  return parse(line);
}

Result<PairingKey> PairingKey::read_or_create_file(const std::string& path) {
  Result<PairingKey> existing = read_file(path);
  if (existing.has_value() ||
      existing.error().code != boost::system::errc::no_such_file_or_directory) {
    return existing;
  }
  const PathParts parts = split(path);
  VHDXM_TRY(const std::unique_ptr<Directory> folder, Directory::open(parts.folder));
  if (!Directory::is_plain_name(parts.name)) return no_key("name of a key file", path);

  // Written under another name first: a crash, or another program that starts at the same time,
  // never finds half a key.
  const PairingKey key = generate();
  const std::string draft = fmt::format(".vhdx-migrate-key.{:016x}", random_u64());
  Result<void> made = [&]() -> Result<void> {
    VHDXM_TRY(const std::unique_ptr<PosixFile> file, folder->create_file(draft, false));
    SecretText line(key.to_line() + "\n");
    VHDXM_TRY_VOID(file->write_at(0, line.bytes()));
    VHDXM_TRY_VOID(file->sync());
    return folder->rename_no_replace(draft, parts.name);
  }();
  if (made.has_error()) {
    static_cast<void>(folder->remove(draft).has_error());  // The first error is the one to tell.
    if (made.error().code == boost::system::errc::file_exists) return read_file(path);
    return std::move(made).error();
  }
  VHDXM_TRY_VOID(folder->sync());
  return key;
}

std::string PairingKey::to_line() const {
  std::string line(kPrefix);
  for (const std::uint8_t byte : bytes_) line += fmt::format("{:02x}", byte);
  return line;
}

std::string PairingKey::to_groups() const {
  constexpr std::size_t kGroupBytes = 4;
  std::string groups;
  for (std::size_t i = 0; i < kKeyBytes; ++i) {
    if (i != 0 && i % kGroupBytes == 0) groups += ' ';
    groups += fmt::format("{:02x}", bytes_[i]);
  }
  return groups;
}

PairingKey::~PairingKey() {
  OPENSSL_cleanse(bytes_.data(), bytes_.size());
}

}  // namespace vhdxm::transfer
