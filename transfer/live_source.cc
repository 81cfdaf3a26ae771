#include "transfer/live_source.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/directory.h"
#include "transfer/storage_folders.h"
#include "transfer/wire_text.h"

namespace vhdxm::transfer {
namespace {

Result<void> check_disks(const std::vector<MovingDisk>& disks) {
  const auto refused = [](const char* where, const std::string& subject) {
    return Error{.code = BaseErrc::kInvalidArgument, .where = where, .subject = subject};
  };
  if (disks.empty() || disks.size() > kDisksMax) return refused("no disks, or too many", {});
  for (std::size_t i = 0; i < disks.size(); ++i) {
    const MovingDisk& one = disks[i];
    if (!Directory::is_plain_name(one.name)) {
      return refused("not a name that a disk can have at the destination", one.name);
    }
    if (!one.folder.empty() && !is_folder_name(one.folder)) {
      return refused("not a name that a folder can have at the destination", one.folder);
    }
    if (one.disk->read_only()) return refused("opened read-only: send it", one.disk->name());
    if (one.disk->geometry().type == vhdx::DiskType::kDifferencing) {
      return refused(
          "a differencing disk cannot be handed over: send it, with its parents or flattened, when "
          "nobody uses it",
          one.disk->name());
    }
    if (&one.disk->gate() != &disks.front().disk->gate()) {
      return refused("disks that move together share one gate", one.disk->name());
    }
    const bool twice = std::any_of(disks.begin(), disks.begin() + static_cast<std::ptrdiff_t>(i),
                                   [&](const MovingDisk& other) {
                                     return other.name == one.name && other.folder == one.folder;
                                   });
    if (twice) return refused("two disks of one name", one.name);
  }
  return {};
}

// Blocks that hold something now.
Result<vhdx::BlockPlan> plan_of(LiveDisk& disk) {
  const vhdx::Geometry& geometry = disk.geometry();
  vhdx::BlockPlan plan(geometry);
  if (geometry.type == vhdx::DiskType::kFixed) return plan;
  std::vector<vhdx::Extent> extents;
  for (std::uint64_t at = 0; at < disk.size_bytes();) {
    extents.clear();
    VHDXM_TRY(at, disk.map(at, disk.size_bytes() - at, extents, 4096));
    for (const vhdx::Extent& extent : extents) {
      if (extent.kind != vhdx::ExtentKind::kData) continue;
      const std::uint64_t end = extent.virtual_offset + extent.length;
      for (std::uint64_t block = extent.virtual_offset / geometry.block_bytes;
           block * geometry.block_bytes < end; ++block) {
        plan.set(block, vhdx::BlockUse::kFull);
      }
    }
  }
  return plan;
}

// Keeps the queue as long as a write may be in it.
class QueueMirror final : public WriteMirror {
 public:
  QueueMirror(std::shared_ptr<ExtentQueue> queue, std::uint32_t disk, std::uint64_t disk_bytes)
      : queue_(std::move(queue)), disk_(disk), disk_bytes_(disk_bytes) {}

  void mirror(std::uint64_t offset, std::uint64_t length) override {
    queue_->mirror(disk_, offset, length, disk_bytes_);
  }

 private:
  const std::shared_ptr<ExtentQueue> queue_;
  const std::uint32_t disk_;
  const std::uint64_t disk_bytes_;
};

void append(std::vector<vhdx::Extent>& out, std::size_t first, const vhdx::Extent& extent) {
  if (out.size() > first && out.back().kind == extent.kind) {
    out.back().length += extent.length;  // of data, too: the file is the disk itself
  } else {
    out.push_back(extent);
  }
}

}  // namespace

// What the disk holds at the time it is read: place in the file is place on the disk.
class LiveView::DiskFile final : public File {
 public:
  /// `first`: whether the first pass is read, of which most was not used lately.
  DiskFile(LiveDisk& disk, const std::atomic<bool>& first) : disk_(disk), first_(first) {}

  Result<std::size_t> read_some_at(std::uint64_t offset, std::span<std::byte> out) override {
    const bool passing = first_.load(std::memory_order_relaxed);
    VHDXM_TRY_VOID(passing ? disk_.read_passing(offset, out) : disk_.read(offset, out));
    return out.size();
  }
  Result<std::uint64_t> size() override { return disk_.size_bytes(); }
  const std::string& name() const override { return disk_.name(); }
  Result<DataRun> next_data(std::uint64_t offset) override {
    return DataRun{.begin = offset, .end = disk_.size_bytes()};
  }

  // Nothing that is sent is changed by who sends it.
  Result<void> write_at(std::uint64_t, std::span<const std::byte>) override { return refused(); }
  Result<void> sync() override { return refused(); }
  Result<void> resize(std::uint64_t) override { return refused(); }
  Result<void> allocate(std::uint64_t, std::uint64_t) override { return refused(); }
  Result<void> punch_hole(std::uint64_t, std::uint64_t) override { return refused(); }

 private:
  Error refused() const {
    return Error{.code = make_error_code(boost::system::errc::read_only_file_system),
                 .where = "a source is only read",
                 .subject = disk_.name()};
  }

  LiveDisk& disk_;
  const std::atomic<bool>& first_;
};

LiveView::LiveView(std::shared_ptr<LiveDisk> disk, vhdx::BlockPlan plan)
    : disk_(std::move(disk)),
      file_(std::make_unique<DiskFile>(*disk_, planned_)),
      plan_(std::move(plan)) {}

Result<std::unique_ptr<LiveView>> LiveView::of(std::shared_ptr<LiveDisk> disk) {
  VHDXM_TRY(auto plan, plan_of(*disk));
  auto view = std::unique_ptr<LiveView>(new LiveView(std::move(disk), std::move(plan)));
  VHDXM_TRY(view->payload_bytes_, payload_of(*view));
  return view;
}

Result<std::uint64_t> LiveView::map(std::uint64_t offset, std::uint64_t length,
                                    std::vector<vhdx::Extent>& out, std::size_t extents_max) {
  // What is split for the plan's sake may need more extents than the disk's own map: mapping fewer
  // at a time keeps within the limit.
  std::vector<vhdx::Extent> now;
  const std::size_t first = out.size();
  const std::uint64_t block_bytes = geometry().block_bytes;
  std::uint64_t mapped_to = offset;
  while (mapped_to < offset + length) {
    now.clear();
    VHDXM_TRY(const std::uint64_t end,
              disk_->map(mapped_to, offset + length - mapped_to, now, extents_max));
    for (const vhdx::Extent& extent : now) {
      const std::uint64_t extent_end = extent.virtual_offset + extent.length;
      for (std::uint64_t at = extent.virtual_offset; at < extent_end;) {
        const std::uint64_t block = at / block_bytes;
        const std::uint64_t piece_end = std::min(extent_end, (block + 1) * block_bytes);
        vhdx::Extent piece{.virtual_offset = at, .length = piece_end - at, .kind = extent.kind};
        const bool absent =
            planned_.load(std::memory_order_relaxed) && plan_.use(block) == vhdx::BlockUse::kAbsent;
        if (absent && piece.kind == vhdx::ExtentKind::kData) {
          piece.kind = vhdx::ExtentKind::kUnmapped;
        }
        if (piece.kind == vhdx::ExtentKind::kData) {
          piece.file = file_.get();
          piece.file_offset = at;
        }
        // Cut where the next would be one too many; at the end of a block, so that a block that is
        // sent as nothing is sent whole.
        const bool grows = out.size() == first || out.back().kind != piece.kind;
        if (grows && out.size() - first >= extents_max) return at;
        append(out, first, piece);
        at = piece_end;
      }
    }
    mapped_to = end;
  }
  return mapped_to;
}

Result<void> LiveView::payload_states(std::uint64_t first_block,
                                      std::span<vhdx::PayloadState> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = plan_.use(first_block + i) == vhdx::BlockUse::kAbsent
                 ? vhdx::PayloadState::kNotPresent
                 : vhdx::PayloadState::kFullyPresent;
  }
  return {};
}

LiveSource::LiveSource(std::vector<MovingDisk> disks) : disks_(std::move(disks)) {
  for (const MovingDisk& one : disks_) shown_names_.push_back(text_of_place(one.folder, one.name));
}

Result<std::unique_ptr<LiveSource>> LiveSource::start(std::vector<MovingDisk> disks) {
  VHDXM_TRY_VOID(check_disks(disks));
  SharedGate& gate = disks.front().disk->gate();
  // What an earlier job left is of no use. Nothing is marked while the gate is open.
  if (gate.state() != WriteGate::State::kOpen) {
    return Error{.code = Errc::kBusy,
                 .where = "writes of the disk are tracked or held already",
                 .subject = disks.front().disk->name()};
  }
  for (const MovingDisk& one : disks) one.disk->dirty().clear();
  auto source = std::unique_ptr<LiveSource>(new LiveSource(std::move(disks)));
  gate.start_tracking();
  for (const MovingDisk& one : source->disks_) {
    VHDXM_TRY(auto view, LiveView::of(one.disk));
    source->views_.push_back(std::move(view));
  }
  return source;
}

LiveSource::~LiveSource() {
  stop();
}

void LiveSource::stop() {
  // Once: the gate may be another job's by then.
  if (std::exchange(left_, true)) return;
  mirror_over(nullptr);
  SharedGate& gate = disks_.front().disk->gate();
  gate.throttle(0);
  if (gate.state() == WriteGate::State::kHeld) gate.let_go();
  if (gate.state() == WriteGate::State::kTracking) gate.stop_tracking();
}

void LiveSource::leave_as_it_is() {
  if (!std::exchange(left_, true)) mirror_over(nullptr);
}

std::vector<OfferDisk> LiveSource::offer() const {
  std::vector<OfferDisk> offer;
  for (std::uint32_t disk = 0; disk < size(); ++disk) {
    const vhdx::Description& description = view(disk).description();
    offer.push_back({.disk = disk,
                     .name = disks_[disk].name,
                     .description = description,
                     .payload_bytes = room_for(description.geometry, payload_bytes(disk)),
                     .folder = disks_[disk].folder});
  }
  return offer;
}

std::vector<ExtentQueue::LiveSource> LiveSource::sources() {
  std::vector<ExtentQueue::LiveSource> sources;
  for (const auto& view : views_) {
    view->forget_plan();
    sources.push_back({.view = view.get(), .dirty = &view->disk().dirty()});
  }
  return sources;
}

void LiveSource::mirror_over(const std::shared_ptr<ExtentQueue>& queue) {
  for (std::uint32_t disk = 0; disk < size(); ++disk) {
    LiveDisk& one = *disks_[disk].disk;
    one.set_mirror(queue ? std::make_shared<QueueMirror>(queue, disk, one.size_bytes()) : nullptr);
  }
}

std::uint64_t LiveSource::dirty_bytes() const {
  std::uint64_t pages = 0;
  for (const MovingDisk& one : disks_) pages += one.disk->dirty().dirty_pages();
  return pages * kDirtyPageBytes;
}

std::uint64_t LiveSource::marked_bytes() const {
  std::uint64_t pages = 0;
  for (const MovingDisk& one : disks_) pages += one.disk->dirty().marked_pages();
  return pages * kDirtyPageBytes;
}

}  // namespace vhdxm::transfer
