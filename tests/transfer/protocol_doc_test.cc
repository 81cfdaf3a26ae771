// docs/protocol.md is the authority: here its tables are held against the code.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/hash128.h"
#include "base/little_endian.h"
#include "tests/transfer/hex_bytes.h"
#include "tests/transfer/protocol_doc.h"
#include "transfer/errc.h"
#include "transfer/frame.h"
#include "transfer/ledger.h"
#include "transfer/message_fields.h"
#include "transfer/messages.h"
#include "transfer/preamble.h"

namespace vhdxm::transfer {
namespace {

using Rows = std::vector<std::vector<std::string>>;

const ProtocolDoc& doc() {
  static const ProtocolDoc read;
  return read;
}

/// The table's rows with their last column, the meaning, left out.
Rows without_meaning(Rows rows) {
  for (std::vector<std::string>& row : rows) row.pop_back();
  return rows;
}

/// An archive (transfer/message_fields.h) that writes down the fields as the page has them.
class FieldTable {
 public:
  template <class T>
  using Ref = T&;

  template <std::unsigned_integral T>
  void integer(const FieldName& field, T&) {
    add(field, "u" + std::to_string(8 * sizeof(T)), "");
  }
  template <class T, std::size_t n>
  void raw(const FieldName& field, std::array<T, n>&) {
    add(field, std::to_string(n) + " bytes", "");
  }
  void hash(const FieldName& field, Hash128&) { add(field, "hash", ""); }
  template <class E>
  void enumeration(const FieldName& field, E&, E last) {
    using Number = std::underlying_type_t<E>;
    add(field, "u" + std::to_string(8 * sizeof(Number)) + " enum",
        "0.." + std::to_string(static_cast<unsigned>(last)));
  }
  void text(const FieldName& field, std::string&, std::size_t bytes_max, TextRule) {
    add(field, "text", std::to_string(bytes_max));
  }
  void bytes(const FieldName& field, std::vector<std::byte>&, std::size_t bytes_max) {
    add(field, "bytes", std::to_string(bytes_max));
  }
  template <class T>
  bool presence(const FieldName& field, std::optional<T>& value) {
    add(field, "u8", "0..1");
    value.emplace();
    return true;
  }
  template <class T, class ElementFields>
  void list(const FieldName& field, std::vector<T>&, std::size_t count_max,
            const ElementFields& element_fields) {
    add(field, "list", std::to_string(count_max));
    T element{};
    element_fields(element);
  }

  const Rows& rows() const { return rows_; }

 private:
  void add(const FieldName& field, const std::string& type, const std::string& limit) {
    const std::string full = field.name;
    rows_.push_back({full.substr(full.find('.') + 1), type, limit});
  }

  Rows rows_;
};

struct MessageTable {
  std::string name;
  Rows fields;
};

template <std::size_t index = 0>
void collect(std::vector<MessageTable>& all) {
  if constexpr (index < std::variant_size_v<Message>) {
    Message message(std::in_place_index<index>);
    FieldTable table;
    fields(table, std::get<index>(message));
    all.push_back({name_of(message), table.rows()});
    collect<index + 1>(all);
  }
}

std::vector<MessageTable> messages_of_the_code() {
  std::vector<MessageTable> all;
  collect(all);
  return all;
}

TEST(ProtocolDoc, MessageTypesAreTheCodes) {
  const DocTable table = doc().table("Message types");
  const std::vector<MessageTable> code = messages_of_the_code();
  ASSERT_EQ(table.rows.size(), code.size());
  for (std::size_t i = 0; i < code.size(); ++i) {
    EXPECT_EQ(table.rows[i][0], std::to_string(i + 1));
    EXPECT_EQ(table.rows[i][1], code[i].name);
  }
}

TEST(ProtocolDoc, AnswersAreMessages) {
  std::map<std::string, std::string> from;
  const DocTable table = doc().table("Message types");
  for (const auto& row : table.rows) from[row[1]] = row[2];
  for (const auto& row : table.rows) {
    EXPECT_TRUE(row[2] == "sender" || row[2] == "receiver" || row[2] == "either") << row[1];
    if (row[3].empty()) continue;
    EXPECT_EQ(from[row[3]], row[2] == "sender" ? "receiver" : "sender") << row[1];
  }
}

TEST(ProtocolDoc, FieldsOfEveryMessageAreTheCodes) {
  for (const MessageTable& message : messages_of_the_code()) {
    SCOPED_TRACE(message.name);
    EXPECT_TRUE(doc().has_heading(message.name));
    if (message.fields.empty()) {
      EXPECT_FALSE(doc().has_table(message.name)) << "it has no fields";
      continue;
    }
    const DocTable table = doc().table(message.name);
    EXPECT_EQ(table.columns, (std::vector<std::string>{"Field", "Type", "Limit", "Meaning"}));
    EXPECT_EQ(without_meaning(table.rows), message.fields);
  }
}

TEST(ProtocolDoc, EveryMemberOfAMessageTravels) {
  for (const MessageTable& message : messages_of_the_code()) {
    for (const std::string& member : members("transfer/messages.h", message.name)) {
      // These two are taken apart into their own members.
      if (member == "description" || member == "item") continue;
      const bool travels = std::any_of(message.fields.begin(), message.fields.end(),
                                       [&member](const auto& field) { return field[0] == member; });
      EXPECT_TRUE(travels) << message.name << "." << member;
    }
  }
}

TEST(ProtocolDoc, FieldNamesBeginWithTheirMessage) {
  // Otherwise an Error would name another message.
  const std::vector<std::string> lines = source_lines("transfer/message_fields.h");
  std::string message;
  for (const std::string& line : lines) {
    const auto ref = line.find("Ref<");
    if (line.rfind("void fields(", 0) == 0 && ref != std::string::npos) {
      message = line.substr(ref + 4, line.find('>', ref) - ref - 4);
    }
    const auto field = line.find("VHDXM_FIELD(\"");
    if (field == std::string::npos) continue;
    EXPECT_EQ(line.compare(field + 13, message.size() + 1, message + "."), 0) << line;
  }
}

// Layouts: each field of the page is looked for, at its place, in bytes that the code made.

struct Layout {
  std::string heading;
  std::span<const std::byte> bytes;
  std::map<std::string, std::vector<std::byte>> fields;
};

template <class T>
std::vector<std::byte> le(T value) {
  std::vector<std::byte> bytes(sizeof(T));
  store_raw(bytes.data(), Le<T>(value));
  return bytes;
}

std::vector<std::byte> text(std::string_view value) {
  const auto bytes = std::as_bytes(std::span(value));
  return {bytes.begin(), bytes.end()};
}

void expect_layout(const Layout& layout) {
  SCOPED_TRACE(layout.heading);
  const DocTable table = doc().table(layout.heading);
  std::size_t at = 0;
  std::size_t known = 0;
  for (const auto& row : table.rows) {
    const std::size_t offset = std::stoul(row[0]);
    const std::size_t size = std::stoul(row[1]);
    const std::string& name = row[2];
    ASSERT_EQ(offset, at) << name << ": no gap, no overlap";
    at += size;
    ASSERT_LE(at, layout.bytes.size());
    const auto found = layout.bytes.subspan(offset, size);
    if (name.rfind("reserved", 0) == 0) {
      EXPECT_TRUE(all_zero(found)) << name;
      continue;
    }
    const auto field = layout.fields.find(name);
    ASSERT_NE(field, layout.fields.end()) << name;
    EXPECT_EQ(to_hex(found), to_hex(field->second)) << name;
    ++known;
  }
  EXPECT_EQ(at, layout.bytes.size());
  EXPECT_EQ(known, layout.fields.size());
}

TEST(ProtocolDoc, PreambleLayoutIsTheCodes) {
  Preamble preamble{.version = kProtocolVersion, .kind = ConnectionKind::kJobData, .job_id = {}};
  preamble.job_id.fill(0xab);
  const PreambleBytes bytes = encode(preamble);
  expect_layout({.heading = "Preamble",
                 .bytes = bytes,
                 .fields = {{"magic", text("VHDXMIGR")},
                            {"version", le(kProtocolVersion)},
                            {"kind", le(std::uint8_t{3})},
                            {"job_id", std::vector<std::byte>(16, std::byte{0xab})}}});
}

TEST(ProtocolDoc, RefusalLayoutIsTheCodes) {
  const PreambleBytes bytes =
      encode(Refusal{.reason = RefusalReason::kKind, .version_min = 3, .version_max = 9});
  expect_layout({.heading = "Refusal",
                 .bytes = bytes,
                 .fields = {{"magic", text("VHDXMREF")},
                            {"version_min", le(std::uint16_t{3})},
                            {"version_max", le(std::uint16_t{9})},
                            {"reason", le(std::uint8_t{2})}}});
}

TEST(ProtocolDoc, MessageHeaderLayoutIsTheCodes) {
  const std::vector<std::byte> bytes = encode(JoinReply{.stream = 1});
  expect_layout(
      {.heading = "Message header",
       .bytes = std::span(bytes).first(kMessageHeaderBytes),
       .fields = {{"body_bytes", le(std::uint32_t{4})}, {"type", le(std::uint16_t{30})}}});
}

TEST(ProtocolDoc, FrameHeaderLayoutIsTheCodes) {
  const FrameHeader frame{.kind = FrameKind::kTransparent,
                          .codec = compression::Codec::kNone,
                          .disk = 0x11,
                          .pass = 0x22,
                          .virtual_offset = 0x33,
                          .raw_length = 0x44,
                          .wire_length = 0x55,
                          .hash = {.low = 0x66, .high = 0x77}};
  const FrameHeaderBytes bytes = encode(frame);
  const auto checksum = std::span(bytes).last(4);
  expect_layout({.heading = "Frame header",
                 .bytes = bytes,
                 .fields = {{"magic", text("VMF1")},
                            {"version", le(std::uint16_t{1})},
                            {"kind", le(std::uint8_t{4})},
                            {"codec", le(std::uint8_t{0})},
                            {"disk", le(frame.disk)},
                            {"pass", le(frame.pass)},
                            {"virtual_offset", le(frame.virtual_offset)},
                            {"raw_length", le(frame.raw_length)},
                            {"wire_length", le(frame.wire_length)},
                            {"hash_low", le(frame.hash.low)},
                            {"hash_high", le(frame.hash.high)},
                            {"checksum", {checksum.begin(), checksum.end()}}}});
}

TEST(ProtocolDoc, LedgerEntryIsTheCodes) {
  const FrameHeader frame{.kind = FrameKind::kData,
                          .codec = compression::Codec::kNone,
                          .disk = 1,
                          .pass = 2,
                          .virtual_offset = 3,
                          .raw_length = 4,
                          .wire_length = 4,
                          .hash = {.low = 5, .high = 6}};
  const std::map<std::string, std::vector<std::byte>> values = {
      {"pass", le(frame.pass)},
      {"kind", le(std::uint32_t{1})},
      {"virtual_offset", le(frame.virtual_offset)},
      {"raw_length", le(frame.raw_length)},
      {"hash_low", le(frame.hash.low)},
      {"hash_high", le(frame.hash.high)}};
  // Built from the page alone.
  std::vector<std::byte> entry;
  for (const auto& row : doc().table("The ledger").rows) {
    ASSERT_EQ(std::stoul(row[0]), entry.size());
    ASSERT_TRUE(values.contains(row[2])) << row[2];
    const std::vector<std::byte>& value = values.at(row[2]);
    ASSERT_EQ(std::stoul(row[1]), value.size());
    entry.insert(entry.end(), value.begin(), value.end());
  }
  Ledger ledger(99);
  ledger.add(frame);
  EXPECT_EQ(ledger.sum(), hash128(entry, 99));
}

TEST(ProtocolDoc, NumbersAndNamesAreTheCodes) {
  for (const auto& [heading, header, name] : std::vector<std::array<std::string, 3>>{
           {"Connection kinds", "transfer/preamble.h", "ConnectionKind"},
           {"Refusal reasons", "transfer/preamble.h", "RefusalReason"},
           {"Frame kinds", "transfer/frame.h", "FrameKind"},
           {"Codecs", "compression/codec.h", "Codec"},
           {"Features", "transfer/messages.h", "Feature"},
           {"Job kinds", "transfer/messages.h", "JobKind"},
           {"Offer actions", "transfer/messages.h", "OfferAction"},
           {"Partial states", "transfer/messages.h", "PartialState"},
           {"Disk types", "vhdx/description.h", "DiskType"},
           {"Error codes", "transfer/errc.h", "Errc"}}) {
    SCOPED_TRACE(heading);
    EXPECT_EQ(without_meaning(doc().table(heading).rows), enumerators(header, name));
  }
}

TEST(ProtocolDoc, LimitsAreTheCodes) {
  const std::map<std::string, std::uint64_t> code = {
      {"kPreambleBytes", kPreambleBytes},
      {"kProtocolVersion", kProtocolVersion},
      {"kMessageHeaderBytes", kMessageHeaderBytes},
      {"kEarlyBodyBytesMax", kEarlyBodyBytesMax},
      {"kBodyBytesMax", kBodyBytesMax},
      {"kStreamsMax", kStreamsMax},
      {"kDisksMax", kDisksMax},
      {"kBlockPlanPartBytesMax", kBlockPlanPartBytesMax},
      {"kHeldRangesPartMax", kHeldRangesPartMax},
      {"kHeldRangesMax", kHeldRangesMax},
      {"kCellHashesPartMax", kCellHashesPartMax},
      {"kCellHashesMax", kCellHashesMax},
      {"kVerifyPageBytes", kVerifyPageBytes},
      {"kVerifyHashesMax", kVerifyHashesMax},
      {"kVerifyHoleBytesMax", kVerifyHoleBytesMax},
      {"kVerifyPagesMax", kVerifyPagesMax},
      {"kVerifyRangesMax", kVerifyRangesMax},
      {"kFrameHeaderBytes", kFrameHeaderBytes},
      {"kCellBytes", kCellBytes},
      {"kHandoverBytesMax", kHandoverBytesMax},
      {"kExtentBytesCeiling", kExtentBytesCeiling}};
  std::map<std::string, std::uint64_t> page;
  for (const auto& row : doc().table("Limits").rows) page[row[0]] = std::stoull(row[1]);
  EXPECT_EQ(page, code);
}

// What was released under a version number stays as it was. The digest is of the names, types and
// limits of all fields of all messages, in order.
TEST(ProtocolVersion, ChangedMessagesNeedAnotherVersion) {
  struct Pin {
    std::size_t message_count;
    const char* digest;
  };
  const std::map<std::uint16_t, Pin> pins = {
      {1, {30, "6738e86c606c6ef82cf583d914577e98"}}, {2, {33, "5cf123f0c8cfd90fa2c278023623838e"}},
      {3, {36, "b7ed74b0490f8117452255fbe7237f83"}}, {4, {39, "268779559526a375162fdebb508fe32a"}},
      {5, {39, "2f3eb7949110787660bfd7953bd5fe09"}}, {6, {41, "c642ac2aab1bc1aa682116857eb21ec2"}},
      {7, {43, "b0d2e7edd81861d4fb9d3fd1c63cc619"}}};
  std::string all;
  const std::vector<MessageTable> code = messages_of_the_code();
  for (const MessageTable& message : code) {
    all += message.name + "\n";
    for (const auto& field : message.fields) {
      all += field[0] + " " + field[1] + " " + field[2] + "\n";
    }
  }
  ASSERT_TRUE(pins.contains(kProtocolVersion)) << "pin the messages of the new version";
  const Pin& pin = pins.at(kProtocolVersion);
  EXPECT_EQ(code.size(), pin.message_count)
      << "a message more or less: raise kProtocolVersion and pin it here";
  EXPECT_EQ(to_string(hash128(std::as_bytes(std::span(all)), 0)), pin.digest)
      << "a field changed: raise kProtocolVersion and pin it here";
}

}  // namespace
}  // namespace vhdxm::transfer
