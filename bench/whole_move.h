// A Sender and a Receiver in one process, over loopback, into a folder that goes away.
//
// VHDXM_BENCH_MIB says how much data the disk has (16 unless told, so that it can run with the
// tests), TMPDIR where both disks are: /dev/shm leaves the disks' speed out.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "transfer/receiver.h"
#include "transfer/sender.h"

namespace vhdxm::bench {

class WholeMove {
 public:
  struct Options {
    bool plaintext = false;
    unsigned streams = 4;
    std::uint64_t memory_bytes = transfer::kDefaultMemoryBytes;
  };

  explicit WholeMove(const Options& options);
  ~WholeMove();
  WholeMove(const WholeMove&) = delete;
  WholeMove& operator=(const WholeMove&) = delete;

  std::uint16_t receiver_port() const { return receiver_->port(); }
  std::uint64_t data_bytes() const { return data_bytes_; }
  /// Moves the disk to `port`, the receiver's or a proxy's, and checks the report.
  void run(std::uint16_t port);
  /// Removes what arrived, after holding it against the source if `check`.
  void clear(bool check);
  /// Counters: bytes a second, CPU seconds of both sides for each 10^9 bytes.
  void report(benchmark::State& state, double cpu_seconds) const;

 private:
  const Options options_;
  const transfer::PairingKey key_ = transfer::PairingKey::generate();
  std::string folder_;
  std::uint64_t data_bytes_ = 0;
  std::unique_ptr<transfer::Receiver> receiver_;
  std::thread receiving_;
};

/// Of the whole process, all threads, user and system.
double cpu_seconds();

}  // namespace vhdxm::bench
