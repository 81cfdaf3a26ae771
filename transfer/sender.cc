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

void Sender::set_limit(std::uint64_t bytes_per_second) {
  impl_->job.set_limit(bytes_per_second);
}

}  // namespace vhdxm::transfer
