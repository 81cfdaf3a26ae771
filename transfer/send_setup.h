// What every job of a sender begins with: its shares of memory, its features, its connection.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>

#include "transfer/control_channel.h"
#include "transfer/memory_budget.h"
#include "transfer/preamble.h"
#include "transfer/sender.h"

namespace vhdxm::transfer {

/// The extent that is asked for. Bytes.
std::uint32_t extent_of(const SenderOptions& options);
/// Bits of Feature that are asked for.
std::uint64_t features_of(const SenderOptions& options);
/// Processors of this host that compression may take. May be less than one.
double processors_of(const SenderOptions& options);
/// Streams and compressors that fit the memory.
SenderBudget::Shares shares_of(const SenderOptions& options);

struct ControlConnection {
  std::shared_ptr<ControlChannel> channel;
  std::string address;  ///< Of the host: all streams go to the one that answered.
  std::string cipher;
};
/// Connects and authenticates. Throws TransferError.
asio::awaitable<ControlConnection> connect_control(asio::io_context& context,
                                                   const SenderOptions& options,
                                                   const Preamble& preamble);

/// In words for the person who started the job. `text`: what happened; empty: what `error` says.
Failure failure_from(FailureClass failure_class, const Error& error, const std::string& text);

}  // namespace vhdxm::transfer
