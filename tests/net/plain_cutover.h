// The least that hands disks over, for tests of the engine: no records, no epochs, three messages.
// It can be slow, deaf or refuse, as a test wants.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "transfer/cutover.h"
#include "transfer/shared_gate.h"

namespace vhdxm::transfer {

inline HandoverBody word(char letter) {
  return {static_cast<std::byte>(letter)};
}
inline char letter_of(std::span<const std::byte> body) {
  return body.size() == 1 ? static_cast<char>(body[0]) : '?';
}

/// prepare > < prepared, release > < owned; void > < voided.
class PlainSource final : public CutoverSource {
 public:
  explicit PlainSource(SharedGate& gate) : gate_(gate) {}

  HandoverBody introduce(const JobId&) override { return word('i'); }
  Step start(std::span<const std::byte> answer) override {
    return {.state = State::kVoid,
            .messages = {},
            .problem = letter_of(answer) == 'I' ? "" : "no introduction"};
  }
  Step begin(const Held& held) override {
    ++attempts;
    held_ = held;
    state_ = State::kWaiting;
    return {.state = state_, .messages = {word('p')}};
  }
  Step on_message(std::span<const std::byte> body) override {
    const char letter = letter_of(body);
    if (letter == 'P' && state_ == State::kWaiting) {
      state_ = gate_.fence(held_.hold) ? State::kReleased : State::kVoid;
      if (state_ == State::kReleased) return {.state = state_, .messages = {word('r')}};
    }
    if (letter == 'V' && state_ == State::kVoiding) state_ = State::kVoid;
    if (letter == 'O' && state_ == State::kReleased) state_ = State::kOwned;
    return {.state = state_};
  }
  Step give_up() override {
    if (state_ != State::kWaiting) return {.state = state_};
    state_ = State::kVoiding;
    return {.state = state_, .messages = {word('v')}};
  }
  State end(bool) override {
    if (state_ == State::kWaiting || state_ == State::kVoiding) state_ = State::kVoid;
    return state_;
  }

  std::atomic<unsigned> attempts{0};

 private:
  SharedGate& gate_;
  Held held_;
  State state_ = State::kVoid;
};

class PlainTarget final : public CutoverTarget {
 public:
  /// `deaf`: so many times its answer to 'p' does not arrive.
  PlainTarget(std::string folder, std::atomic<int>& deaf)
      : folder_(std::move(folder)), deaf_(deaf) {}

  Result<HandoverBody> begin(const JobId&, const std::vector<OfferDisk>& disks,
                             std::span<const std::byte> introduction) override {
    EXPECT_EQ(letter_of(introduction), 'i');
    for (const OfferDisk& disk : disks) names_.push_back(disk.name);
    return word('I');
  }
  Step on_message(std::span<const std::byte> body, const std::vector<PassLedger>&) override {
    switch (letter_of(body)) {
      case 'p':
        prepared_ = true;
        if (deaf_ > 0) {
          --deaf_;
          return {.state = State::kPrepared};  // and its word is lost
        }
        return {.state = State::kPrepared, .messages = {word('P')}};
      case 'v':
        prepared_ = false;
        return {.state = State::kReceiving, .messages = {word('V')}};
      case 'r':
        return {.state = State::kReleased};
      default:
        return {.state = State::kFailed, .problem = "what?"};
    }
  }
  bool get_ready() override { return prepared_; }
  Step on_closed() override {
    for (const std::string& name : names_) {
      std::filesystem::rename(folder_ + "/" + name + ".partial", folder_ + "/" + name);
    }
    return {.state = State::kOwned, .messages = {word('O')}};
  }
  void end() override {}

 private:
  const std::string folder_;
  std::atomic<int>& deaf_;
  bool prepared_ = false;
  std::vector<std::string> names_;
};

}  // namespace vhdxm::transfer
