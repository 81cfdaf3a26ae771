#include "compression/probe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace vhdxm::compression {
namespace {

constexpr std::size_t kPieceBytes = 256 << 10;
constexpr std::size_t kPiecesMax = 16;
constexpr std::size_t kWindowBytes = 64;
constexpr std::size_t kWindows = 16;  // in a piece
constexpr std::size_t kSampledBytes = kWindows * kWindowBytes;
/// Where in its part of the piece a window begins, so that not all look at the beginning of a page.
/// It comes back every 4 parts, 64 KiB: so two windows show the same if content repeats after
/// those.
constexpr std::array<std::size_t, 4> kWindowAt = {64, 1344, 2752, 3456};
/// A saving by frequency alone of this share is worth trying: the codec finds repeats besides.
constexpr double kSavingMin = 1.0 / 32;
/// Random bytes have none at all; a sixteenth is what a frame must save.
constexpr double kRepeatsMin = 1.0 / 16;

using Sample = std::array<std::uint8_t, kSampledBytes>;

void take_sample(std::span<const std::byte> piece, Sample& sample) {
  const std::size_t part = piece.size() / kWindows;
  for (std::size_t i = 0; i < kWindows; ++i) {
    // part >= kProbeBytesMin / kWindows > kWindowBytes: the window ends inside its part.
    const std::size_t at = i * part + kWindowAt[i % kWindowAt.size()] % (part - kWindowBytes + 1);
    std::memcpy(sample.data() + i * kWindowBytes, piece.data() + at, kWindowBytes);
  }
}

/// count * log2(count) for every count that a sample can have.
const std::array<float, kSampledBytes + 1>& count_logarithms() {
  static const auto table = [] {
    std::array<float, kSampledBytes + 1> made{};
    for (std::size_t i = 1; i < made.size(); ++i) {
      const auto count = static_cast<float>(i);
      made[i] = count * std::log2(count);
    }
    return made;
  }();
  return table;
}

/// Shannon's entropy of the sample's bytes, corrected for its size (Miller and Madow, 1955): 1024
/// random bytes would else seem to carry 7.8 bits each.
double entropy_bits(const Sample& sample) {
  // Four tables: a count that was just stored is not read again at once.
  std::array<std::array<std::uint16_t, 256>, 4> counts{};
  for (std::size_t i = 0; i < sample.size(); i += 4) {
    for (std::size_t lane = 0; lane < 4; ++lane) ++counts[lane][sample[i + lane]];
  }
  const auto& logarithms = count_logarithms();
  float sum = 0;
  int seen = 0;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const int count = counts[0][byte] + counts[1][byte] + counts[2][byte] + counts[3][byte];
    sum += logarithms[static_cast<std::size_t>(count)];
    seen += count > 0 ? 1 : 0;
  }
  constexpr double kBytes = kSampledBytes;
  const double plain = std::log2(kBytes) - static_cast<double>(sum) / kBytes;
  return plain + (seen - 1) / (2 * kBytes * std::log(2.0));
}

std::uint32_t word_at(const std::uint8_t* bytes) {
  std::uint32_t word = 0;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

/// About the share of places in the samples whose 4 bytes stand at an earlier place, too.
double repeats(std::span<const Sample> samples) {
  constexpr unsigned kSlotBits = 12;
  constexpr std::size_t kStep = 4;
  // Where a sequence with that hash was last seen; at first, place 0, which is before all others.
  std::array<std::uint16_t, std::size_t{1} << kSlotBits> slots{};
  const std::uint8_t* bytes = samples[0].data();
  const std::size_t end = samples.size() * kSampledBytes - 3;
  static_assert(kPiecesMax * kSampledBytes <= 65536);
  std::size_t found = 0;
  for (std::size_t at = 1; at < end; ++at) {
    const std::uint32_t word = word_at(bytes + at);
    std::uint16_t& slot = slots[word * 2654435761U >> (32 - kSlotBits)];
    found += word_at(bytes + slot) == word ? 1U : 0U;
    // Every fourth is enough to find what is longer than 6 bytes; so a fourth of them is found.
    if (at % kStep == 0) slot = static_cast<std::uint16_t>(at);
  }
  return std::min(1.0, static_cast<double>(kStep * found) / static_cast<double>(end));
}

}  // namespace

ProbeResult probe(std::span<const std::byte> raw) {
  if (raw.size() < kProbeBytesMin) return {};
  const std::size_t pieces = std::clamp(raw.size() / kPieceBytes, std::size_t{1}, kPiecesMax);
  const std::size_t piece_bytes = raw.size() / pieces;
  std::array<Sample, kPiecesMax> samples;
  ProbeResult result{.worth_trying = false, .entropy_bits = 0, .repeats = 0};
  for (std::size_t i = 0; i < pieces; ++i) {
    take_sample(raw.subspan(i * piece_bytes, piece_bytes), samples[i]);
    result.entropy_bits += entropy_bits(samples[i]) / static_cast<double>(pieces);
  }
  result.worth_trying = 1 - result.entropy_bits / 8 >= kSavingMin;
  if (result.worth_trying) return result;
  result.repeats = repeats(std::span(samples).first(pieces));
  result.worth_trying = result.repeats >= kRepeatsMin;
  return result;
}

}  // namespace vhdxm::compression
