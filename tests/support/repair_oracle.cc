#include "tests/support/repair_oracle.h"

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "vhdx/check.h"
#include "vhdx/layer.h"
#include "vhdx/layer_digest.h"
#include "vhdx/repair_backup.h"

namespace vhdxm::test {
namespace {

using namespace vhdxm::vhdx;
using Outcome = RepairVerdict::Outcome;

constexpr std::uint64_t kPieceBytes = 1 << 20;

/// Calls visit(offset, bytes) for every piece that may hold data.
template <class Visit>
void for_each_piece(File& file, Visit visit) {
  std::vector<std::byte> piece(kPieceBytes);
  for (std::uint64_t at = 0;;) {
    const File::DataRun run = *file.next_data(at);
    if (run.begin >= run.end) return;
    for (at = run.begin; at < run.end;) {
      const auto bytes =
          std::span(piece).first(static_cast<std::size_t>(std::min(run.end - at, kPieceBytes)));
      VHDXM_CHECK(!read_exact_at(file, at, bytes, "piece").has_error());
      visit(at, std::span<const std::byte>(bytes));
      at += bytes.size();
    }
  }
}

bool holds(File& file, std::uint64_t offset, std::span<const std::byte> expected) {
  std::vector<std::byte> bytes(expected.size());
  return *file.read_some_at(offset, bytes) == bytes.size() &&
         std::equal(bytes.begin(), bytes.end(), expected.begin());
}

std::uint64_t data_bytes(Layer& layer) {
  std::uint64_t bytes = 0;
  std::vector<Extent> extents;
  for (std::uint64_t at = 0; at < layer.geometry().virtual_size_bytes;) {
    extents.clear();
    at = layer.map(at, layer.geometry().virtual_size_bytes - at, extents).value();
    for (const Extent& extent : extents) {
      if (extent.kind == ExtentKind::kData) bytes += extent.length;
    }
  }
  return bytes;
}

std::string judge_result(const std::shared_ptr<File>& before, const std::shared_ptr<File>& after) {
  const auto report = check(after);
  if (report.has_error() || report->corrupt()) return "the result is corrupt";
  const auto opened = Layer::open(after, Layer::Replay::kInMemory);
  if (opened.has_error()) return "the result does not open: " + describe(opened.error());
  if ((*opened)->replayed_entries() != 0) return "the result has a log";
  if ((*opened)->validate_bat().has_error()) return "blocks of the result share a place";
  const auto original = Layer::open(before, Layer::Replay::kInMemory);
  const bool readable = !original.has_error() && !(*original)->validate_bat().has_error();
  if (readable && !same_disk(before, after)) return "the disk shows something else";
  const auto again = plan_repair(after);
  if (again.has_error() || again->obstacle) return "the result cannot be repaired again";
  if (!again->mends.empty()) return "the repair left something: " + again->mends[0].what;
  return {};
}

}  // namespace

std::shared_ptr<MemoryFile> copy_of(File& file) {
  auto copy = std::make_shared<MemoryFile>(file.name());
  VHDXM_CHECK(!copy->resize(*file.size()).has_error());
  for_each_piece(file, [&](std::uint64_t offset, std::span<const std::byte> bytes) {
    VHDXM_CHECK(!copy->write_at(offset, bytes).has_error());
  });
  return copy;
}

bool same_bytes(File& a, File& b) {
  bool same = *a.size() == *b.size();
  const auto compare_with = [&](File& other) {
    return [&](std::uint64_t offset, std::span<const std::byte> bytes) {
      same = same && holds(other, offset, bytes);
    };
  };
  for_each_piece(a, compare_with(b));
  for_each_piece(b, compare_with(a));
  return same;
}

bool same_disk(const std::shared_ptr<File>& a, const std::shared_ptr<File>& b) {
  constexpr std::uint64_t kDigestedMax = 64 << 20;
  const auto first = Layer::open(a, Layer::Replay::kInMemory);
  const auto second = Layer::open(b, Layer::Replay::kInMemory);
  if (first.has_error() || second.has_error()) return false;
  if ((*first)->description() != (*second)->description()) return false;
  if (data_bytes(**first) != data_bytes(**second)) return false;
  if (data_bytes(**first) > kDigestedMax) return true;  // sparse giants, compared by their maps
  std::vector<std::byte> buffer(kDigestCellBytes);
  return layer_digest(**first, 1, buffer).value() == layer_digest(**second, 1, buffer).value();
}

RepairVerdict try_repair(const std::shared_ptr<MemoryFile>& file) {
  const auto original = copy_of(*file);
  const auto plan = plan_repair(file);
  if (plan.has_error()) return {Outcome::kRefused, "planning failed: " + describe(plan.error())};
  if (!same_bytes(*file, *original)) return {Outcome::kRefused, "planning changed the file"};
  if (plan->mends.empty()) {
    if (plan->obstacle) return {Outcome::kRefused, {}};
    return {Outcome::kNothingToDo, plan->before.corrupt() ? "corrupt, and nothing is said" : ""};
  }
  MemoryFile backup;
  if (write_repair_backup(*plan, backup).has_error()) return {Outcome::kMended, "no backup"};
  if (plan->apply(*file).has_error()) return {Outcome::kMended, "apply failed"};
  if (auto broken = judge_result(original, file); !broken.empty()) {
    return {Outcome::kMended, std::move(broken)};
  }
  const auto repaired = copy_of(*file);
  if (const auto undone = undo_repair(*file, backup); undone.has_error()) {
    return {Outcome::kMended, "undo failed: " + describe(undone.error())};
  }
  if (!same_bytes(*file, *original)) return {Outcome::kMended, "undo left another file"};
  if (plan->apply(*file).has_error() || !same_bytes(*file, *repaired)) {
    return {Outcome::kMended, "doing it again led to another file"};
  }
  return {Outcome::kMended, {}};
}

}  // namespace vhdxm::test
