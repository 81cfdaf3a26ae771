#include "transfer/messages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>

#include "base/little_endian.h"
#include "tests/support/random_seed.h"
#include "tests/transfer/hex_bytes.h"
#include "tests/transfer/random_message.h"
#include "transfer/errc.h"
#include "transfer/wire_text.h"

namespace vhdxm::transfer {
namespace {

constexpr std::size_t kTypes = std::variant_size_v<Message>;

using Bytes = std::vector<std::byte>;

Result<Message> decode(std::span<const std::byte> bytes,
                       std::uint32_t body_bytes_max = kBodyBytesMax) {
  VHDXM_TRY(const MessageHeader header,
            decode_message_header(bytes.first<kMessageHeaderBytes>(), body_bytes_max));
  return decode_message(header, bytes.subspan(kMessageHeaderBytes));
}

/// The message again with another body.
Bytes with_body(const Message& message, const Bytes& body) {
  Bytes bytes = encode(message);
  bytes.resize(kMessageHeaderBytes);
  const Le32 length = static_cast<std::uint32_t>(body.size());
  store_raw(bytes.data(), length);
  bytes.insert(bytes.end(), body.begin(), body.end());
  return bytes;
}

Bytes body_of(const Message& message) {
  const Bytes bytes = encode(message);
  return {bytes.begin() + kMessageHeaderBytes, bytes.end()};
}

void expect_refused(const Message& message, const Bytes& body, std::string_view where) {
  const Result<Message> result = decode(with_body(message, body));
  ASSERT_TRUE(result.has_error()) << where;
  EXPECT_EQ(result.error().code, Errc::kProtocol);
  EXPECT_NE(std::string_view(result.error().where).find(where), std::string_view::npos)
      << describe(result.error());
}

template <class T>
void overwrite(Bytes& bytes, std::size_t at, T value) {
  const Le<T> raw = value;
  ASSERT_LE(at + sizeof raw, bytes.size());
  store_raw(bytes.data() + at, raw);
}

TEST(Messages, EveryTypeComesBack) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (std::size_t type = 0; type < kTypes; ++type) {
    for (int round = 0; round < 50; ++round) {
      const Message message = random_message(type, random);
      const Bytes bytes = encode(message);
      ASSERT_LE(bytes.size(), kMessageHeaderBytes + kBodyBytesMax);
      const Result<Message> again = decode(bytes);
      ASSERT_TRUE(again) << describe(again.error());
      ASSERT_EQ(again->index(), type);
      ASSERT_EQ(encode(*again), bytes) << name_of(message);
    }
  }
}

TEST(Messages, CutAnywhereIsRefused) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (std::size_t type = 0; type < kTypes; ++type) {
    for (int round = 0; round < 5; ++round) {
      const Message message = random_message(type, random);
      const Bytes body = body_of(message);
      for (std::size_t length = 0; length < body.size(); ++length) {
        const MessageHeader header{.body_bytes = static_cast<std::uint32_t>(length),
                                   .type = static_cast<std::uint16_t>(type + 1)};
        const Result<Message> result = decode_message(header, std::span(body).first(length));
        ASSERT_TRUE(result.has_error()) << name_of(message) << " cut to " << length;
        ASSERT_EQ(result.error().code, Errc::kProtocol);
        ASSERT_EQ(std::string_view(result.error().where).find(name_of(message)), 0u)
            << "must name the message: " << describe(result.error());
      }
    }
  }
}

TEST(Messages, TrailingBytesAreRefused) {
  std::mt19937_64 random(1);
  for (std::size_t type = 0; type < kTypes; ++type) {
    const Message message = random_message(type, random);
    Bytes body = body_of(message);
    body.push_back(std::byte{0});
    expect_refused(message, body, name_of(message));
  }
}

TEST(Messages, ChangedBytesAreRefusedOrComeBackTheSame) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 20'000; ++round) {
    Bytes bytes = encode(random_message(random() % kTypes, random));
    if (bytes.size() == kMessageHeaderBytes) continue;
    const std::size_t body_bytes = bytes.size() - kMessageHeaderBytes;
    bytes[kMessageHeaderBytes + random() % body_bytes] = static_cast<std::byte>(random());
    const Result<Message> result = decode(bytes);
    if (result) {
      ASSERT_EQ(encode(*result), bytes);
    }
  }
}

TEST(Messages, NamesAreDistinct) {
  std::mt19937_64 random(1);
  std::set<std::string> names;
  for (std::size_t type = 0; type < kTypes; ++type) {
    names.insert(name_of(random_message(type, random)));
  }
  EXPECT_EQ(names.size(), kTypes);
  EXPECT_STREQ(name_of(Hello{}), "Hello");
  EXPECT_STREQ(name_of(OfferItem{}), "OfferItem");
  EXPECT_STREQ(name_of(Written{}), "Written");
  EXPECT_STREQ(name_of(EndDisk{}), "EndDisk");
  EXPECT_STREQ(name_of(Fail{}), "Fail");
  EXPECT_STREQ(name_of(JoinReply{}), "JoinReply");
}

TEST(Messages, HeaderOfAnUnknownTypeIsRefused) {
  for (const unsigned type : {0u, static_cast<unsigned>(kTypes) + 1, 0xffffu}) {
    Bytes bytes = encode(Heartbeat{});
    overwrite(bytes, 4, static_cast<std::uint16_t>(type));
    const Result<Message> result = decode(bytes);
    ASSERT_TRUE(result.has_error());
    EXPECT_EQ(result.error().code, Errc::kProtocol);
    EXPECT_EQ(result.error().found, type);
  }
}

TEST(Messages, HeaderReservedBytesAreZero) {
  Bytes bytes = encode(Heartbeat{});
  overwrite(bytes, 6, std::uint16_t{1});
  EXPECT_EQ(decode(bytes).error().code, Errc::kProtocol);
}

TEST(Messages, BodyOverTheLimitIsRefusedByItsHeader) {
  Bytes bytes = encode(Heartbeat{});
  for (const std::uint32_t limit : {kEarlyBodyBytesMax, kBodyBytesMax}) {
    overwrite(bytes, 0, limit);
    EXPECT_TRUE(decode_message_header(std::span(bytes).first<8>(), limit));
    overwrite(bytes, 0, limit + 1);
    const auto header = decode_message_header(std::span(bytes).first<8>(), limit);
    ASSERT_TRUE(header.has_error());
    EXPECT_EQ(header.error().code, Errc::kTooLarge);
    overwrite(bytes, 0, ~std::uint32_t{0});
    EXPECT_TRUE(decode_message_header(std::span(bytes).first<8>(), limit).has_error());
  }
}

TEST(Messages, LargestOfEachRunFitsInABody) {
  OfferItem item;
  item.item.content.resize(vhdx::kMetadataItemBytesMax);
  EXPECT_LE(encode(item).size(), kMessageHeaderBytes + kBodyBytesMax);
  EXPECT_TRUE(decode(encode(item)));
  PlanPart part;
  part.bytes.resize(kBlockPlanPartBytesMax);
  EXPECT_LE(encode(part).size(), kMessageHeaderBytes + kBodyBytesMax);
  EXPECT_TRUE(decode(encode(part)));
  OfferDisk offer;
  offer.name = std::string(kNameBytesMax, 'n');
  offer.description.parent.emplace();
  offer.description.parent->entries.assign(
      kLocatorEntriesMax,
      {std::string(kLocatorTextBytesMax, 'k'), std::string(kLocatorTextBytesMax, 'v')});
  EXPECT_LE(encode(offer).size(), kMessageHeaderBytes + kBodyBytesMax);
  EXPECT_TRUE(decode(encode(offer)));
}

TEST(Messages, EarlyMessagesFitTheEarlyLimit) {
  Hello hello;
  hello.software = std::string(kSoftwareBytesMax, 's');
  Fail fail;
  fail.text = std::string(kFailTextBytesMax, 'f');
  for (const Message& message : {Message(hello), Message(fail), Message(Join{})}) {
    EXPECT_LE(encode(message).size(), kMessageHeaderBytes + kEarlyBodyBytesMax);
  }
}

TEST(Messages, OverItsOwnLimitsIsNotEncoded) {
  const auto refused = [](const Message& message, std::string_view where) {
    const Result<Bytes> result = encode_checked(message);
    ASSERT_TRUE(result.has_error()) << where;
    EXPECT_EQ(result.error().code, Errc::kIncompatible);
    EXPECT_NE(std::string_view(result.error().where).find(where), std::string_view::npos)
        << result.error().where;
  };
  OfferDisk offer;
  offer.name = std::string(kNameBytesMax + 1, 'n');
  refused(offer, "OfferDisk.name");
  offer.name = "bad\xff.vhdx";
  refused(offer, "OfferDisk.name");
  offer.name = "escape\x1b[31m.vhdx";
  refused(offer, "OfferDisk.name");
  offer.name = "good.vhdx";
  for (const std::string& folder : {std::string(kFolderNameBytesMax + 1, 'f'), std::string(".."),
                                    std::string("a/b"), std::string("/"), std::string("a b")}) {
    offer.folder = folder;
    refused(offer, "OfferDisk.folder");
  }
  offer.folder = std::string(kFolderNameBytesMax, 'f');
  EXPECT_TRUE(encode_checked(offer).has_value());
  offer.description.parent.emplace();
  offer.description.parent->entries.assign(kLocatorEntriesMax + 1, {"k", "v"});
  refused(offer, "OfferDisk.parent");
  offer.description.parent->entries = {{"k", std::string(kLocatorTextBytesMax + 1, 'v')}};
  refused(offer, "OfferDisk.parent.value");
  offer.description.parent->entries = {{std::string(kLocatorTextBytesMax + 1, 'k'), "v"}};
  refused(offer, "OfferDisk.parent.key");
  OfferItem item;
  item.item.content.resize(vhdx::kMetadataItemBytesMax + 1);
  refused(item, "OfferItem.content");
  refused(OfferReply{.actions = std::vector<OfferAction>(kDisksMax + 1)}, "OfferReply.actions");
  refused(OfferReply{.actions = {static_cast<OfferAction>(2)}}, "OfferReply.actions");
  refused(StreamTokens{.grants = std::vector<StreamGrant>(kStreamsMax + 1)}, "StreamTokens.grants");
  refused(Written{.streams = std::vector<WrittenCount>(kStreamsMax + 1), .credit_bytes = 0},
          "Written.streams");
  EXPECT_DEATH(static_cast<void>(encode(item)), "broken invariant");
}

TEST(Messages, LengthsAreHeldAgainstLimitAndWhatIsThere) {
  // A text: 4 bytes of length at the end of Hello.
  const Hello hello{.software = "abc"};
  Bytes body = body_of(hello);
  const std::size_t at = body.size() - 3 - 4;
  for (const std::uint32_t length : {4u, 255u}) {
    overwrite(body, at, length);
    expect_refused(hello, body, "Hello.software (the body ends");
  }
  for (const std::uint32_t length : {256u, 0x80000000u, 0xffffffffu}) {
    overwrite(body, at, length);
    expect_refused(hello, body, "Hello.software (over its limit)");
  }
  // Lists: the count is first.
  const StreamTokens tokens{.grants = {StreamGrant{}}};
  body = body_of(tokens);
  overwrite(body, 0, std::uint32_t{kStreamsMax});
  expect_refused(tokens, body, "StreamTokens.grants.stream (the body ends");
  for (const std::uint32_t count : {std::uint32_t{kStreamsMax} + 1, 0x80000000u, 0xffffffffu}) {
    overwrite(body, 0, count);
    expect_refused(tokens, body, "StreamTokens.grants (over its limit)");
  }
  const OfferReply reply{.actions = {OfferAction::kCompare}};
  body = body_of(reply);
  overwrite(body, 0, 0xffffffffu);
  expect_refused(reply, body, "OfferReply.actions (over");
  // Byte runs.
  PlanPart part;
  part.bytes.resize(3);
  body = body_of(part);
  overwrite(body, 12, std::uint32_t{kBlockPlanPartBytesMax});
  expect_refused(part, body, "PlanPart.bytes (the body ends");
  overwrite(body, 12, std::uint32_t{kBlockPlanPartBytesMax + 1});
  expect_refused(part, body, "PlanPart.bytes (over");
}

TEST(Messages, EnumValuesThatDoNotExistAreRefused) {
  OfferDisk offer;
  Bytes body = body_of(offer);
  const std::size_t type_at = 4 + 4 + 8 + 4 + 4 + 4;
  ASSERT_EQ(std::to_integer<unsigned>(body[type_at]),
            static_cast<unsigned>(vhdx::DiskType::kDynamic));
  body[type_at] = std::byte{3};
  expect_refused(offer, body, "OfferDisk.type");
  body = body_of(offer);
  body[type_at + 1 + 32] = std::byte{2};
  expect_refused(offer, body, "OfferDisk.has_parent");
  const OfferReply reply{.actions = {OfferAction::kSend}};
  body = body_of(reply);
  body[4] = std::byte{2};
  expect_refused(reply, body, "OfferReply.actions.action");
  const OfferEnd end{.disk_count = 1};
  body = body_of(end);
  body[4] = std::byte{2};
  expect_refused(end, body, "OfferEnd.kind");
}

TEST(Messages, TextThatMayNotStandThereIsRefused) {
  const Fail fail{.code = 4, .text = "abc"};
  for (const char* three : {"a\xff"
                            "b",
                            "\xe2\x82"
                            "a",
                            "a\n"
                            "b",
                            "a\x1b"
                            "b"}) {
    Bytes body = body_of(fail);
    std::copy_n(std::as_bytes(std::span(three, 3)).begin(), 3, body.end() - 3);
    expect_refused(fail, body, "Fail.text");
  }
}

TEST(Messages, AFolderIsAPlainNameForTheDecoderToo) {
  const OfferDisk offer{.name = "a.vhdx", .description = {}, .folder = "fast"};
  const Result<Message> good = decode(encode(offer));
  ASSERT_TRUE(good);
  EXPECT_EQ(std::get<OfferDisk>(*good).folder, "fast");
  for (const std::string four :
       {"a/bc", "/abc", "abc/", "../a", "....", "a.vh", "a bc", "a\\bc", "\xc3\xa4st", "a\nbc"}) {
    Bytes body = body_of(offer);
    const auto bytes = std::as_bytes(std::span(four));
    ASSERT_EQ(bytes.size(), 4u);
    std::copy(bytes.begin(), bytes.end(), body.end() - 4);
    expect_refused(offer, body, "OfferDisk.folder (not text that may stand there)");
  }
  // Its end: a NUL, or a longer one than there is.
  Bytes body = body_of(offer);
  body.back() = std::byte{0};
  expect_refused(offer, body, "OfferDisk.folder");
  body = body_of(offer);
  overwrite(body, body.size() - 8, std::uint32_t{kFolderNameBytesMax});
  expect_refused(offer, body, "OfferDisk.folder (the body ends");
  overwrite(body, body.size() - 8, std::uint32_t{kFolderNameBytesMax} + 1);
  expect_refused(offer, body, "OfferDisk.folder (over its limit)");
}

TEST(Messages, GeometryIsForTheSessionToJudge) {
  OfferDisk offer;
  offer.description.geometry.virtual_size_bytes = ~std::uint64_t{0};
  offer.description.geometry.block_bytes = 7;
  const Result<Message> again = decode(encode(offer));
  ASSERT_TRUE(again);
  EXPECT_EQ(std::get<OfferDisk>(*again).description.geometry, offer.description.geometry);
}

TEST(Messages, FailTextIsCleanedAndCutAtACharacter) {
  Fail fail{.code = 4, .text = std::string(kFailTextBytesMax - 1, 'a') + "\xe2\x82\xac tail"};
  Result<Message> again = decode(encode(fail));
  ASSERT_TRUE(again);
  EXPECT_EQ(std::get<Fail>(*again).text, std::string(kFailTextBytesMax - 1, 'a'));
  fail.text = "no file /disks/\xff\n\x1b[2J";
  again = decode(encode(fail));
  ASSERT_TRUE(again);
  EXPECT_EQ(std::get<Fail>(*again).text, "no file /disks/???[2J");
}

TEST(Messages, OpaqueItemsDoNotTravelInTheOffer) {
  OfferDisk offer;
  offer.name = "a.vhdx";
  const Bytes without = encode(offer);
  offer.description.opaque_items.resize(3);
  EXPECT_EQ(encode(offer), without);
}

TEST(MessageReader, PutsMessagesTogetherFromAnyPieces) {
  const auto seed = test::random_seed();
  SCOPED_TRACE(test::repeat_with(seed));
  std::mt19937_64 random(seed);
  Bytes stream;
  std::vector<Bytes> sent;
  for (int i = 0; i < 300; ++i) {
    sent.push_back(encode(random_message(random() % kTypes, random)));
    stream.insert(stream.end(), sent.back().begin(), sent.back().end());
  }
  for (const std::size_t piece_max : {1u, 13u, 1000u, 100'000u}) {
    MessageReader reader(kBodyBytesMax);
    std::size_t at = 0;
    std::size_t got = 0;
    while (at < stream.size()) {
      const std::size_t piece = std::min<std::size_t>(1 + random() % piece_max, stream.size() - at);
      reader.feed(std::span(stream).subspan(at, piece));
      at += piece;
      while (true) {
        Result<std::optional<Message>> next = reader.next();
        ASSERT_TRUE(next) << describe(next.error());
        if (!next->has_value()) break;
        ASSERT_EQ(encode(**next), sent[got]);
        ++got;
      }
    }
    EXPECT_EQ(got, sent.size());
    EXPECT_TRUE(reader.take_rest().empty());
  }
}

TEST(MessageReader, HoldsBodiesToTheLimitOfTheMoment) {
  MessageReader reader;
  PlanPart part;
  part.bytes.resize(kEarlyBodyBytesMax);
  reader.feed(encode(part));
  const auto refused = reader.next();
  ASSERT_TRUE(refused.has_error());
  EXPECT_EQ(refused.error().code, Errc::kTooLarge);
  reader.set_body_bytes_max(kBodyBytesMax);
  EXPECT_TRUE(reader.next()->has_value());
}

TEST(MessageReader, LeavesWhatFollowsJoin) {
  MessageReader reader;
  Bytes stream = encode(Join{.stream = 3});
  const Bytes frames = from_hex("01 02 03 04");
  stream.insert(stream.end(), frames.begin(), frames.end());
  reader.feed(stream);
  ASSERT_TRUE(reader.next()->has_value());
  EXPECT_EQ(reader.take_rest(), frames);
  EXPECT_TRUE(reader.take_rest().empty());
}

}  // namespace
}  // namespace vhdxm::transfer
