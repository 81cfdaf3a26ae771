// What the sectors of a disk may hold, when it is written with tagged sectors.
//
// A tagged sector says in every 8 bytes which write it came from and where it belongs, so that
// content of another sector, of another block, or half of a write shows.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace vhdxm::test {

/// The unit in which a write may tear, and of everything below. Bytes.
inline constexpr std::uint64_t kTornUnitBytes = 512;

/// Fills `bytes`, whole units from unit `first_unit` on, with the tag; tag 0 is zeros.
void fill_tagged(std::span<std::byte> bytes, std::uint64_t first_unit, std::uint32_t tag);
/// The tag of one unit; nullopt if it holds anything but one tag and its own place.
std::optional<std::uint32_t> tag_of(std::span<const std::byte> unit, std::uint64_t unit_number);

/// What was done to a disk, in order, with the count of file operations before and after.
class WriteHistory {
 public:
  enum class Kind : std::uint8_t { kWrite, kTrim, kFlush };
  struct Event {
    Kind kind = Kind::kFlush;
    std::size_t begin = 0;  ///< File operations before it.
    std::size_t end = 0;    ///< And when it had returned.
    std::uint64_t first = 0;
    std::uint64_t count = 0;  ///< Units.
    std::uint32_t tag = 0;
  };

  /// `before`: the tag that a unit has when nothing was done.
  explicit WriteHistory(std::vector<std::uint32_t> before) : before_(std::move(before)) {}

  void add(const Event& event) { events_.push_back(event); }
  std::uint64_t unit_count() const { return before_.size(); }

  /// The tags that a unit may have after a power loss when `operations` had been carried out: the
  /// last before the last flush that had returned, or any since.
  std::set<std::uint32_t> allowed_after(std::size_t operations, std::uint64_t unit) const;

 private:
  const std::vector<std::uint32_t> before_;
  std::vector<Event> events_;
};

}  // namespace vhdxm::test
