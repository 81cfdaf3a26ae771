#include "tests/support/crash_folder.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "migration/errc.h"

namespace vhdxm::test {
namespace {

Error system_error(int number, const std::string& name) {
  return Error{.code = error_code(number, boost::system::system_category()),
               .where = "a folder of a test",
               .subject = name};
}

}  // namespace

template <class During, class Step>
Result<void> CrashFolder::step(int error, During during, Step apply) {
  const std::uint64_t number = faults_.steps++;
  if (number == faults_.dies_at) {
    if (faults_.moment == StepFaults::Moment::kDuring) during();
    if (faults_.moment == StepFaults::Moment::kAfter) apply();
    throw HostDied{};
  }
  if (number == faults_.fails_at) return system_error(error, "");
  apply();
  return {};
}

void CrashFolder::change(Names& names, const Change& made) {
  if (!made.also.empty()) names.erase(made.also);
  if (made.inode) {
    names[made.name] = made.inode;
  } else {
    names.erase(made.name);
  }
}

void CrashFolder::perform(Change made) {
  change(names_, made);
  pending_.push_back(std::move(made));
}

Result<std::optional<std::vector<std::byte>>> CrashFolder::read(const std::string& name,
                                                                std::size_t bytes_max) {
  const auto found = names_.find(name);
  if (found == names_.end()) return std::optional<std::vector<std::byte>>();
  if (found->second->bytes.size() > bytes_max) {
    return Error{.code = migration::Errc::kRecord, .where = "length", .subject = name};
  }
  return std::optional(found->second->bytes);
}

Result<void> CrashFolder::write(const std::string& name, std::span<const std::byte> bytes) {
  const auto make = [&](std::size_t length) {
    auto inode = std::make_shared<Inode>();
    inode->bytes.assign(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length));
    perform({.name = name, .inode = std::move(inode), .also = {}});
  };
  const std::uint64_t number = faults_.steps;
  auto done = step(
      ENOSPC, [&] { make(bytes.size() / 2); }, [&] { make(bytes.size()); });
  // A disk that is full keeps what it had room for.
  if (done.has_error() && number == faults_.fails_at) make(bytes.size() / 2);
  return done;
}

Result<void> CrashFolder::rename_replacing(const std::string& from, const std::string& to) {
  const auto found = names_.find(from);
  if (found == names_.end()) return system_error(ENOENT, from);
  const auto rename = [&] { perform({.name = to, .inode = found->second, .also = from}); };
  return step(
      EIO, [] {}, rename);
}

Result<void> CrashFolder::rename_no_replace(const std::string& from, const std::string& to) {
  if (names_.contains(to)) return system_error(EEXIST, to);
  return rename_replacing(from, to);
}

Result<void> CrashFolder::remove(const std::string& name) {
  if (!names_.contains(name)) return {};
  return step(
      EIO, [] {}, [&] { perform({.name = name, .inode = nullptr, .also = {}}); });
}

Result<std::vector<std::string>> CrashFolder::list() {
  std::vector<std::string> names;
  for (const auto& [name, inode] : names_) names.push_back(name);
  return names;
}

Result<void> CrashFolder::set_read_only(const std::string& name, bool read_only) {
  const auto found = names_.find(name);
  if (found == names_.end()) return system_error(ENOENT, name);
  return step(
      EIO, [] {}, [&] { found->second->read_only = read_only; });
}

// Before it has ended, any part of what was done may be durable already.
Result<void> CrashFolder::sync() {
  const auto all = [&] {
    durable_ = names_;
    pending_.clear();
  };
  const auto some = [&] {
    const auto half = static_cast<std::ptrdiff_t>((pending_.size() + 1) / 2);
    for (auto it = pending_.begin(); it != pending_.begin() + half; ++it) change(durable_, *it);
    pending_.erase(pending_.begin(), pending_.begin() + half);
  };
  const std::uint64_t number = faults_.steps;
  auto done = step(EIO, some, all);
  if (done.has_error() && number == faults_.fails_at) some();
  return done;
}

void CrashFolder::place(const std::string& name, const std::string& text) {
  auto inode = std::make_shared<Inode>();
  std::transform(text.begin(), text.end(), std::back_inserter(inode->bytes),
                 [](char c) { return static_cast<std::byte>(c); });
  names_[name] = inode;
  durable_[name] = inode;
}

void CrashFolder::lose(const std::string& name) {
  names_.erase(name);
  durable_.erase(name);
  std::erase_if(pending_, [&](const Change& c) { return c.name == name || c.also == name; });
}

std::optional<std::vector<std::byte>> CrashFolder::durable(const std::string& name) const {
  const auto found = durable_.find(name);
  if (found == durable_.end()) return std::nullopt;
  return found->second->bytes;
}

void CrashFolder::lose_power(std::mt19937_64& random) {
  for (const Change& made : pending_) {
    if (random() % 2 == 0) change(durable_, made);
  }
  pending_.clear();
  names_ = durable_;
}

CrashFolder& CrashFolders::at(const std::string& path) {
  auto& folder = folders_[path];
  if (!folder) folder = std::make_unique<CrashFolder>(faults_);
  return *folder;
}

std::vector<std::string> CrashFolders::paths() {
  std::vector<std::string> paths;
  for (const auto& [path, folder] : folders_) paths.push_back(path);
  return paths;
}

void CrashFolders::lose_power(std::mt19937_64& random) {
  for (auto& [path, folder] : folders_) folder->lose_power(random);
}

}  // namespace vhdxm::test
