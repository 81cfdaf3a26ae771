#include "tools/control_client.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

namespace vhdxm::tools {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
namespace json = boost::json;
using boost::system::error_code;

/// Longer than anything that the service lets a client wait for.
constexpr timeval kReplyPatience{.tv_sec = 180, .tv_usec = 0};
constexpr std::uint64_t kReplyBytesMax = 16 << 20;

CommandFailure no_answer(const std::string& socket, const error_code& ec) {
  std::string advice = "Look into its log (journalctl -u vhdx-migrated).";
  if (ec == boost::system::errc::no_such_file_or_directory ||
      ec == boost::system::errc::connection_refused) {
    advice =
        "Start the service (systemctl start vhdx-migrated), or name its socket with --control.";
  } else if (ec == boost::system::errc::permission_denied) {
    advice = "Run as root, or as a member of the socket's group.";
  }
  return {.message = fmt::format("no host service answers at {}: {}", socket, ec.message()),
          .advice = std::move(advice),
          .exit = ExitCode::kFailed,
          .ownership = {}};
}

std::string member_text(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
}

CommandFailure failure_in(const json::object& body, unsigned status) {
  const json::value* error = body.if_contains("error");
  if (error == nullptr || !error->is_object()) {
    return {.message = fmt::format("the service answered with HTTP status {}", status),
            .advice = "Check that the command and the service are of one version.",
            .exit = ExitCode::kFailed,
            .ownership = {}};
  }
  const json::object& fields = error->as_object();
  ExitCode exit = status == 404 || status == 400 ? ExitCode::kUsage : ExitCode::kFailed;
  if (const json::value* code = fields.if_contains("exit"); code != nullptr && code->is_int64()) {
    exit = static_cast<ExitCode>(code->as_int64());
  }
  return {.message = member_text(fields, "message"),
          .advice = member_text(fields, "advice"),
          .exit = exit,
          .ownership = member_text(fields, "ownership")};
}

}  // namespace

ControlClient::Reply ControlClient::ask(const std::string& method, const std::string& target,
                                        const std::optional<json::object>& body) const {
  asio::io_context context;
  asio::local::stream_protocol::socket socket(context);
  error_code ec;
  if (socket_.size() < sizeof(sockaddr_un{}.sun_path)) {
    socket.connect(asio::local::stream_protocol::endpoint(socket_), ec);
  } else {
    ec = make_error_code(boost::system::errc::filename_too_long);
  }
  if (ec) return no_answer(socket_, ec);
  ::setsockopt(socket.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &kReplyPatience,
               sizeof kReplyPatience);
  http::request<http::string_body> request;
  request.method_string(method);
  request.target(target);
  request.version(11);
  request.set(http::field::host, "localhost");
  request.keep_alive(false);
  if (body) {
    request.set(http::field::content_type, "application/json");
    request.body() = json::serialize(*body);
  }
  request.prepare_payload();
  http::write(socket, request, ec);
  if (ec) return no_answer(socket_, ec);
  boost::beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(kReplyBytesMax);
  http::read(socket, buffer, parser, ec);
  if (ec) return no_answer(socket_, ec);
  const auto response = parser.release();
  json::value value = json::parse(response.body(), ec);
  if (ec || !value.is_object()) value = json::object();
  if (response.result_int() >= 300) {
    return failure_in(value.as_object(), response.result_int());
  }
  return std::move(value.as_object());
}

void add_control_option(OptionSet& options, std::string& socket) {
  options.text("--control", "SOCKET", socket,
               fmt::format("the service's control socket; {} unless told", kControlSocket));
}

}  // namespace vhdxm::tools
