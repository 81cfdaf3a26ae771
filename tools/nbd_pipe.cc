#include "tools/nbd_pipe.h"

#include <libnbd.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "base/signal_free_thread.h"

namespace vhdxm::tools {
namespace {

/// One request: of who waits for it, and of libnbd.
struct Asked {
  std::mutex mutex;
  std::condition_variable answered;
  bool done = false;
  int error = 0;

  void finish(int how) {
    const std::lock_guard lock(mutex);
    if (std::exchange(done, true)) return;
    error = how;
    answered.notify_all();
  }
  int wait() {
    std::unique_lock lock(mutex);
    answered.wait(lock, [this] { return done; });
    return error;
  }
};

using SharedAsked = std::shared_ptr<Asked>;

/// 1: libnbd forgets the request then.
int on_answer(void* asked, int* error) {
  (*static_cast<SharedAsked*>(asked))->finish(*error);
  return 1;
}

/// In any case, the last that libnbd does with a request: one that was not answered never will be.
void on_forget(void* asked) {
  const std::unique_ptr<SharedAsked> one(static_cast<SharedAsked*>(asked));
  (*one)->finish(ENOTCONN);
}

Error nbd_error(const char* where) {
  const int number = nbd_get_errno();
  errno = number == 0 ? EIO : number;
  return errno_error(where);
}

std::uint32_t fua(bool force_unit_access) {
  return force_unit_access ? LIBNBD_CMD_FLAG_FUA : 0;
}

}  // namespace

struct NbdPipe::Impl {
  ~Impl() {
    nbd_close(handle);
    if (wake >= 0) ::close(wake);
  }

  void loop();
  void stir() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t told = ::write(wake, &one, sizeof one);
  }
  bool is_over() const {
    return stopping || nbd_aio_is_dead(handle) != 0 || nbd_aio_is_closed(handle) != 0;
  }
  template <class Start>
  Result<void> ask(const char* where, Start start);

  nbd_handle* handle = nullptr;
  int wake = -1;
  std::atomic<bool> stopping = false;
  std::mutex end_mutex;
  bool ended = false;  ///< Nobody looks after the connection any more. Protected by end_mutex.
  std::thread thread;
};

void NbdPipe::Impl::loop() {
  while (!is_over()) {
    const unsigned direction = nbd_aio_get_direction(handle);
    const bool reads = (direction & LIBNBD_AIO_DIRECTION_READ) != 0;
    const bool writes = (direction & LIBNBD_AIO_DIRECTION_WRITE) != 0;
    const auto events = static_cast<short>((reads ? POLLIN : 0) | (writes ? POLLOUT : 0));
    pollfd fds[2] = {{.fd = nbd_aio_get_fd(handle), .events = events, .revents = 0},
                     {.fd = wake, .events = POLLIN, .revents = 0}};
    if (::poll(fds, 2, -1) < 0) continue;  // by a signal
    if (fds[1].revents != 0) {
      std::uint64_t count = 0;
      [[maybe_unused]] const ssize_t drained = ::read(wake, &count, sizeof count);
    }
    constexpr short kEnded = POLLHUP | POLLERR;
    // What fails here has made the connection dead, and the requests with it.
    if (reads && (fds[0].revents & (POLLIN | kEnded)) != 0) {
      (void)nbd_aio_notify_read(handle);
    } else if (writes && (fds[0].revents & (POLLOUT | kEnded)) != 0) {
      (void)nbd_aio_notify_write(handle);
    }
  }
  const std::lock_guard lock(end_mutex);
  ended = true;
  // Who still waits is told by this.
  nbd_close(std::exchange(handle, nullptr));
}

/// `start` hands the request to libnbd with the completion that it is given.
template <class Start>
Result<void> NbdPipe::Impl::ask(const char* where, Start start) {
  const auto asked = std::make_shared<Asked>();
  {
    const std::lock_guard lock(end_mutex);
    errno = ENOTCONN;
    if (ended || stopping) return errno_error(where);
    nbd_completion_callback done{};
    done.callback = on_answer;
    done.free = on_forget;
    done.user_data = new SharedAsked(asked);
    if (start(handle, done) < 0) {
      // Of a connection that has just died libnbd says EINVAL, or nothing.
      if (is_over()) {
        errno = ENOTCONN;
        return errno_error(where);
      }
      return nbd_error(where);
    }
  }
  stir();
  errno = asked->wait();
  if (errno == 0) return {};
  return errno_error(where);
}

Result<std::unique_ptr<NbdPipe>> NbdPipe::connect(int socket, const std::string& export_name) {
  auto impl = std::make_unique<Impl>();
  impl->handle = nbd_create();
  if (impl->handle == nullptr) {
    ::close(socket);
    return nbd_error("make an NBD client");
  }
  impl->wake = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (impl->wake < 0) {
    ::close(socket);
    return errno_error("make an event");
  }
  // What clients ask for was looked at by whoever they asked; the server looks again.
  nbd_set_strict_mode(impl->handle, 0);
  if (nbd_set_export_name(impl->handle, export_name.c_str()) != 0 ||
      nbd_set_request_structured_replies(impl->handle, false) != 0) {
    ::close(socket);
    return nbd_error("choose an export");
  }
  // Takes the socket, whatever comes of it.
  if (nbd_connect_socket(impl->handle, socket) != 0) return nbd_error("connect by NBD");
  impl->thread = signal_free_thread([self = impl.get()] { self->loop(); });
  return std::unique_ptr<NbdPipe>(new NbdPipe(std::move(impl)));
}

NbdPipe::NbdPipe(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

NbdPipe::~NbdPipe() {
  stop();
  impl_->thread.join();
}

void NbdPipe::stop() {
  impl_->stopping = true;
  impl_->stir();
}

std::uint64_t NbdPipe::size_bytes() const {
  const std::lock_guard lock(impl_->end_mutex);
  const std::int64_t size = impl_->ended ? 0 : nbd_get_size(impl_->handle);
  return size < 0 ? 0 : static_cast<std::uint64_t>(size);
}

Result<void> NbdPipe::read(std::uint64_t offset, std::span<std::byte> out) {
  return impl_->ask("read by NBD", [&](nbd_handle* handle, nbd_completion_callback done) {
    return nbd_aio_pread(handle, out.data(), out.size(), offset, done, 0);
  });
}

Result<void> NbdPipe::write(std::uint64_t offset, std::span<const std::byte> bytes,
                            bool force_unit_access) {
  return impl_->ask("write by NBD", [&](nbd_handle* handle, nbd_completion_callback done) {
    return nbd_aio_pwrite(handle, bytes.data(), bytes.size(), offset, done, fua(force_unit_access));
  });
}

Result<void> NbdPipe::zero(std::uint64_t offset, std::uint64_t length, bool may_trim,
                           bool force_unit_access) {
  const std::uint32_t room = may_trim ? 0 : LIBNBD_CMD_FLAG_NO_HOLE;
  return impl_->ask("zero by NBD", [&](nbd_handle* handle, nbd_completion_callback done) {
    return nbd_aio_zero(handle, length, offset, done, room | fua(force_unit_access));
  });
}

Result<void> NbdPipe::trim(std::uint64_t offset, std::uint64_t length, bool force_unit_access) {
  return impl_->ask("trim by NBD", [&](nbd_handle* handle, nbd_completion_callback done) {
    return nbd_aio_trim(handle, length, offset, done, fua(force_unit_access));
  });
}

Result<void> NbdPipe::flush() {
  return impl_->ask("flush by NBD", [](nbd_handle* handle, nbd_completion_callback done) {
    return nbd_aio_flush(handle, done, 0);
  });
}

}  // namespace vhdxm::tools
