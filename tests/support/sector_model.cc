#include "tests/support/sector_model.h"

#include <algorithm>

#include "base/check.h"
#include "base/little_endian.h"

namespace vhdxm::test {
namespace {

struct Word {
  Le32 tag;
  Le32 unit;
};

}  // namespace

void fill_tagged(std::span<std::byte> bytes, std::uint64_t first_unit, std::uint32_t tag) {
  VHDXM_CHECK(bytes.size() % kTornUnitBytes == 0);
  if (tag == 0) {
    std::fill(bytes.begin(), bytes.end(), std::byte{0});
    return;
  }
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(Word)) {
    const auto unit = static_cast<std::uint32_t>(first_unit + at / kTornUnitBytes);
    store_raw(bytes.data() + at, Word{tag, unit});
  }
}

std::optional<std::uint32_t> tag_of(std::span<const std::byte> unit, std::uint64_t unit_number) {
  const auto first = load_raw<Word>(unit.data());
  const std::uint32_t tag = first.tag;
  const auto place = tag == 0 ? std::uint32_t{0} : static_cast<std::uint32_t>(unit_number);
  for (std::size_t at = 0; at < unit.size(); at += sizeof(Word)) {
    const auto word = load_raw<Word>(unit.data() + at);
    if (word.tag != tag || word.unit != place) return std::nullopt;
  }
  return tag;
}

std::set<std::uint32_t> WriteHistory::allowed_after(std::size_t operations,
                                                    std::uint64_t unit) const {
  std::set<std::uint32_t> latest = {before_[static_cast<std::size_t>(unit)]};
  std::set<std::uint32_t> allowed = latest;
  for (const Event& event : events_) {
    if (event.kind == Kind::kFlush) {
      if (event.end <= operations) allowed = latest;
      continue;
    }
    if (event.begin >= operations) break;
    if (unit < event.first || unit >= event.first + event.count) continue;
    // A trim leaves what was there, or zeros.
    if (event.kind == Kind::kWrite) latest.clear();
    latest.insert(event.tag);
    allowed.insert(event.tag);
  }
  return allowed;
}

}  // namespace vhdxm::test
