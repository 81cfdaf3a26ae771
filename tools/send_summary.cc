#include "tools/send_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <chrono>
#include <string_view>

#include "base/size_text.h"
#include "tools/json_output.h"
#include "tools/mode_text.h"
#include "tools/peak_rss.h"
#include "tools/printable_text.h"
#include "tools/progress_sample.h"

namespace vhdxm::tools {
namespace {

using transfer::DiskReport;

const char* outcome_name(DiskReport::Outcome outcome) {
  switch (outcome) {
    case DiskReport::Outcome::kSent:
      return "sent";
    case DiskReport::Outcome::kIdentical:
      return "identical";
  }
  return "unknown";
}

std::chrono::milliseconds milliseconds_of(const transfer::JobReport& report) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(report.totals.elapsed);
}

/// Payload that was dealt with, zeros found included, over the whole time.
std::uint64_t payload_rate(const transfer::JobReport& report) {
  const auto elapsed = std::max<std::int64_t>(1, milliseconds_of(report).count());
  const double seconds = static_cast<double>(elapsed) / 1000;
  return static_cast<std::uint64_t>(static_cast<double>(report.totals.bytes_done) / seconds);
}

std::uint64_t virtual_bytes(const transfer::JobReport& report) {
  std::uint64_t sum = 0;
  for (const DiskReport& disk : report.disks) sum += disk.virtual_bytes;
  return sum;
}

std::string row(std::string_view name, std::string_view value) {
  return fmt::format("  {:<10}{}\n", name, value);
}

std::string disk_rows(const DiskReport& disk, bool name_it) {
  std::string out;
  if (name_it) out += row("disk", printable(disk.name));
  if (disk.outcome == DiskReport::Outcome::kIdentical) {
    return out + row("content", "the same was there already, nothing was sent");
  }
  if (disk.resumed) out += row("resumed", "yes: it went on where an earlier job ended");
  out += row("ledger", fmt::format("{}, the same at both sides", disk.ledger));
  out += row("verified", disk.verified ? "yes: both sides were read again and agree"
                                       : "not read again (--verify does that)");
  return out;
}

}  // namespace

std::string ownership_sentence(const SendOutcome& outcome) {
  const transfer::JobReport& report = outcome.report;
  // The disk that was asked for is the last one; its parents come before it.
  const std::string name = report.disks.empty() ? "the disk" : report.disks.back().name;
  return fmt::format("{} is complete at {}; the source keeps its copy and is unchanged.", name,
                     outcome.host);
}

std::string summary_text(const SendOutcome& outcome) {
  const transfer::JobReport& report = outcome.report;
  const transfer::Progress& totals = report.totals;
  std::string out = printable(ownership_sentence(outcome)) + "\n";
  out += row("sent", fmt::format("{} on the wire, for {} of {} disk{}",
                                 format_size(totals.wire_bytes), format_size(virtual_bytes(report)),
                                 report.disks.size(), report.disks.size() == 1 ? "" : "s"));
  out += row(
      "saved",
      fmt::format("{}: unallocated {}, zero {}{}",
                  format_size(totals.unallocated_bytes + totals.zero_bytes + totals.same_bytes +
                              totals.compressed_bytes),
                  format_size(totals.unallocated_bytes), format_size(totals.zero_bytes),
                  totals.same_bytes == 0 ? std::string()
                                         : ", already there " + format_size(totals.same_bytes)) +
          (totals.compressed_bytes == 0
               ? std::string()
               : fmt::format(", compressed {}", format_size(totals.compressed_bytes))));
  out += row("mode", compression_text(report.compression));
  out += row("time", fmt::format("{:.1f} s, {}",
                                 static_cast<double>(milliseconds_of(report).count()) / 1000,
                                 format_rate(payload_rate(report))));
  std::string streams = fmt::format("{}", outcome.streams);
  if (report.streams_replaced > 0) {
    streams += fmt::format(", {} replaced after they broke, {} sent again", report.streams_replaced,
                           format_size(report.resent_bytes));
  }
  out += row("streams", streams);
  out += row("peer", printable(report.peer));
  out += row("security", report.plaintext_data
                             ? printable(report.cipher) + " for control; data was NOT encrypted"
                             : printable(report.cipher));
  for (const DiskReport& disk : report.disks) out += disk_rows(disk, report.disks.size() > 1);
  out.pop_back();
  return out;
}

boost::json::object summary_json(const SendOutcome& outcome) {
  const transfer::JobReport& report = outcome.report;
  const transfer::Progress& totals = report.totals;
  boost::json::object fields;
  fields["command"] = "send";
  fields["exit"] = 0;
  fields["ownership"] = json_text(ownership_sentence(outcome));
  fields["host"] = json_text(outcome.host);
  fields["peer"] = json_text(report.peer);
  fields["cipher"] = json_text(report.cipher);
  fields["plaintext_data"] = report.plaintext_data;
  boost::json::array disks;
  for (const DiskReport& disk : report.disks) {
    disks.push_back({{"name", json_text(disk.name)},
                     {"source", json_text(disk.source_path)},
                     {"outcome", outcome_name(disk.outcome)},
                     {"virtual_bytes", disk.virtual_bytes},
                     {"payload_bytes", disk.payload_bytes},
                     {"same_bytes", disk.same_bytes},
                     {"resumed", disk.resumed},
                     {"ledger", json_text(disk.ledger)},
                     {"verified", disk.verified}});
  }
  fields["disks"] = disks;
  fields["virtual_bytes"] = virtual_bytes(report);
  fields["bytes_total"] = totals.bytes_total;
  fields["bytes_done"] = totals.bytes_done;
  fields["wire_bytes"] = totals.wire_bytes;
  fields["unallocated_bytes"] = totals.unallocated_bytes;
  fields["zero_bytes"] = totals.zero_bytes;
  fields["same_bytes"] = totals.same_bytes;
  fields["compressed_bytes"] = totals.compressed_bytes;
  fields["mode"] = transfer::to_string(report.compression.asked);
  fields["compression"] = compression_fields(report.compression);
  fields["resumed_bytes"] = totals.resumed_bytes;
  fields["partials_replaced"] = totals.partials_replaced;
  fields["written_bytes"] = totals.written_bytes;
  fields["durable_bytes"] = totals.durable_bytes;
  fields["streams"] = outcome.streams;
  fields["frames"] = report.frames;
  fields["streams_replaced"] = report.streams_replaced;
  fields["resent_bytes"] = report.resent_bytes;
  fields["peak_buffer_bytes"] = report.peak_buffer_bytes;
  fields["peak_rss_bytes"] = peak_rss_bytes();
  fields["elapsed_ms"] = milliseconds_of(report).count();
  fields["bytes_per_second"] = payload_rate(report);
  return fields;
}

}  // namespace vhdxm::tools
