#include "tests/support/crash_file.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <utility>

#include "base/check.h"

namespace vhdxm::test {

std::size_t crash_states(std::size_t usual) {
  const char* text = std::getenv("VHDXM_CRASH_STATES");
  return text == nullptr ? usual : std::stoul(text);
}

CrashFile::CrashFile(std::string name) : CrashFile(MemoryFile(std::move(name))) {}

CrashFile::CrashFile(const MemoryFile& content) : before_(content.clone()), now_(content.clone()) {}

Result<std::size_t> CrashFile::read_some_at(std::uint64_t offset, std::span<std::byte> out) {
  return now_->read_some_at(offset, out);
}

Result<void> CrashFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  return perform({.kind = Kind::kWrite,
                  .offset = offset,
                  .length = bytes.size(),
                  .bytes = {bytes.begin(), bytes.end()}});
}

Result<void> CrashFile::sync() {
  return perform({.kind = Kind::kSync});
}

Result<std::uint64_t> CrashFile::size() {
  return now_->size();
}

Result<void> CrashFile::resize(std::uint64_t size_bytes) {
  return perform({.kind = Kind::kResize, .length = size_bytes});
}

Result<void> CrashFile::allocate(std::uint64_t offset, std::uint64_t length) {
  return perform({.kind = Kind::kAllocate, .offset = offset, .length = length});
}

Result<void> CrashFile::punch_hole(std::uint64_t offset, std::uint64_t length) {
  return perform({.kind = Kind::kPunchHole, .offset = offset, .length = length});
}

Result<File::DataRun> CrashFile::next_data(std::uint64_t offset) {
  return now_->next_data(offset);
}

Result<void> CrashFile::perform(Operation operation) {
  const std::lock_guard lock(mutex_);
  const bool is_sync = operation.kind == Kind::kSync;
  const bool fails = failing_ == operations_.size() || (is_sync && failing_sync_ == syncs_);
  if (is_sync) ++syncs_;
  if (fails) {
    failing_.reset();
    failing_sync_.reset();
    return Error{.code = BaseErrc::kInjected, .where = "crash file", .offset = operation.offset};
  }
  VHDXM_TRY_VOID(carry_out(operation, *now_));
  operations_.push_back(std::move(operation));
  return {};
}

Result<void> CrashFile::carry_out(const Operation& operation, File& file) {
  switch (operation.kind) {
    case Kind::kWrite:
      return file.write_at(operation.offset, operation.bytes);
    case Kind::kResize:
      return file.resize(operation.length);
    case Kind::kAllocate:
      return file.allocate(operation.offset, operation.length);
    case Kind::kPunchHole:
      return file.punch_hole(operation.offset, operation.length);
    case Kind::kSync:
      break;
  }
  return {};
}

void CrashFile::carry_out_torn(const Operation& operation, const Crash& crash, Fate fate,
                               std::mt19937_64& random, File& file) {
  const std::uint64_t sector = crash.sector_bytes;
  const std::uint64_t begin = operation.offset;
  const std::uint64_t end = begin + operation.bytes.size();
  const std::uint64_t middle = begin + operation.bytes.size() / 2;
  for (std::uint64_t at = begin; at < end;) {
    const std::uint64_t stop = std::min(end, (at / sector + 1) * sector);
    const bool kept = fate == Fate::kTornFront  ? at < middle
                      : fate == Fate::kTornBack ? at >= middle
                                                : random() % 2 == 0;
    if (kept) {
      const auto bytes = std::span(operation.bytes).subspan(at - begin, stop - at);
      VHDXM_CHECK(!file.write_at(at, bytes).has_error());
    }
    at = stop;
  }
}

std::size_t CrashFile::pending_begin(std::size_t operations) const {
  std::size_t begin = operations;
  while (begin > 0 && operations_[begin - 1].kind != Kind::kSync) --begin;
  return begin;
}

void CrashFile::for_each_crash(std::size_t random_states, std::mt19937_64& random,
                               const std::function<void(const Crash&)>& visit) const {
  constexpr std::array kTorn = {Fate::kTornFront, Fate::kTornBack, Fate::kTornMixed};
  for (std::size_t count = 0; count <= operations_.size(); ++count) {
    const std::size_t pending = count - pending_begin(count);
    for (const std::uint64_t sector : {std::uint64_t{512}, std::uint64_t{4096}}) {
      Crash crash{.operations = count, .fates = {}, .sector_bytes = sector};
      const auto state = [&](Fate all, std::optional<std::size_t> one, Fate its) {
        crash.fates.assign(pending, all);
        if (one) crash.fates[*one] = its;
        visit(crash);
      };
      if (sector == 512) {  // These do not tear.
        state(Fate::kLost, std::nullopt, Fate::kLost);
        if (pending == 0) break;
        state(Fate::kKept, std::nullopt, Fate::kKept);
        for (std::size_t one = 0; one < pending; ++one) {
          if (pending > 1) state(Fate::kLost, one, Fate::kKept);
          state(Fate::kKept, one, Fate::kLost);
        }
      }
      for (std::size_t one = 0; one < pending; ++one) {
        for (const Fate fate : kTorn) state(Fate::kKept, one, fate);
      }
      for (std::size_t i = 0; i < random_states; ++i) {
        crash.fates.clear();
        for (std::size_t one = 0; one < pending; ++one) {
          crash.fates.push_back(static_cast<Fate>(random() % 5));
        }
        visit(crash);
      }
    }
  }
}

std::shared_ptr<MemoryFile> CrashFile::after(const Crash& crash, std::mt19937_64& random) const {
  const std::size_t begin = pending_begin(crash.operations);
  if (!durable_.file || durable_.operations > begin) durable_ = {0, before_->clone()};
  for (; durable_.operations < begin; ++durable_.operations) {
    VHDXM_CHECK(!carry_out(operations_[durable_.operations], *durable_.file).has_error());
  }
  auto file = durable_.file->clone();
  for (std::size_t i = begin; i < crash.operations; ++i) {
    const Operation& operation = operations_[i];
    const Fate fate = crash.fates[i - begin];
    if (fate == Fate::kLost) continue;
    if (fate == Fate::kKept || operation.kind != Kind::kWrite) {
      VHDXM_CHECK(!carry_out(operation, *file).has_error());
    } else {
      carry_out_torn(operation, crash, fate, random, *file);
    }
  }
  return file;
}

std::string CrashFile::Crash::describe() const {
  std::string text = "crash after " + std::to_string(operations) + " operations, pending ones ";
  for (const Fate fate : fates) text += "LKfbm"[static_cast<std::size_t>(fate)];
  return text + " (lost, kept, torn front, back, mixed) in sectors of " +
         std::to_string(sector_bytes);
}

}  // namespace vhdxm::test
