#include "tools/mover_disks.h"

#include <algorithm>
#include <utility>

namespace vhdxm::tools {

bool MoverDisk::arrive(std::shared_ptr<transfer::LiveDisk> live) {
  if (live->geometry() != arriving_->geometry()) return false;
  live_ = std::move(live);
  has_arrived_ = true;
  return true;
}

void MoverDisk::set_elsewhere(std::shared_ptr<ElsewhereDisk> disk) {
  const std::lock_guard lock(elsewhere_mutex_);
  elsewhere_ = std::move(disk);
  has_elsewhere_ = elsewhere_ != nullptr;
}

std::shared_ptr<ElsewhereDisk> MoverDisk::elsewhere() {
  if (!has_elsewhere_) return nullptr;
  if (live_->gate().state() != transfer::WriteGate::State::kFenced) return nullptr;
  const std::lock_guard lock(elsewhere_mutex_);
  return elsewhere_;
}

void MoverDisk::rest() {
  const std::lock_guard lock(elsewhere_mutex_);
  if (elsewhere_ != nullptr) elsewhere_->rest();
}

Result<void> MoverDisk::close() {
  closing_ = true;
  {
    const std::lock_guard lock(elsewhere_mutex_);
    if (elsewhere_ != nullptr) elsewhere_->stop();  // calls under way may wait for another host
  }
  for (auto under_way = requests_.load(); under_way != 0; under_way = requests_.load()) {
    requests_.wait(under_way);
  }
  if (live_ == nullptr) return {};
  return live_->close();
}

Result<void> MoverDisks::open(const std::vector<Wish>& wishes, const Check& check) {
  const auto refused = [](const char* where, const Wish& wish) {
    return Error{.code = BaseErrc::kInvalidArgument, .where = where, .subject = wish.path};
  };
  std::vector<std::shared_ptr<MoverDisk>> opened;
  // What was opened before one that cannot be is closed again, and was not changed.
  const auto open_one = [&](const Wish& wish) -> Result<void> {
    const bool named = std::any_of(opened.begin(), opened.end(),
                                   [&](const auto& one) { return one->name() == wish.name; });
    if (named || find(wish.name)) return refused("a disk of that name is open", wish);
    if (!wish.read_only && check) VHDXM_TRY_VOID(check(wish));
    VHDXM_TRY(auto live, transfer::LiveDisk::open(wish.path, gate_, {.read_only = wish.read_only}));
    opened.push_back(
        std::make_shared<MoverDisk>(wish.name, wish.path, wish.read_only, std::move(live)));
    return {};
  };
  if (!group_ && wishes.size() + list().size() > 1) {
    return refused("a second disk of a mover that has no group", wishes.front());
  }
  for (const Wish& wish : wishes) {
    if (auto result = open_one(wish); result.has_error()) {
      for (const auto& disk : opened) (void)disk->close().has_error();
      return result;
    }
  }
  for (const auto& disk : opened) {
    // A guest has waited for it, and its first write is to wait no longer than it must. What goes
    // wrong here that write will be told.
    if (enter(disk) && !disk->read_only()) (void)disk->live()->begin_writing().has_error();
  }
  return {};
}

/// A disk that is open from here on, for clients who were there before, too. Whether it was
/// expected.
bool MoverDisks::enter(std::shared_ptr<MoverDisk> opened) {
  const std::lock_guard lock(mutex_);
  const auto expected = std::find_if(expected_.begin(), expected_.end(), [&](const Expected& one) {
    return one.wish.name == opened->name();
  });
  Entry entry{.disk = std::move(opened)};
  const bool was_expected = expected != expected_.end();
  if (was_expected) {
    Entry waiting = std::move(expected->entry);
    expected_.erase(expected);
    if (waiting.disk != nullptr && waiting.disk->arrive(entry.disk->live())) {
      entry = std::move(waiting);
    } else if (waiting.disk != nullptr) {
      (void)waiting.disk->close().has_error();  // it has nothing to close
    }
  }
  disks_.push_back(std::move(entry));
  return was_expected;
}

void MoverDisks::expect(const std::vector<Wish>& wishes) {
  const std::lock_guard lock(mutex_);
  expected_.clear();
  for (const Wish& wish : wishes) expected_.push_back({.wish = wish});
}

std::vector<std::string> MoverDisks::expected() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const Expected& one : expected_) names.push_back(one.wish.name);
  return names;
}

/// mutex_ is held. Null: nothing of it is there yet.
std::shared_ptr<MoverDisk> MoverDisks::client_expects(Expected& expected) {
  Entry& entry = expected.entry;
  if (entry.disk == nullptr) {
    auto arriving = ArrivingDisk::look(expected.wish.path);
    if (arriving.has_error()) return nullptr;
    entry.disk = std::make_shared<MoverDisk>(expected.wish.name, expected.wish.path,
                                             std::move(arriving).value());
  }
  ++entry.clients;
  return entry.disk;
}

void MoverDisks::add(std::shared_ptr<MoverDisk> disk) {
  const std::lock_guard lock(mutex_);
  disks_.push_back({.disk = std::move(disk)});
}

std::vector<MoverDisks::View> MoverDisks::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<View> all;
  for (const Entry& entry : disks_) all.push_back({.disk = entry.disk, .clients = entry.clients});
  return all;
}

std::optional<MoverDisks::View> MoverDisks::find(const std::string& name) const {
  for (View& view : list()) {
    if (view.disk->name() == name) return std::move(view);
  }
  return std::nullopt;
}

std::uint64_t MoverDisks::clients() const {
  std::uint64_t all = 0;
  for (const View& view : list()) all += view.clients;
  return all;
}

std::shared_ptr<MoverDisk> MoverDisks::client_opens(const std::string& export_name) {
  const std::lock_guard lock(mutex_);
  for (Entry& entry : disks_) {
    if (group_ && entry.disk->name() != export_name) continue;
    ++entry.clients;
    return entry.disk;
  }
  for (Expected& expected : expected_) {
    if (!group_ || expected.wish.name == export_name) return client_expects(expected);
  }
  return nullptr;
}

std::uint64_t MoverDisks::client_closes(const MoverDisk& disk) {
  const std::lock_guard lock(mutex_);
  std::uint64_t left = 0;
  for (Entry& entry : disks_) {
    if (entry.disk.get() == &disk) left = --entry.clients;
  }
  // The last one takes with it what was known of the disk.
  for (Expected& expected : expected_) {
    if (expected.entry.disk.get() != &disk) continue;
    left = --expected.entry.clients;
    if (left == 0) expected.entry = {};
  }
  return left;
}

std::shared_ptr<MoverDisk> MoverDisks::take(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(disks_.begin(), disks_.end(),
                                  [&](const Entry& one) { return one.disk->name() == name; });
  if (found == disks_.end()) return nullptr;
  auto disk = std::move(found->disk);
  disks_.erase(found);
  return disk;
}

}  // namespace vhdxm::tools
