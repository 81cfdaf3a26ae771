// Runs one job of a receiver: drives its ReceiverSession with sockets, threads and files.
#pragma once

#include <atomic>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/buffer_pool.h"
#include "transfer/control_channel.h"
#include "transfer/incoming_disk.h"
#include "transfer/job_counters.h"
#include "transfer/memory_budget.h"
#include "transfer/offer_check.h"
#include "transfer/receive_stream.h"
#include "transfer/receiver.h"
#include "transfer/receiver_session.h"
#include "transfer/stall_watch.h"
#include "transfer/storage_folders.h"

namespace vhdxm::transfer {

/// Everything but the bodies of work() runs on the receiver's control thread.
class ReceiveJob : public std::enable_shared_from_this<ReceiveJob> {
 public:
  struct Setting {
    const ReceiverOptions& options;
    const StorageFolders& folders;
    asio::io_context& context;   ///< The control thread's.
    asio::thread_pool& workers;  ///< For what blocks, but not for long.
    asio::thread_pool& readers;  ///< For what reads whole disks.
    std::uint64_t memory_bytes;  ///< What the job may hold, streams and all.
    std::function<void(const ReceiverEvent&)> on_event;
  };

  ReceiveJob(Setting setting, std::uint64_t number, Preamble preamble,
             std::shared_ptr<ControlChannel> control);
  ~ReceiveJob();

  /// From the first message to the end; no thread or open file of the job is left behind, and of a
  /// disk that is not complete only a partial to go on with. Does not throw.
  asio::awaitable<void> run();
  /// Ends the job soon; the sender is told.
  void stop();

  /// Whether data streams come without TLS; known after Welcome.
  bool plaintext_data() const;
  /// Whether the token is one that was granted and is unused; it is used up by asking.
  bool may_join(const Join& join);
  /// Takes a connection that may_join() let in and that was told so.
  void join(std::uint32_t stream, SecureSocket::Parts connection);

  /// How the receiver's memory is divided among its jobs.
  static ReceiverBudget budget_of(const ReceiverOptions& options);
  /// What the job may hold: its share, and less once it is known how many streams it has.
  std::uint64_t memory_bytes() const;
  /// Ranges that it may say it holds of a disk; known after Welcome.
  std::uint64_t held_ranges_max() const;
  std::uint64_t number() const { return number_; }
  const JobId& id() const { return preamble_.job_id; }
  bool succeeded() const { return succeeded_; }
  /// It measured, and brought nothing.
  bool measured() const { return session_.measuring(); }
  const std::optional<Failure>& failure() const { return failure_; }

 private:
  asio::awaitable<void> converse();
  asio::awaitable<void> clean_up();
  asio::awaitable<void> report_load();
  asio::awaitable<void> watch_sender();
  std::optional<Error> look_for_stall();
  void drain_actions();
  void act(ReceiverSession::Send& action);
  void act(ReceiverSession::CheckOffer& action);
  void act(ReceiverSession::CompareWith& action);
  void act(ReceiverSession::StartDisk& action);
  void act(ReceiverSession::HashCells& action);
  void act(ReceiverSession::PrepareMeasure& action);
  void act(ReceiverSession::GrantStreams& action);
  void act(ReceiverSession::DrainStream& action);
  void act(ReceiverSession::SealDisk& action);
  void act(ReceiverSession::VerifyWith& action);
  void act(ReceiverSession::Commit& action);
  void act(ReceiverSession::SyncPass& action);
  void act(ReceiverSession::ComparePages& action);
  void act(ReceiverSession::DeliverHandover& action);
  void act(ReceiverSession::Finish& action);
  void act(ReceiverSession::Abort& action);

  /// Runs `task` on a worker, then `then(result)` on the control thread, unless the job is over.
  template <class Task, class Then>
  void work(Task task, Then then);
  /// The same, each task after the one before has ended: for what whoever takes over is asked.
  template <class Task, class Then>
  void work_in_order(Task task, Then then);
  template <class Executor, class Task, class Then>
  void work_on(const Executor& executor, Task task, Then then);
  /// On the control thread, soon; drains the session's actions afterwards.
  template <class Function>
  void post(Function function);

  OfferVerdict check_live_offer(const ReceiverSession::CheckOffer& offer);
  CutoverTarget::Step take_over(const HandoverBody& body);
  void get_ready();
  void start_streams_job();
  std::shared_ptr<FrameSink> sink_of(std::uint32_t disk);
  void stream_ended(std::uint32_t stream);
  void report_written();
  void sync_if_due();
  void emit(ReceiverEvent::Type type, const std::string& disk = {}, std::uint64_t bytes = 0);
  void emit_progress(Phase phase);
  void fail(const Error& error, const std::string& text);
  Failure failure_of(const ReceiverSession::Abort& action) const;

  Setting setting_;
  const std::uint64_t number_;
  const Preamble preamble_;
  const std::shared_ptr<ControlChannel> control_;
  ReceiverSession session_;
  JobCounters counters_;

  asio::strand<asio::thread_pool::executor_type> in_order_;
  std::unique_ptr<CutoverTarget> target_;  ///< Of live jobs. Used on in_order_ only.
  HandoverBody introduction_;              ///< What it answered to the offer.
  std::atomic<bool> met_{false};           ///< A word was said, and nothing is to be moved.
  CheckedOffer offer_;
  std::unique_ptr<BufferPool> pool_;
  std::unique_ptr<BufferPool> unpacked_pool_;  ///< Null unless payload may come packed.
  std::unique_ptr<ReceiveStreamJob> streams_job_;
  std::vector<StreamGrant> grants_;  ///< Not joined yet.
  std::vector<std::unique_ptr<ReceiveStream>> streams_;
  std::vector<std::uint32_t> draining_;
  std::vector<std::uint32_t> gone_;  ///< Given up before they had joined.
  std::vector<WrittenCount> reported_;
  std::uint64_t credit_reported_ = 0;
  std::atomic<bool> report_posted_{false};
  std::uint64_t synced_bytes_ = 0;  ///< Of the disk's payload, when the last sync was started.
  bool syncing_ = false;
  unsigned working_ = 0;        ///< Tasks on the workers.
  asio::steady_timer settled_;  ///< Cancelled when one of them has ended.
  asio::steady_timer load_due_;
  bool reporting_load_ = false;
  asio::steady_timer look_due_;
  bool watching_ = false;
  std::uint64_t news_ = 0;  ///< Messages that got the job on, and work of this side.
  StallWatch steps_;
  StallWatch listening_;  ///< Whether the sender takes what control says.
  const std::chrono::steady_clock::time_point started_;
  std::atomic<bool> cancelled_{false};
  bool succeeded_ = false;
  bool spoiled_ = false;  ///< What came is not to be gone on with.
  bool kept_ = false;     ///< A partial of it stays.
  std::optional<Failure> failure_;
  std::chrono::steady_clock::time_point last_progress_;

  std::mutex disk_mutex_;
  // Protected by disk_mutex_: streams look it up for every frame.
  std::shared_ptr<IncomingDisk> disk_;
  std::vector<std::shared_ptr<IncomingDisk>> live_disks_;  ///< Of which passes come; by number.
  std::shared_ptr<FrameSink> measure_;                     ///< In place of a disk.
  std::uint32_t disk_index_ = 0;
};

}  // namespace vhdxm::transfer
