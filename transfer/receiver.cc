#include "transfer/receiver.h"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <map>
#include <set>
#include <utility>

#include "transfer/byte_bridge.h"
#include "transfer/early_message.h"
#include "transfer/receive_job.h"
#include "transfer/unshared_socket.h"

namespace vhdxm::transfer {
namespace {

// Connections that have not proved anything yet. One more, and the oldest is closed: a thousand
// half-open ones cost this many buffers, and a sender, whose handshake takes milliseconds, gets in.
constexpr std::size_t kUnprovenMax = 64;
/// Disks for which requests are forwarded here, at a time.
constexpr std::size_t kForwardsMax = 64;

Error listen_error(const error_code& ec, const std::string& address) {
  return Error{.code = ec, .where = "listening", .subject = address};
}

}  // namespace

const char* to_string(ReceiverEvent::Type type) {
  switch (type) {
    case ReceiverEvent::Type::kJobStarted:
      return "job_started";
    case ReceiverEvent::Type::kProgress:
      return "progress";
    case ReceiverEvent::Type::kDiskResumed:
      return "disk_resumed";
    case ReceiverEvent::Type::kDiskArrived:
      return "disk_arrived";
    case ReceiverEvent::Type::kDiskIdentical:
      return "disk_identical";
    case ReceiverEvent::Type::kMeasured:
      return "measured";
    case ReceiverEvent::Type::kJobDone:
      return "job_done";
    case ReceiverEvent::Type::kJobFailed:
      return "job_failed";
    case ReceiverEvent::Type::kPeerRefused:
      return "peer_refused";
  }
  return "unknown";
}

struct Receiver::Impl {
  Impl(ReceiverOptions given, ReceiverEventFunction event)
      : options(std::move(given)), on_event(std::move(event)) {}

  Result<void> bind();
  asio::awaitable<void> accept_loop();
  asio::awaitable<void> serve(std::shared_ptr<std::unique_ptr<SecureSocket>> connection);
  asio::awaitable<void> serve_control(std::unique_ptr<SecureSocket> socket, Preamble preamble);
  asio::awaitable<void> serve_forward(std::unique_ptr<SecureSocket> socket, Preamble preamble);
  struct Door {
    ForwardWish wish;
    std::optional<Result<ForwardDoor>> found = {};
  };
  asio::awaitable<void> find_door(std::shared_ptr<Door> door);
  asio::awaitable<std::shared_ptr<ReceiveJob>> admit_stream(SecureSocket& socket, Preamble preamble,
                                                            std::uint32_t& stream);
  void refused(const std::string& peer, const Error& error, const std::string& text);
  std::uint64_t memory_taken() const;
  void begin_stop();

  ReceiverOptions options;
  ReceiverEventFunction on_event;
  std::unique_ptr<StorageFolders> folders;
  std::string address;
  std::uint16_t port = 0;

  asio::io_context context{1};
  tcp::acceptor acceptor{context};
  asio::thread_pool workers{2};
  /// Jobs that compare or verify take hours over large disks; the steps of others do not wait for
  /// them.
  asio::thread_pool readers{2};
  asio::steady_timer pause{context};
  // Only on the control thread.
  std::map<JobId, std::shared_ptr<ReceiveJob>> jobs;
  std::set<std::shared_ptr<ByteBridge>> bridges;
  std::size_t forward_count = 0;
  std::deque<SecureSocket*> unproven;  ///< Oldest first.
  std::uint64_t jobs_started = 0;
  bool stopping = false;
  bool done = false;  ///< `once`, and a job ended well.
  std::optional<Failure> last_failure;
};

Result<void> Receiver::Impl::bind() {
  VHDXM_TRY(folders, StorageFolders::open({.into = options.into, .named = options.folders}));
  error_code ec;
  tcp::endpoint endpoint(tcp::v6(), options.port);
  std::string text = endpoint_text("::", options.port);
  if (!options.listen_address.empty()) {
    text = endpoint_text(options.listen_address, options.port);
    const auto parsed = asio::ip::make_address(options.listen_address, ec);
    if (ec) return listen_error(ec, text);
    endpoint = tcp::endpoint(parsed, options.port);
  }
  ec = open_unshared(acceptor, endpoint.protocol());
  if (ec == asio::error::address_family_not_supported && options.listen_address.empty()) {
    endpoint = tcp::endpoint(tcp::v4(), options.port);  // a host without IPv6
    ec = open_unshared(acceptor, endpoint.protocol());
  }
  if (!ec) acceptor.native_non_blocking(true, ec);
  if (!ec) acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
  if (!ec && endpoint.address().is_unspecified() && endpoint.protocol() == tcp::v6()) {
    acceptor.set_option(boost::asio::ip::v6_only(false), ec);
  }
  if (!ec) acceptor.bind(endpoint, ec);
  if (!ec) acceptor.listen(asio::socket_base::max_listen_connections, ec);
  if (ec) return listen_error(ec, text);
  port = acceptor.local_endpoint().port();
  address = endpoint_text(acceptor.local_endpoint());
  return {};
}

asio::awaitable<void> Receiver::Impl::accept_loop() {
  while (!stopping) {
    tcp::socket socket(context);
    auto [ec] = co_await acceptor.async_wait(tcp::acceptor::wait_read, kAsTuple);
    if (stopping) break;
    if (!ec) ec = accept_unshared(acceptor, socket);
    if (ec == asio::error::would_block) continue;  // who waited is gone
    if (ec) {
      // Out of descriptors, or a connection that went away at once: pause, then go on.
      pause.expires_after(std::chrono::milliseconds(100));
      (void)co_await pause.async_wait(kAsTuple);
      continue;
    }
    error_code gone;
    const auto remote = socket.remote_endpoint(gone);
    if (gone) continue;
    // A coroutine takes its arguments by value, and a unique_ptr in one would be taken apart twice
    // by GCC 12: it travels in a shared_ptr.
    auto connection = std::make_shared<std::unique_ptr<SecureSocket>>(
        std::make_unique<SecureSocket>(std::move(socket), endpoint_text(remote)));
    if (unproven.size() >= kUnprovenMax) {
      unproven.front()->abort();
      unproven.pop_front();
    }
    unproven.push_back(connection->get());
    const std::string peer = (*connection)->peer();
    asio::co_spawn(context, serve(connection), [this, peer](const std::exception_ptr& failure) {
      try {
        if (failure) std::rethrow_exception(failure);
      } catch (const TransferError& problem) {
        refused(peer, problem.error(), problem.text());
      } catch (const std::exception& problem) {
        refused(peer, Error{.code = Errc::kProtocol}, problem.what());
      }
    });
  }
}

void Receiver::Impl::refused(const std::string& peer, const Error& error, const std::string& text) {
  if (!on_event || stopping) return;
  on_event(ReceiverEvent{.type = ReceiverEvent::Type::kPeerRefused,
                         .peer = peer,
                         .disk = {},
                         .failure = Failure{.failure_class = classify(error),
                                            .error = error,
                                            .message = text.empty() ? describe(error) : text,
                                            .advice = {}},
                         .progress = std::nullopt});
}

asio::awaitable<void> Receiver::Impl::serve(
    std::shared_ptr<std::unique_ptr<SecureSocket>> connection) {
  SecureSocket& socket = **connection;
  // Until the connection has proved itself it counts among the unproven, whatever becomes of it.
  struct Settle {
    Impl& impl;
    SecureSocket* socket;
    void now() {
      if (socket == nullptr) return;
      std::erase(impl.unproven, std::exchange(socket, nullptr));
    }
    ~Settle() { now(); }
  } settle{*this, &socket};

  socket.set_deadline(options.timeouts.handshake);
  Preamble preamble;
  std::optional<TransferError> bad;
  try {
    preamble = co_await socket.read_preamble();
  } catch (const TransferError& problem) {
    bad = problem;
  }
  if (bad) {
    if (bad->error().code == Errc::kVersion) {
      co_await socket.refuse(Refusal{.reason = RefusalReason::kVersion});
      co_await socket.finish();
    }
    throw *bad;
  }
  if (preamble.kind == ConnectionKind::kJobData) {
    const auto job = jobs.find(preamble.job_id);
    const bool plaintext = job != jobs.end() && job->second->plaintext_data();
    if (!plaintext) co_await socket.accept_secure(preamble, options.key);
    // Without TLS it is the token that proves something.
    std::uint32_t stream = 0;
    const std::shared_ptr<ReceiveJob> owner = co_await admit_stream(socket, preamble, stream);
    settle.now();
    const auto reply = encode(JoinReply{.stream = stream});
    const std::array<asio::const_buffer, 1> buffers = {asio::buffer(reply)};
    co_await socket.write(buffers);
    owner->join(stream, socket.release());
    co_return;
  }
  const bool forwards = preamble.kind == ConnectionKind::kForward && options.forward;
  if (preamble.kind != ConnectionKind::kOffer && !forwards) {
    co_await socket.refuse(Refusal{.reason = RefusalReason::kKind});
    co_await socket.finish();
    throw TransferError(Error{.code = Errc::kRefused,
                              .where = "a kind of connection that this receiver does not take",
                              .found = static_cast<std::uint64_t>(preamble.kind),
                              .subject = socket.peer()},
                        FailureClass::kFailed);
  }
  if (forwards) socket.set_full_duplex();
  co_await socket.accept_secure(preamble, options.key);
  settle.now();
  if (forwards) {
    co_await serve_forward(std::move(*connection), preamble);
    co_return;
  }
  co_await serve_control(std::move(*connection), preamble);
}

asio::awaitable<void> Receiver::Impl::serve_control(std::unique_ptr<SecureSocket> socket,
                                                    Preamble preamble) {
  socket->clear_deadline();
  auto control = std::make_shared<ControlChannel>(std::move(socket), options.timeouts);
  const ReceiverBudget budget = ReceiveJob::budget_of(options);
  const bool busy = jobs.size() >= budget.jobs();
  if (stopping || busy || jobs.contains(preamble.job_id)) {
    const Errc errc = busy ? Errc::kBusy : Errc::kRefused;
    control->start_writer();
    control->send(
        Fail{.code = static_cast<std::uint16_t>(errc),
             .text = busy ? fmt::format("This receiver has {} jobs, as many as it takes at a time.",
                                        jobs.size())
                          : "This receiver does not take the job."});
    co_await control->finish();
    co_return;
  }
  const ReceiveJob::Setting setting{
      .options = options,
      .folders = *folders,
      .context = context,
      .workers = workers,
      .readers = readers,
      .memory_bytes = budget.next_share(memory_taken(), static_cast<unsigned>(jobs.size())),
      .on_event = on_event};
  const auto job = std::make_shared<ReceiveJob>(setting, ++jobs_started, preamble, control);
  jobs.emplace(preamble.job_id, job);
  co_await job->run();
  jobs.erase(preamble.job_id);
  if (job->succeeded()) {
    last_failure.reset();
    if (options.once && !job->measured()) {
      done = true;
      begin_stop();
    }
  } else {
    last_failure = job->failure();
  }
}

/// On a worker: it may block.
asio::awaitable<void> Receiver::Impl::find_door(std::shared_ptr<Door> door) {
  door->found.emplace(options.forward(door->wish));
  co_return;
}

asio::awaitable<void> Receiver::Impl::serve_forward(std::unique_ptr<SecureSocket> socket,
                                                    Preamble preamble) {
  const Message message = co_await read_early_message(*socket);
  const auto* const open = std::get_if<ForwardOpen>(&message);
  if (open == nullptr || open->preamble != encode(preamble)) {
    throw TransferError(Error{.code = Errc::kProtocol,
                              .where = "ForwardOpen, with the preamble of the connection",
                              .subject = socket->peer()},
                        FailureClass::kFailed);
  }
  struct Count {
    std::size_t& all;
    explicit Count(std::size_t& given) : all(given) { ++all; }
    ~Count() { --all; }
  } count(forward_count);
  const auto door = std::make_shared<Door>(
      Door{.wish = {.job = preamble.job_id, .folder = open->folder, .name = open->name}});
  if (stopping || forward_count > kForwardsMax) {
    door->found.emplace(
        Error{.code = Errc::kBusy, .where = "as many requests are forwarded here as can be"});
  } else {
    co_await asio::co_spawn(workers, find_door(door), asio::use_awaitable);
  }
  ByteBridge::LocalSocket local(context);
  Message answer;
  if (door->found->has_error()) {
    const Error& error = door->found->error();
    answer = Fail{.code = fail_code(error), .text = describe(error)};
  } else {
    local.assign(asio::local::stream_protocol(), (*door->found)->socket);
    answer = (*door->found)->ready;
  }
  co_await write_early_message(*socket, answer);
  if (!local.is_open()) {
    co_await socket->finish();
    co_return;
  }
  socket->clear_deadline();
  const auto bridge = std::make_shared<ByteBridge>(std::move(socket), std::move(local));
  bridges.insert(bridge);
  if (stopping) bridge->stop();
  co_await bridge->run();
  bridges.erase(bridge);
}

asio::awaitable<std::shared_ptr<ReceiveJob>> Receiver::Impl::admit_stream(SecureSocket& socket,
                                                                          Preamble preamble,
                                                                          std::uint32_t& stream) {
  std::vector<std::byte> bytes(encode(Join{}).size());
  if (!co_await socket.read_exact(bytes)) {
    throw TransferError(
        Error{.code = Errc::kPeerClosed, .where = "before Join", .subject = socket.peer()},
        FailureClass::kNetwork);
  }
  MessageReader reader;
  reader.feed(bytes);
  auto message = reader.next();
  const Join* join = nullptr;
  if (!message.has_error() && message->has_value()) join = std::get_if<Join>(&**message);
  const auto job = jobs.find(preamble.job_id);
  const char* problem = nullptr;
  if (join == nullptr) {
    problem = "Join";
  } else if (join->preamble != encode(preamble)) {
    problem = "Join: not the preamble that the connection began with";
  } else if (job == jobs.end() || !job->second->may_join(*join)) {
    problem = "Join: no such job, or a token that was not granted or is used up";
  }
  if (problem != nullptr) {
    throw TransferError(
        Error{.code = Errc::kAuthentication, .where = problem, .subject = socket.peer()},
        FailureClass::kAuthentication);
  }
  stream = join->stream;
  co_return job->second;
}

std::uint64_t Receiver::Impl::memory_taken() const {
  std::uint64_t sum = 0;
  for (const auto& [id, job] : jobs) sum += job->memory_bytes();
  return sum;
}

void Receiver::Impl::begin_stop() {
  stopping = true;
  error_code ignored;
  acceptor.close(ignored);
  pause.cancel();
  for (SecureSocket* socket : unproven) socket->abort();
  for (const auto& bridge : bridges) bridge->stop();
  const auto running = jobs;  // a job that ends takes itself out
  for (const auto& [id, job] : running) job->stop();
  // run() returns when the last of them is gone: a connection's coroutine must not outlive this.
}

Result<std::unique_ptr<Receiver>> Receiver::bind(ReceiverOptions options,
                                                 ReceiverEventFunction on_event) {
  auto impl = std::make_unique<Impl>(std::move(options), std::move(on_event));
  VHDXM_TRY_VOID(impl->bind());
  return std::unique_ptr<Receiver>(new Receiver(std::move(impl)));
}

Receiver::Receiver(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Receiver::~Receiver() {
  if (!impl_) return;
  impl_->workers.join();
  impl_->readers.join();
}

const std::string& Receiver::address() const {
  return impl_->address;
}

std::uint16_t Receiver::port() const {
  return impl_->port;
}

std::optional<Failure> Receiver::run() {
  asio::co_spawn(impl_->context, impl_->accept_loop(), [](const std::exception_ptr&) {});
  impl_->context.run();
  impl_->workers.join();
  impl_->readers.join();
  if (impl_->options.once && !impl_->done) return impl_->last_failure;
  return std::nullopt;
}

void Receiver::stop() {
  asio::post(impl_->context, [this] {
    if (!impl_->stopping) impl_->begin_stop();
  });
}

}  // namespace vhdxm::transfer
