// Chooses between plain and compressed payload while a job runs, sans I/O and without a clock.
//
// The right choice keeps the link full and no fuller: as long as streams wait for the network,
// there is processor time to compress harder; once they do not, compression holds the job back.
// So the choice is moved along the efficient levels (compression/link_model.h), from plain to the
// strongest, by how much of their time the streams are held back. What goes before that is known is
// compressed lightly. Where it is the destination that does not keep up, not the network,
// compressing harder would make it worse: the destination says what it waits for (message Load).
// docs/compression.md has the reasoning and the measurements.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "compression/link_model.h"
#include "transfer/mode_control.h"
#include "transfer/progress.h"

namespace vhdxm::transfer {

/// Thread safety: none; one strand.
class AutoMode {
 public:
  /// The levels that are considered; plain is always. Fast ones first.
  static std::span<const int> ladder();

  struct Host {
    int level_max = 0;      ///< Of the contexts that there are.
    double processors = 1;  ///< That the streams may have. > 0.
    double streams = 1;     ///< >= 1.
  };
  explicit AutoMode(const Host& host);

  /// What happened since the last sample. Shares are of the streams' time, 0 to 1.
  struct Sample {
    double seconds = 0;                ///< > 0.
    double held_back = 0;              ///< The network (or --limit) took nothing more.
    double reading = 0;                ///< For the source's disk.
    double wire_bytes_per_second = 0;  ///< All streams. 0: not known.
    double queued = 0;  ///< Of all that was sent so far, what the kernel still holds for the link.
    /// The receiver's, as far as is known: its streams had nothing to do, wrote, unpacked.
    struct Receiver {
      double waiting = 1;
      double writing = 0;
      double unpacking = 0;
    };
    std::optional<Receiver> receiver = {};
  };
  /// What to do from now on.
  ModeMix observe(const Sample& sample);

  /// Levels up to this one cost so little to try that it is done however busy the processors are.
  static constexpr int kLevelCheapMax = 1;
  /// What levels cost on this disk's own data, plain among them; better than what was assumed at
  /// first. What those cost that are not among them is concluded from that.
  void learn(std::span<const compression::LevelCost> costs);
  /// Up to which level it is worth to find that out now; nothing if it is known, or there is no
  /// time to spare for it.
  std::optional<int> wants_costs() const;

  ModeMix mix() const;
  Bottleneck bottleneck() const { return bottleneck_; }
  /// Where it stands: 0 is plain, n the n-th efficient level; between them a mix.
  double position() const { return position_; }

 private:
  static constexpr double kAnywhere = 1e9;

  void judge(const Sample& sample);
  void move(double wish, double seconds);
  void approach(double seconds);
  void note_link(double seconds, double pressure);
  double link_full() const;
  bool link_is_nearly_full() const;
  double position_for(double link_bytes_per_s, double processor_share) const;
  void merge(std::span<const compression::LevelCost> costs, double weight);
  /// Where a level is on the model's ladder, or the next stronger one.
  double position_of(int level) const;

  const Host host_;
  const double held_back_much_;
  const double held_back_little_;
  std::vector<compression::LevelCost> known_;  ///< Assumed, later as they were measured.
  compression::LinkModel model_;
  double position_ = 0;
  double position_min_ = 0;           ///< Below it, compression would save more than it takes.
  double too_much_ = kAnywhere;       ///< From where streams last did not wait any more.
  double held_back_ = 0;              ///< Smoothed.
  double receiver_idle_ = 1;          ///< Smoothed.
  double wire_bytes_per_second_ = 0;  ///< Smoothed.
  double link_bytes_per_second_ = 0;  ///< When it last held the streams back. 0: never.
  double link_known_seconds_ = 0;     ///< Since then.
  bool pressed_ = false;              ///< The link holds back streams that could do more.
  bool begun_ = false;
  double start_seconds_ = 0;    ///< Since it began.
  bool starting_ = true;        ///< Nothing is known of the link yet.
  double one_way_seconds_ = 0;  ///< How long it has gone one way; negative towards plain.
  double seconds_since_costs_ = 0;
  unsigned learned_ = 0;        ///< How often, of all levels.
  unsigned learned_cheap_ = 0;  ///< Of some.
  Bottleneck bottleneck_ = Bottleneck::kUnknown;
};

}  // namespace vhdxm::transfer
