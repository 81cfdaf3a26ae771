// The disks that a mover holds, behind one gate, and who uses each.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/arriving_disk.h"
#include "tools/elsewhere_disk.h"
#include "transfer/live_disk.h"

namespace vhdxm::tools {

/// One disk that is open, or will be when it has arrived. Clients hold it as long as they are
/// connected, after its end too.
class MoverDisk {
 public:
  MoverDisk(std::string name, std::string path, bool read_only,
            std::shared_ptr<transfer::LiveDisk> live)
      : name_(std::move(name)),
        path_(std::move(path)),
        read_only_(read_only),
        live_(std::move(live)) {}
  MoverDisk(std::string name, std::string path, ArrivingDisk arriving)
      : name_(std::move(name)),
        path_(std::move(path)),
        read_only_(false),
        arriving_(std::move(arriving)),
        has_arrived_(false) {}

  const std::string& name() const { return name_; }
  const std::string& path() const { return path_; }
  bool read_only() const { return read_only_; }
  /// Null until it has arrived, after let_go(), and in tests that have no file. Requires, where the
  /// disk may be closed meanwhile: a Request that may go on.
  const std::shared_ptr<transfer::LiveDisk>& live() const { return live_; }
  /// What there is instead of live() until it has arrived; then null.
  const ArrivingDisk* arriving() const { return has_arrived_ ? nullptr : &*arriving_; }
  /// It is `live` from here on, for those too who are connected. False, and nothing has changed:
  /// that is another disk than they were told of. Requires: arriving(). Thread safety: once.
  bool arrive(std::shared_ptr<transfer::LiveDisk> live);

  /// What clients are to be given when the gate is fenced; null: nothing but reads of what is here.
  void set_elsewhere(std::shared_ptr<ElsewhereDisk> disk);
  /// That, if the gate is fenced; else null. Requires: live().
  std::shared_ptr<ElsewhereDisk> elsewhere();
  /// No client is left for now.
  void rest();

  /// What a client asks for is under way as long as this lives. Thread safety: any thread.
  class Request {
   public:
    explicit Request(MoverDisk& disk) : disk_(disk) { ++disk_.requests_; }
    ~Request() {
      if (--disk_.requests_ == 0 && disk_.closing_) disk_.requests_.notify_all();
    }
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;
    /// False: the disk is being closed, and must not be asked.
    bool may_go_on() const { return !disk_.closing_; }

   private:
    MoverDisk& disk_;
  };

  /// Lets nothing new in, waits for what is under way, and closes the disk. Thread safety: once.
  Result<void> close();
  /// After that: others may open the file, though clients are still connected.
  void let_go() { live_.reset(); }

 private:
  const std::string name_;
  const std::string path_;
  const bool read_only_;
  const std::optional<ArrivingDisk> arriving_;
  std::shared_ptr<transfer::LiveDisk> live_;
  std::atomic<bool> has_arrived_ = true;  ///< Then live_ is set.
  std::atomic<std::uint64_t> requests_ = 0;
  std::atomic<bool> closing_ = false;
  std::mutex elsewhere_mutex_;
  std::shared_ptr<ElsewhereDisk> elsewhere_;  ///< Protected by elsewhere_mutex_.
  std::atomic<bool> has_elsewhere_ = false;   ///< Whether it is worth a look.
};

/// Thread safety: all members may be called from any thread; open() from one at a time.
class MoverDisks {
 public:
  struct Wish {
    std::string name;  ///< In the service's list of disks.
    std::string path;
    bool read_only = false;
  };
  /// Whether this host may write to the disk. Errors: those of migration::check_owner_record().
  using Check = std::function<Result<void>(const Wish&)>;

  /// `group`: the disks are told apart by their names, which clients ask for. Else there is one
  /// disk, and any name is it.
  explicit MoverDisks(bool group) : group_(group) {}

  /// Opens all of them, or none. Errors: BaseErrc::kInvalidArgument of a name that is there
  /// already, or of a second disk of no group; those of `check` and of LiveDisk::open().
  Result<void> open(const std::vector<Wish>& wishes, const Check& check);
  /// One that is open. Requires: its gate is gate().
  void add(std::shared_ptr<MoverDisk> disk);

  /// These are arriving: clients may connect to them as soon as there is something of them, and
  /// open() makes disks of them. In place of those of the call before.
  void expect(const std::vector<Wish>& wishes);
  /// The names of those that were not opened yet.
  std::vector<std::string> expected() const;

  struct View {
    std::shared_ptr<MoverDisk> disk;
    std::uint64_t clients = 0;
  };
  /// Those that are open, in the order in which they were.
  std::vector<View> list() const;
  std::optional<View> find(const std::string& name) const;
  std::uint64_t clients() const;
  bool is_group() const { return group_; }
  const std::shared_ptr<transfer::SharedGate>& gate() const { return gate_; }

  /// What a client means by the name of an export; null: nothing.
  std::shared_ptr<MoverDisk> client_opens(const std::string& export_name);
  /// Returns how many clients it still has.
  std::uint64_t client_closes(const MoverDisk& disk);
  /// Forgets a disk, which may still have clients. Null if it is not there.
  std::shared_ptr<MoverDisk> take(const std::string& name);

 private:
  struct Entry {
    std::shared_ptr<MoverDisk> disk;
    std::uint64_t clients = 0;
  };
  struct Expected {
    Wish wish;
    Entry entry = {};  ///< Without a disk, as long as no client came.
  };
  std::shared_ptr<MoverDisk> client_expects(Expected& expected);
  bool enter(std::shared_ptr<MoverDisk> opened);

  const bool group_;
  const std::shared_ptr<transfer::SharedGate> gate_ = std::make_shared<transfer::SharedGate>();
  mutable std::mutex mutex_;
  // Protected by mutex_:
  std::vector<Entry> disks_;
  std::vector<Expected> expected_;
};

}  // namespace vhdxm::tools
