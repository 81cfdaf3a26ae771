#include "transfer/handover_call.h"

#include <boost/asio/co_spawn.hpp>
#include <exception>
#include <optional>
#include <utility>

#include "base/random.h"
#include "transfer/send_setup.h"
#include "transfer/sender_session.h"
#include "transfer/software.h"

namespace vhdxm::transfer {
namespace {

/// Offered because an offer is what a hand-over begins with; nothing is made of it.
OfferDisk nominal_disk(const std::string& name) {
  constexpr std::uint64_t kNominalBytes = 1 << 20;
  OfferDisk disk{.name = name, .description = {}};
  disk.description.geometry = {.virtual_size_bytes = kNominalBytes, .block_bytes = kNominalBytes};
  return disk;
}

class HandoverCall {
 public:
  HandoverCall(const SenderOptions& options, const JobId& job, const std::string& name,
               const HandoverBody& message)
      : options_(options), name_(name), message_(message) {
    preamble_.job_id = job;
  }

  boost::system::result<HandoverBody, Failure> run() {
    asio::co_spawn(context_, converse(), [this](const std::exception_ptr& failure) {
      try {
        if (failure) std::rethrow_exception(failure);
      } catch (const TransferError& problem) {
        failure_ = failure_from(problem.failure_class(), problem.error(), problem.text());
      } catch (const std::exception& problem) {
        failure_ =
            failure_from(FailureClass::kFailed, Error{.code = Errc::kProtocol}, problem.what());
      }
    });
    context_.run();
    if (failure_) return *failure_;
    if (answer_) return std::move(*answer_);
    return failure_from(FailureClass::kFailed, Error{.code = Errc::kProtocol}, {});
  }

 private:
  asio::awaitable<void> converse() {
    ControlConnection connection = co_await connect_control(context_, options_, preamble_);
    control_ = std::move(connection.channel);
    control_->start_writer();
    session_.emplace(SenderSession::Config{.preamble = preamble_,
                                           .features = features_of(options_),
                                           .extent_bytes_max = extent_of(options_),
                                           .nonce = random_u64(),
                                           .software = kSoftware,
                                           .kind = JobKind::kLive,
                                           .handover = message_,
                                           .disks = {nominal_disk(name_)}});
    session_->start();
    drain_actions();
    while (!session_->over()) {
      const Message message = co_await control_->receive();
      if (std::holds_alternative<Welcome>(message)) control_->allow_long_messages();
      session_->on_message(message);
      drain_actions();
    }
    co_await control_->finish();
  }

  void drain_actions() {
    while (auto action = session_->next_action()) {
      std::visit([this](auto& one) { act(one); }, *action);
    }
  }

  void act(SenderSession::Send& action) { control_->send(action.message); }
  void act(SenderSession::Introduced& action) {
    answer_ = std::move(action.body);
    session_->on_cancel();  // that was all
  }
  void act(SenderSession::Abort& action) {
    if (!answer_) failure_ = failure_from(classify(action.error), action.error, action.peer_text);
  }
  template <class Other>
  void act(Other&) {}  // Of jobs that move something.

  const SenderOptions& options_;
  const std::string& name_;
  const HandoverBody& message_;
  Preamble preamble_;
  asio::io_context context_{1};
  std::shared_ptr<ControlChannel> control_;
  std::optional<SenderSession> session_;
  std::optional<HandoverBody> answer_;
  std::optional<Failure> failure_;
};

}  // namespace

boost::system::result<HandoverBody, Failure> call_about_handover(const SenderOptions& options,
                                                                 const JobId& job,
                                                                 const std::string& name,
                                                                 const HandoverBody& message) {
  HandoverCall call(options, job, name, message);
  return call.run();
}

}  // namespace vhdxm::transfer
