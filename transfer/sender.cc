#include "transfer/sender.h"

#include <utility>

#include "transfer/send_job.h"

namespace vhdxm::transfer {

struct Sender::Impl {
  SendJob job;
};

Sender::Sender(SenderOptions options, ProgressFunction progress)
    : impl_(new Impl{SendJob(options, std::move(progress))}) {}

Sender::~Sender() = default;

SendResult Sender::run() {
  return impl_->job.run();
}

void Sender::cancel() {
  impl_->job.cancel();
}

}  // namespace vhdxm::transfer
