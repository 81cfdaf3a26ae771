#include "tools/http_server.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <exception>
#include <optional>
#include <set>
#include <thread>
#include <utility>

namespace vhdxm::tools {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;
using Local = asio::local::stream_protocol;
using Stream = beast::basic_stream<Local>;
using Parser = http::request_parser<http::string_body>;
using Response = http::response<http::string_body>;

constexpr std::size_t kSocketNameMax = sizeof(sockaddr_un{}.sun_path) - 1;
constexpr auto kAwaitTuple = asio::as_tuple(asio::use_awaitable);
/// How often a client that waits for news is asked after.
constexpr std::chrono::milliseconds kLookAgain{50};

HttpReply reply_to_bad_request(const error_code& ec) {
  if (ec == http::error::body_limit) {
    return error_reply(413, "too_large", "the body of the request is too large",
                       "No request of this interface needs that much.");
  }
  if (ec == http::error::header_limit) {
    return error_reply(431, "too_large", "the header of the request is too large",
                       "No request of this interface needs that much.");
  }
  return error_reply(400, "bad_request", fmt::format("this is no HTTP request: {}", ec.message()),
                     "docs/control-api.md shows how to ask, with curl.");
}

Response response_of(const HttpReply& reply, unsigned version, bool keep_alive) {
  Response response(static_cast<http::status>(reply.status), version);
  response.set(http::field::content_type, reply.content_type);
  response.set(http::field::cache_control, "no-store");
  if (!reply.allow.empty()) response.set(http::field::allow, reply.allow);
  response.keep_alive(keep_alive);
  response.body() = reply.body;
  response.prepare_payload();
  return response;
}

}  // namespace

struct HttpServer::Impl {
  Impl(Options given, Handler answer)
      : options(std::move(given)), handler(std::move(answer)), workers(options.workers) {}

  Result<void> listen();
  asio::awaitable<void> accept_loop();
  asio::awaitable<void> serve(std::shared_ptr<Stream> stream);
  /// Reads, answers and writes one request. False: the connection ends.
  asio::awaitable<bool> serve_one(std::shared_ptr<Stream> stream,
                                  std::shared_ptr<beast::flat_buffer> buffer);
  asio::awaitable<HttpReply> answer(std::shared_ptr<HttpRequest> request);
  asio::awaitable<void> answer_by_worker(std::shared_ptr<HttpRequest> request,
                                         std::shared_ptr<HttpReply> reply);
  void begin_stop();

  const Options options;
  const Handler handler;
  asio::io_context context{1};
  Local::acceptor acceptor{context};
  asio::steady_timer room{context};  ///< Waited on while there are too many connections.
  asio::thread_pool workers;
  std::set<std::shared_ptr<Stream>> connections;  ///< Only on the context's thread.
  bool stopping = false;                          ///< The same.
  ino_t inode = 0;
  std::thread thread;
};

Result<void> HttpServer::Impl::listen() {
  const auto failed = [&](const error_code& ec) {
    return Error{.code = ec, .where = "listening", .subject = options.socket};
  };
  error_code ec;
  if (options.socket.size() > kSocketNameMax) {
    return failed(make_error_code(boost::system::errc::filename_too_long));
  }
  Local::socket other(context);
  other.connect(Local::endpoint(options.socket), ec);
  if (!ec) return failed(make_error_code(boost::system::errc::address_in_use));
  ::unlink(options.socket.c_str());  // of a service that was killed
  ec.clear();
  acceptor.open(Local(), ec);
  if (ec) return failed(ec);
  // Nobody gets in between bind() and chmod(): umask is the process's, so it is set back at once.
  const mode_t before = ::umask(0777 & ~options.mode);
  acceptor.bind(Local::endpoint(options.socket), ec);
  ::umask(before);
  if (!ec) acceptor.listen(asio::socket_base::max_listen_connections, ec);
  if (ec) return failed(ec);
  struct stat status {};
  if (::lstat(options.socket.c_str(), &status) == 0) inode = status.st_ino;
  return {};
}

asio::awaitable<void> HttpServer::Impl::accept_loop() {
  while (!stopping) {
    if (connections.size() >= options.connections_max) {
      room.expires_after(std::chrono::seconds(1));
      (void)co_await room.async_wait(kAwaitTuple);
      continue;
    }
    Local::socket socket(context);
    auto [ec] = co_await acceptor.async_accept(socket, kAwaitTuple);
    if (stopping) break;
    if (ec) {
      room.expires_after(std::chrono::milliseconds(100));  // out of descriptors: others end
      (void)co_await room.async_wait(kAwaitTuple);
      continue;
    }
    auto stream = std::make_shared<Stream>(std::move(socket));
    connections.insert(stream);
    const auto ended = [this, stream](const std::exception_ptr&) {
      // What a connection ends by is its own affair.
      connections.erase(stream);
      room.cancel();
    };
    asio::co_spawn(context, serve(stream), ended);
  }
}

asio::awaitable<void> HttpServer::Impl::serve(std::shared_ptr<Stream> stream) {
  const auto buffer =
      std::make_shared<beast::flat_buffer>(options.header_bytes_max + options.body_bytes_max);
  bool goes_on = true;
  while (goes_on && !stopping) goes_on = co_await serve_one(stream, buffer);
  error_code ignored;
  stream->socket().shutdown(Local::socket::shutdown_send, ignored);
}

asio::awaitable<bool> HttpServer::Impl::serve_one(std::shared_ptr<Stream> stream,
                                                  std::shared_ptr<beast::flat_buffer> buffer) {
  Parser parser;
  parser.header_limit(static_cast<std::uint32_t>(options.header_bytes_max));
  parser.body_limit(options.body_bytes_max);
  // One deadline for the whole request: a byte now and then does not move it.
  stream->expires_after(options.patience);
  const auto [ec, read] = co_await http::async_read(*stream, *buffer, parser, kAwaitTuple);
  HttpReply reply;
  bool keep_alive = false;
  if (ec) {
    // Nothing was asked, or nobody is there to be told.
    if (ec.category() != make_error_code(http::error::bad_method).category() ||
        ec == http::error::end_of_stream || ec == http::error::partial_message) {
      co_return false;
    }
    reply = reply_to_bad_request(ec);
  } else {
    auto message = parser.release();
    keep_alive = message.keep_alive();
    auto target = parse_target(std::string(message.target()));
    if (!target) {
      reply = error_reply(400, "bad_request", "the target of the request is malformed",
                          "docs/control-api.md has all resources.");
    } else {
      auto request =
          std::make_shared<HttpRequest>(HttpRequest{.method = std::string(message.method_string()),
                                                    .path = std::move(target->path),
                                                    .query = std::move(target->query),
                                                    .body = std::move(message.body())});
      stream->expires_never();
      reply = co_await answer(std::move(request));
    }
  }
  const auto response = std::make_shared<Response>(response_of(reply, 11, keep_alive && !stopping));
  stream->expires_after(options.patience);
  const auto [failed, written] = co_await http::async_write(*stream, *response, kAwaitTuple);
  co_return !failed && keep_alive;
}

asio::awaitable<HttpReply> HttpServer::Impl::answer(std::shared_ptr<HttpRequest> request) {
  const auto begin = std::chrono::steady_clock::now();
  const auto reply = std::make_shared<HttpReply>();
  for (;;) {
    co_await answer_by_worker(request, reply);
    const bool waits =
        reply->wait && !stopping && std::chrono::steady_clock::now() - begin < *reply->wait;
    if (!waits) co_return std::move(*reply);
    asio::steady_timer timer(context, kLookAgain);
    (void)co_await timer.async_wait(kAwaitTuple);
  }
}

asio::awaitable<void> HttpServer::Impl::answer_by_worker(std::shared_ptr<HttpRequest> request,
                                                         std::shared_ptr<HttpReply> reply) {
  // There and back again: what follows a co_await of post() runs where it says.
  co_await asio::post(asio::bind_executor(workers, asio::use_awaitable));
  try {
    *reply = handler(*request);
  } catch (const std::exception& error) {
    *reply = error_reply(500, "unexpected", fmt::format("unexpected failure: {}", error.what()),
                         "This is a defect; please report it with the request.");
  }
  co_await asio::post(asio::bind_executor(context, asio::use_awaitable));
}

void HttpServer::Impl::begin_stop() {
  stopping = true;
  error_code ignored;
  acceptor.close(ignored);
  room.cancel();
  // Those that are being answered, get their answer; who only waits to ask, does not.
  for (const auto& stream : connections) {
    stream->socket().shutdown(Local::socket::shutdown_receive, ignored);
  }
}

Result<std::unique_ptr<HttpServer>> HttpServer::start(Options options, Handler handler) {
  auto impl = std::make_unique<Impl>(std::move(options), std::move(handler));
  VHDXM_TRY_VOID(impl->listen());
  Impl* const self = impl.get();
  asio::co_spawn(self->context, self->accept_loop(), [](const std::exception_ptr&) {});
  self->thread = std::thread([self] { self->context.run(); });
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpServer::~HttpServer() {
  asio::post(impl_->context, [this] { impl_->begin_stop(); });
  impl_->thread.join();
  impl_->workers.join();
  struct stat status {};
  if (::lstat(impl_->options.socket.c_str(), &status) == 0 && status.st_ino == impl_->inode) {
    ::unlink(impl_->options.socket.c_str());
  }
}

}  // namespace vhdxm::tools
