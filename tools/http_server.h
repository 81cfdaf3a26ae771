// HTTP on a Unix socket: reads requests within limits, has them answered, writes the answers.
//
// Whoever may open the socket may ask for anything; the limits keep a client that is slow, broken
// or hostile from costing more than a connection.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "tools/http_message.h"

namespace vhdxm::tools {

class HttpServer {
 public:
  struct Options {
    std::string socket = {};  ///< Its name; what has that name must not be listened at.
    unsigned mode = 0660;     ///< Of the socket.
    std::size_t header_bytes_max = 8 * 1024;
    std::size_t body_bytes_max = 64 * 1024;
    std::size_t connections_max = 128;  ///< A further one waits to be accepted.
    /// For a whole request to arrive, and for an answer to be taken.
    std::chrono::milliseconds patience{10'000};
    unsigned workers = 8;  ///< Requests that are answered at once.
  };
  /// Answers a request. Called from a worker; may take its time.
  using Handler = std::function<HttpReply(const HttpRequest&)>;

  /// Listens; takes connections from now on. Errors: the system's, with the socket's name.
  static Result<std::unique_ptr<HttpServer>> start(Options options, Handler handler);
  /// Ends when the requests under way are answered; removes the socket.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vhdxm::tools
