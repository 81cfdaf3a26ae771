#include "transfer/send_setup.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "base/processor_time.h"
#include "transfer/auto_mode.h"
#include "transfer/messages.h"

namespace vhdxm::transfer {
namespace {

constexpr std::uint32_t kDefaultExtentBytes = 1024 * 1024;  // docs/performance.md#extent-size

std::string advice_for(FailureClass failure_class, const Error& error) {
  switch (failure_class) {
    case FailureClass::kAuthentication:
      if (error.code != Errc::kAuthentication) break;  // authenticated, but not allowed
      return "Both sides must have the same pairing key: copy the receiver's key file to this host "
             "again, or type the key that the receiver shows.";
    case FailureClass::kNetwork:
      return "Check that the receiver is running and that its port is open, then run the same "
             "command again.";
    case FailureClass::kData:
      if (error.code == Errc::kChecksum || error.code == Errc::kLedgerMismatch ||
          error.code == Errc::kVerifyMismatch) {
        return "Run it again; if it happens again, suspect memory, disk or network hardware.";
      }
      return "Run `vhdx-migrate check` on the disk.";
    default:
      break;
  }
  if (error.code == Errc::kSourceChanged || error.code == Errc::kSourceInUse) {
    return "Stop what writes to the disk (a running guest, a backup), then send it again.";
  }
  return {};
}

}  // namespace

double processors_of(const SenderOptions& options) {
  return usable_processors() * std::min(options.cpu_share_percent, 100U) / 100.0;
}

std::uint32_t extent_of(const SenderOptions& options) {
  return options.extent_bytes == 0 ? kDefaultExtentBytes : options.extent_bytes;
}

std::uint64_t features_of(const SenderOptions& options) {
  std::uint64_t features = 0;
  if (options.plaintext_data) features |= static_cast<std::uint64_t>(Feature::kPlaintextData);
  if (options.mode != Mode::kPlain) features |= static_cast<std::uint64_t>(Feature::kZstd);
  return features;
}

SenderBudget::Shares shares_of(const SenderOptions& options) {
  const std::uint64_t streams = options.streams == 0 ? kDefaultStreams : options.streams;
  SenderBudget budget{.memory_bytes = options.memory_bytes,
                      .extent_bytes = extent_of(options),
                      .streams_wanted = std::min<std::uint64_t>(streams, kStreamsMax)};
  if (options.mode == Mode::kPlain) return budget.shares();
  budget.compressors_wanted = std::min<std::uint64_t>(
      budget.streams_wanted, static_cast<std::uint64_t>(std::ceil(processors_of(options))));
  std::vector<int> levels(AutoMode::ladder().rbegin(), AutoMode::ladder().rend());
  if (options.mode == Mode::kCompress) levels = {options.level};
  budget.levels = levels;
  return budget.shares();
}

asio::awaitable<ControlConnection> connect_control(asio::io_context& context,
                                                   const SenderOptions& options,
                                                   const Preamble& preamble) {
  tcp::socket tcp_socket =
      co_await connect_to(context, options.host, options.port, options.timeouts.handshake);
  ControlConnection connection;
  connection.address = tcp_socket.remote_endpoint().address().to_string();
  auto socket = std::make_unique<SecureSocket>(std::move(tcp_socket),
                                               endpoint_text(options.host, options.port));
  socket->set_deadline(options.timeouts.handshake);
  co_await socket->connect_secure(preamble, options.key, false);
  socket->clear_deadline();
  connection.cipher = socket->cipher();
  connection.channel = std::make_shared<ControlChannel>(std::move(socket), options.timeouts);
  co_return connection;
}

Failure failure_from(FailureClass failure_class, const Error& error, const std::string& text) {
  return Failure{.failure_class = failure_class,
                 .error = error,
                 .message = text.empty() ? describe(error) : text,
                 .advice = advice_for(failure_class, error)};
}

}  // namespace vhdxm::transfer
