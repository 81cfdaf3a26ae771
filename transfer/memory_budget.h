// What a job may hold in memory, as arithmetic: from it follows how many streams it gets.
//
// The goal is 64 MiB a process (or what --memory says) for any disk and any number of streams,
// beside the program itself, the BAT cache (vhdx/bat.h: 4 MiB a layer) and the block plan
// (vhdx/block_plan.h: 2 bits a block).
#pragma once

#include <cstdint>
#include <span>

namespace vhdxm::transfer {

/// What a stream needs beside its payload buffer. Bytes: 256 KiB (and 22 bytes for each 16 KiB) of
/// ciphertext on its way into the TLS engine or out of it, 2 x 17 KiB that OpenSSL keeps of records
/// in both directions, 94 KiB to unpack with, 64 KiB of stack that was touched, frame lists.
inline constexpr std::uint64_t kStreamOverheadBytes = 480 * 1024;

/// What a sender needs beside its streams. Bytes: 1.7 MiB for 16384 frames under way without an
/// acknowledgement (transfer/extent_queue.cc), 4 MiB for what a receiver may say that it holds and
/// 256 KiB for its hashes, or, when these are not needed any more, 1 MiB to verify with; 1 MiB for
/// the longest message, two buffers of 64 KiB on control.
inline constexpr std::uint64_t kSenderOverheadBytes = 7 * 1024 * 1024 + 128 * 1024;

/// What a job of a receiver needs beside its streams. Bytes: before a disk 1 MiB for the longest
/// message, while it arrives 1.1 MiB for the account of it (transfer/coverage.h), 256 KiB for
/// 4096 ranges that are held, two buffers of 64 KiB on control.
inline constexpr std::uint64_t kReceiverJobOverheadBytes = 1536 * 1024;

/// Ranges that any job of a receiver may hold, and what each further one costs. Bytes: 16 where it
/// stands, 8 for the account, 32 while it is said, and as much while they are looked for.
inline constexpr std::uint64_t kHeldRangesMin = 4096;
inline constexpr std::uint64_t kHeldRangeBytes = 128;

/// Extents of a job of a receiver that are unpacked and not written yet, at a time: what a few
/// processors unpack, and no more however many streams there are.
inline constexpr std::uint64_t kUnpackedBuffersMax = 4;

/// What a receiver needs beside its jobs. Bytes: two workers that compare or verify with 1 MiB
/// each, 64 connections that have not proved anything yet with 64 KiB each.
inline constexpr std::uint64_t kReceiverOverheadBytes = 6 * 1024 * 1024;

/// Streams that fit `bytes`; at least one.
std::uint64_t streams_within(std::uint64_t bytes, std::uint64_t extent_bytes);

/// How a sender divides its memory between streams and what compresses for them.
struct SenderBudget {
  std::uint64_t memory_bytes = 0;  ///< Of the process.
  std::uint64_t extent_bytes = 0;
  std::uint64_t streams_wanted = 1;
  /// Contexts that are of use: one for each processor that may compress. 0: nothing is compressed.
  std::uint64_t compressors_wanted = 0;
  /// Levels that will do, the best first; the last one is taken in any case. Not empty if
  /// compressors are wanted.
  std::span<const int> levels = {};

  struct Shares {
    std::uint64_t streams = 1;
    std::uint64_t compressors = 0;
    int level_max = 0;
  };
  /// Half of what there is may go to compressors, of the best level that leaves each of those
  /// wanted its room; the rest to streams. One of each there is in any case.
  Shares shares() const;
};

/// How a receiver divides its memory. All units: bytes.
struct ReceiverBudget {
  std::uint64_t memory_bytes = 0;  ///< Of the process.
  std::uint64_t extent_bytes = 0;  ///< The longest.
  unsigned jobs_max = 1;           ///< That are wanted at a time.

  /// What a job with `streams` streams needs.
  std::uint64_t job_bytes(std::uint64_t streams) const;
  /// Streams of a job that may hold so much; at least one.
  std::uint64_t streams(std::uint64_t bytes_of_job) const;
  /// Ranges of a job with `streams` streams that may hold so much: half of what the streams leave
  /// goes to them, the other half to jobs that come later. kHeldRangesMin to kHeldRangesMax.
  std::uint64_t held_ranges(std::uint64_t bytes_of_job, std::uint64_t streams) const;
  /// What a job with `streams` streams and so many ranges needs.
  std::uint64_t job_bytes(std::uint64_t streams, std::uint64_t ranges) const;
  /// Jobs at a time: all that are wanted, if each can have one stream; at least one.
  unsigned jobs() const;
  /// What the next job may take when `running` others hold `taken`: half of what is left, so that a
  /// lone job is fast and a second one is not left with the crumbs; what the jobs after it need for
  /// one stream each is kept back. At least job_bytes(1).
  std::uint64_t next_share(std::uint64_t taken, unsigned running) const;
};

/// The credit that a receiver grants each job: payload that may be under way. It costs no memory
/// here, for it is in the buffers of both kernels and on the link; a crash has it sent again.
///
/// 32 MiB are being read, hashed or written at the ends of 16 streams, 1 MiB at each; the link may
/// hold twice the memory: with 64 MiB 128 MiB, the bandwidth-delay product of 10.7 Gbit/s at
/// 100 ms. Whoever has more of both gives more --memory. tests/transfer/long_link_test.cc plays it
/// through.
std::uint64_t credit_for(std::uint64_t memory_bytes);

}  // namespace vhdxm::transfer
