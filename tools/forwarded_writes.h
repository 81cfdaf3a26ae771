// Whether the host that disks came from may still write to them here, for clients that it still has
// (`move --after forward`).
//
// As long as nobody here has written, they are as good as clients of this host. The first one here
// who writes ends that, before its write changes anything: what comes from there afterwards is
// refused. So at no time do clients of two hosts write.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace vhdxm::tools {

/// Of all disks of one mover. Thread safety: all members may be called from any thread.
class ForwardedWrites {
 public:
  ForwardedWrites();

  /// Disks came by `job`, whose source may forward from here on.
  void allow(const std::string& job);

  /// What a connection that forwards requests of one disk is told.
  struct Session {
    std::uint64_t number = 0;
    std::string export_name;  ///< Nobody else can guess it.
  };
  enum class Refusal : std::uint8_t {
    kNotAllowed,  ///< The disks came by no job of that name, or so long ago that nobody knows.
    kNotYet,      ///< Writes of an earlier session are under way: ask again.
  };
  /// Begins a session for `disk`, and ends an earlier one of it: nothing that was sent by that can
  /// arrive after what this one brings. Returns at once.
  struct Outcome {
    std::optional<Session> session;
    Refusal refusal = Refusal::kNotAllowed;
  };
  Outcome begin(const std::string& job, const std::string& disk);
  /// The same number as long as this process lives, and another one in every process: what was
  /// written and not flushed is lost with it.
  std::uint64_t instance() const { return instance_; }

  struct Meaning {
    std::string disk;
    std::uint64_t session = 0;
  };
  /// What a client means by the name of an export, if it is that of a session.
  std::optional<Meaning> find(const std::string& export_name) const;

  /// A client of this host is about to write: waits for forwarded writes that are under way, and
  /// lets no other in.
  void write_here() {
    if (open_.load(std::memory_order_acquire)) end();
  }
  /// A forwarded write is under way as long as this lives.
  class Pass {
   public:
    Pass(ForwardedWrites& owner, std::uint64_t session)
        : owner_(owner), admitted_(owner.enter(session)) {}
    ~Pass() {
      if (admitted_) owner_.leave();
    }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;
    /// False: the host that forwards may not write any more, by this session or at all.
    bool admitted() const { return admitted_; }

   private:
    ForwardedWrites& owner_;
    const bool admitted_;
  };

 private:
  void end();
  bool enter(std::uint64_t session);
  void leave();

  const std::uint64_t instance_;
  std::atomic<bool> open_ = false;  ///< Forwarded writes may come, or are under way.
  mutable std::mutex mutex_;
  std::condition_variable left_;
  // Protected by mutex_:
  std::string job_;  ///< Empty: nobody may forward.
  bool ended_ = false;
  std::uint64_t under_way_ = 0;
  std::uint64_t sessions_ = 0;
  struct Current {
    std::uint64_t number = 0;
    std::string export_name;
  };
  std::map<std::string, Current> current_;  ///< By disk.
};

}  // namespace vhdxm::tools
