#include "tools/disk_forwarder.h"

#include <fmt/format.h>

#include <cerrno>
#include <utility>

#include "transfer/secure_socket.h"
#include "transfer/storage_folders.h"

namespace vhdxm::tools {
namespace {

constexpr std::chrono::milliseconds kConnectAgain{250};

using transfer::LiveDisk;

bool is_lost(const Error& error) {
  return error.code.value() == ENOTCONN &&
         error.code.category() == boost::system::system_category();
}

}  // namespace

DiskForwarder::DiskForwarder(transfer::ForwardTarget target, Patience patience)
    : patience_(patience), target_(std::move(target)) {}

DiskForwarder::~DiskForwarder() = default;

void DiskForwarder::handed_over(const transfer::JobId& job) {
  const std::lock_guard lock(mutex_);
  target_.job = job;
  is_there_ = true;
  changed_.notify_all();
}

void DiskForwarder::rest() {
  std::shared_ptr<Connection> last;
  const std::lock_guard lock(mutex_);
  last = std::exchange(connection_, nullptr);
}

void DiskForwarder::stop() {
  std::shared_ptr<Connection> last;
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    last = std::exchange(connection_, nullptr);
    changed_.notify_all();
  }
  if (last != nullptr) last->pipe->stop();
}

/// mutex_ is held.
Error DiskForwarder::failure(const char* where) const {
  errno = EIO;
  Error error = errno_error(where);
  error.subject = fmt::format("{} at {}{}{}", transfer::text_of_place(target_.folder, target_.name),
                              transfer::endpoint_text(target_.host, target_.port),
                              problem_.empty() ? "" : ": ", problem_);
  return error;
}

/// The connection that there is, or one that this call makes; one call at a time does.
Result<std::shared_ptr<DiskForwarder::Connection>> DiskForwarder::connected(
    Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (stopped_) return failure("forward what a client asks for: the disk is being closed");
    if (for_good_) return failure("forward what a client asks for");
    if (connection_ != nullptr) return connection_;
    if (Clock::now() >= deadline) {
      return failure(is_there_ ? "forward what a client asks for: the host does not take it"
                               : "forward what a client asks for: the hand-over does not end");
    }
    if (!is_there_ || connecting_) {
      changed_.wait_until(lock, deadline);
      continue;
    }
    connect(lock);
    if (connection_ == nullptr && !for_good_) {
      changed_.wait_until(lock, std::min(deadline, Clock::now() + kConnectAgain));
    }
  }
}

void DiskForwarder::connect(std::unique_lock<std::mutex>& lock) {
  connecting_ = true;
  const transfer::ForwardTarget target = target_;
  lock.unlock();
  auto made = connection_to(target);
  lock.lock();
  connecting_ = false;
  changed_.notify_all();
  if (made.has_error()) {
    problem_ = made.error().message;
    // What breaks on the way may work the next time; what that host says no to does not.
    for_good_ = made.error().failure_class != transfer::FailureClass::kNetwork &&
                made.error().error.code != transfer::make_error_code(transfer::Errc::kBusy);
    return;
  }
  const std::uint64_t instance = (*made)->link->ready().instance;
  if (instance_ && *instance_ != instance) {
    problem_ =
        "the program that has the disk there was started anew: what was written and not flushed "
        "is lost";
    for_good_ = true;
    return;
  }
  instance_ = instance;
  problem_.clear();
  if (!stopped_) connection_ = std::move(*made);
}

boost::system::result<std::shared_ptr<DiskForwarder::Connection>, transfer::Failure>
DiskForwarder::connection_to(const transfer::ForwardTarget& target) {
  auto link = transfer::ForwardLink::open(target);
  if (link.has_error()) return link.error();
  auto connection = std::make_shared<Connection>();
  connection->link = std::move(*link);
  auto pipe =
      NbdPipe::connect(connection->link->take_socket(), connection->link->ready().export_name);
  if (pipe.has_error()) {
    return transfer::Failure{.failure_class = transfer::FailureClass::kNetwork,
                             .error = pipe.error(),
                             .message = describe(pipe.error()),
                             .advice = {}};
  }
  connection->pipe = std::move(*pipe);
  return connection;
}

void DiskForwarder::lose(const std::shared_ptr<Connection>& connection) {
  const std::lock_guard lock(mutex_);
  if (connection_ == connection) connection_ = nullptr;
}

template <class Ask>
Result<void> DiskForwarder::ask(Ask ask) {
  const auto deadline = Clock::now() + patience_;
  for (;;) {
    VHDXM_TRY(const auto connection, connected(deadline));
    auto result = ask(*connection->pipe);
    if (!result.has_error() || !is_lost(result.error())) return result;
    lose(connection);
  }
}

Result<void> DiskForwarder::read(std::uint64_t offset, std::span<std::byte> out) {
  return ask([&](NbdPipe& pipe) { return pipe.read(offset, out); });
}

Result<void> DiskForwarder::write(std::uint64_t offset, std::span<const std::byte> bytes,
                                  LiveDisk::Durability durability) {
  return ask([&](NbdPipe& pipe) {
    return pipe.write(offset, bytes, durability == LiveDisk::Durability::kNow);
  });
}

Result<void> DiskForwarder::write_zeroes(std::uint64_t offset, std::uint64_t length,
                                         LiveDisk::Zeroing zeroing,
                                         LiveDisk::Durability durability) {
  return ask([&](NbdPipe& pipe) {
    return pipe.zero(offset, length, zeroing == LiveDisk::Zeroing::kMayTrim,
                     durability == LiveDisk::Durability::kNow);
  });
}

Result<void> DiskForwarder::trim(std::uint64_t offset, std::uint64_t length,
                                 LiveDisk::Durability durability) {
  return ask([&](NbdPipe& pipe) {
    return pipe.trim(offset, length, durability == LiveDisk::Durability::kNow);
  });
}

Result<void> DiskForwarder::flush() {
  return ask([](NbdPipe& pipe) { return pipe.flush(); });
}

}  // namespace vhdxm::tools
