#include "transfer/forward_link.h"

#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <exception>
#include <optional>
#include <thread>
#include <utility>

#include "base/signal_free_thread.h"
#include "transfer/byte_bridge.h"
#include "transfer/early_message.h"
#include "transfer/send_setup.h"

namespace vhdxm::transfer {

struct ForwardLink::Impl {
  explicit Impl(const ForwardTarget& given) : target(given) {}
  ~Impl() {
    if (client_end >= 0) ::close(client_end);
  }

  boost::system::result<void, Failure> connect();
  asio::awaitable<void> ask();
  Result<void> start();

  const ForwardTarget target;
  asio::io_context context{1};
  std::unique_ptr<SecureSocket> socket;
  ForwardReady ready;
  int client_end = -1;
  std::shared_ptr<ByteBridge> bridge;
  std::thread thread;
};

asio::awaitable<void> ForwardLink::Impl::ask() {
  tcp::socket connected =
      co_await connect_to(context, target.host, target.port, target.timeouts.handshake);
  socket =
      std::make_unique<SecureSocket>(std::move(connected), endpoint_text(target.host, target.port));
  socket->set_full_duplex();
  socket->set_deadline(target.timeouts.handshake);
  const Preamble preamble{.kind = ConnectionKind::kForward, .job_id = target.job};
  co_await socket->connect_secure(preamble, target.key, false);
  // The receiver asks a program of its host, which may have to wait for the disk's.
  socket->set_deadline(2 * target.timeouts.handshake);
  const Message wish =
      ForwardOpen{.preamble = encode(preamble), .folder = target.folder, .name = target.name};
  co_await write_early_message(*socket, wish);
  const Message message = co_await read_early_message(*socket);
  if (const auto* const fail = std::get_if<Fail>(&message)) {
    const Error error{.code = static_cast<Errc>(fail->code), .where = "forwarding"};
    throw TransferError(error, classify(error), fail->text);
  }
  const auto* const answer = std::get_if<ForwardReady>(&message);
  if (answer == nullptr) {
    throw TransferError(Error{.code = Errc::kProtocol,
                              .where = "an answer to ForwardOpen",
                              .subject = socket->peer()},
                        FailureClass::kFailed);
  }
  ready = *answer;
  socket->clear_deadline();
}

boost::system::result<void, Failure> ForwardLink::Impl::connect() {
  std::optional<Failure> failure;
  asio::co_spawn(context, ask(), [this, &failure](const std::exception_ptr& thrown) {
    if (thrown) socket.reset();  // its deadline would be waited for
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const TransferError& problem) {
      failure = failure_from(problem.failure_class(), problem.error(), problem.text());
    } catch (const std::exception& problem) {
      failure = failure_from(FailureClass::kFailed, Error{.code = Errc::kProtocol}, problem.what());
    }
  });
  context.run();
  if (failure) return std::move(*failure);
  if (auto started = start(); started.has_error()) {
    return failure_from(FailureClass::kFailed, started.error(), {});
  }
  return {};
}

Result<void> ForwardLink::Impl::start() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return errno_error("make a pair of sockets");
  }
  client_end = ends[0];
  ByteBridge::LocalSocket local(context, asio::local::stream_protocol(), ends[1]);
  bridge = std::make_shared<ByteBridge>(std::move(socket), std::move(local));
  context.restart();
  asio::co_spawn(context, bridge->run(), [](const std::exception_ptr&) {});
  thread = signal_free_thread([this] { context.run(); });
  return {};
}

ForwardLink::ForwardLink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

boost::system::result<std::unique_ptr<ForwardLink>, Failure> ForwardLink::open(
    const ForwardTarget& target) {
  auto impl = std::make_unique<Impl>(target);
  if (auto connected = impl->connect(); connected.has_error()) return connected.error();
  return std::unique_ptr<ForwardLink>(new ForwardLink(std::move(impl)));
}

ForwardLink::~ForwardLink() {
  asio::post(impl_->context, [bridge = impl_->bridge] { bridge->stop(); });
  impl_->thread.join();
}

const ForwardReady& ForwardLink::ready() const {
  return impl_->ready;
}

int ForwardLink::take_socket() {
  return std::exchange(impl_->client_end, -1);
}

}  // namespace vhdxm::transfer
