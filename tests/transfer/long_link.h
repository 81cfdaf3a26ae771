// A link with length, played through on a clock of its own: the real ExtentQueue and credit, and
// between sender and receiver sockets, a link and disks that are arithmetic.
//
// What is modelled: streams that read an extent, then put it into a socket whose window (socket
// buffers and TCP's window, whichever is less) is what may be on its way and not taken by the
// receiver's program; one link that all streams share, in the order in which they put bytes on it;
// a delay each way; loss, seen as what it is to the program above: the bytes behind the lost ones
// come no earlier than one round trip later. Acknowledgements come back over control, after the
// delay. What is not modelled: how TCP finds its window (slow start, congestion control).
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <vector>

#include "transfer/extent_queue.h"
#include "vhdx/layer.h"

namespace vhdxm::transfer {

class LongLink {
 public:
  /// Units: bytes, bytes a second, seconds.
  struct Setting {
    double rate = 0;
    double round_trip = 0;
    unsigned streams = 4;
    std::uint64_t credit = 0;
    std::uint64_t window = 0;  ///< Of each stream.
    double loss = 0;           ///< Probability for each 64 KiB.
    double read_rate = 2e9;    ///< Of each stream, hash included.
    double write_rate = 2e9;   ///< Of each stream, hash included.
    std::uint64_t seed = 1;
    double seconds = 4;
  };
  struct Outcome {
    double share_of_rate = 0;  ///< Of payload that was written, after the first second.
    ExtentQueue::HighWater high_water;
  };

  explicit LongLink(const Setting& setting);
  /// Moves a full disk for `seconds` of the link's time.
  Outcome run();

 private:
  struct Stream {
    bool asking = false;               ///< Waits for work or credit.
    std::deque<std::uint64_t> unsent;  ///< Segments of the extent in hand, by size.
    std::uint64_t in_window = 0;
    double arrives_last = 0;
    double taken_last = 0;
    std::uint64_t frames = 0;
  };

  void at(double time, std::function<void()> what);
  void ask_for_work(unsigned stream);
  void send_segments(unsigned stream);
  void send_segment(unsigned stream, std::uint64_t bytes, bool last);
  void written(unsigned stream, std::uint64_t bytes);
  void wake_streams();

  const Setting setting_;
  std::mt19937_64 random_;
  std::unique_ptr<vhdx::Layer> layer_;
  ExtentQueue queue_;
  std::vector<Stream> streams_;
  double now_ = 0;
  double link_free_ = 0;
  std::uint64_t written_bytes_ = 0;  ///< After the first second.
  std::map<std::pair<double, std::uint64_t>, std::function<void()>> events_;
  std::uint64_t event_count_ = 0;
};

}  // namespace vhdxm::transfer
