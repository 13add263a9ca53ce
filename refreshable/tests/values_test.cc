// SPDX-License-Identifier: Apache-2.0
//
// Tests of the small value types.

#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/hash/hash_testing.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "refreshable/credential.h"
#include "refreshable/event.h"
#include "refreshable/failure_class.h"
#include "refreshable/freshness.h"
#include "refreshable/generation.h"
#include "refreshable/health.h"

namespace refreshable {
namespace {

using ::testing::ElementsAre;

// A sink for AbslStringify.
struct Text {
  void Append(absl::string_view more) { text.append(more.data(), more.size()); }
  std::string text;
};

template <typename T>
std::string Stringified(const T& value) {
  Text text;
  AbslStringify(text, value);
  return text.text;
}

template <typename T>
std::string Streamed(const T& value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

TEST(GenerationTest, F2NextIsGreaterAndTheDefaultIsLeast) {
  constexpr Generation kNone;
  constexpr Generation kFirst = kNone.Next();
  static_assert(kNone.value() == 0 && kFirst.value() == 1, "");
  EXPECT_TRUE(kNone < kFirst && kFirst > kNone && kNone != kFirst);
  EXPECT_TRUE(kNone <= kFirst && kFirst >= kNone && kFirst == Generation(1));
  EXPECT_TRUE(kFirst <= kFirst && kFirst >= kFirst);
  EXPECT_FALSE(kFirst < kFirst || kFirst > kFirst || kFirst != kFirst);
  EXPECT_FALSE(kFirst <= kNone || kNone >= kFirst || kNone == kFirst);
}

TEST(GenerationTest, S2PrintsAndHashesAsItsNumber) {
  EXPECT_EQ(Streamed(Generation(42)), "42");
  EXPECT_EQ(Stringified(Generation(42)), "42");
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(
      {Generation(), Generation(1), Generation(2), Generation(~0ull)}));
}

TEST(FreshnessTest, S2HasStableNames) {
  std::vector<std::string> names;
  for (const Freshness state :
       {Freshness::kExpired, Freshness::kStale, Freshness::kFresh}) {
    names.push_back(Streamed(state));
    EXPECT_EQ(Stringified(state), names.back());
  }
  EXPECT_THAT(names, ElementsAre("expired", "stale", "fresh"));
}

TEST(EventTest, S1HasStableNames) {
  const std::pair<EventKind, const char*> kinds[] = {
      {EventKind::kAttemptStarted, "attempt_started"},
      {EventKind::kAttemptFailed, "attempt_failed"},
      {EventKind::kAttemptAbandoned, "attempt_abandoned"},
      {EventKind::kAttemptDiscarded, "attempt_discarded"},
      {EventKind::kTokenPublished, "token_published"},
      {EventKind::kTokenInvalidated, "token_invalidated"},
      {EventKind::kBackoff, "backoff"},
      {EventKind::kStateChanged, "state_changed"},
      {EventKind::kExhausted, "exhausted"},
      {EventKind::kHealed, "healed"},
      {EventKind::kDegraded, "degraded"},
  };
  for (const auto& [kind, name] : kinds) {
    EXPECT_EQ(EventKindName(kind), name);
    EXPECT_EQ(Streamed(kind), name);
    EXPECT_EQ(Stringified(kind), name);
  }
}

TEST(EventTest, S1ReasonsHaveStableNames) {
  const std::pair<RefreshReason, const char*> reasons[] = {
      {RefreshReason::kFirst, "first"},
      {RefreshReason::kStale, "stale"},
      {RefreshReason::kExpired, "expired"},
      {RefreshReason::kRejected, "rejected"},
      {RefreshReason::kProbe, "probe"},
  };
  for (const auto& [reason, name] : reasons) {
    EXPECT_EQ(Streamed(reason), name);
    EXPECT_EQ(Stringified(reason), name);
  }
}

TEST(CredentialTest, R5NeverIsAnInfiniteTime) {
  EXPECT_FALSE(Expiry::Never().is_relative());
  EXPECT_EQ(Expiry::Never().time(), absl::InfiniteFuture());
}

TEST(CredentialTest, F3SaysWhetherItsExpiryIsRelative) {
  const Expiry at = Expiry::At(absl::UnixEpoch());
  EXPECT_FALSE(at.is_relative());
  EXPECT_EQ(at.time(), absl::UnixEpoch());
  const Expiry in = Expiry::In(absl::Seconds(30));
  EXPECT_TRUE(in.is_relative());
  EXPECT_EQ(in.lifetime(), absl::Seconds(30));
  EXPECT_EQ(Expiry::In(absl::InfiniteDuration()).lifetime(),
            absl::InfiniteDuration());
}

TEST(CredentialTest, HoldsATokenThatCanOnlyBeMoved) {
  struct Token {
    explicit Token(int v) : value(v) {}
    Token(Token&&) noexcept = default;
    Token(const Token&) = delete;
    int value;
  };
  Credential<Token> credential(Token(7), Expiry::Never());
  Credential<Token> moved = std::move(credential);
  EXPECT_EQ(moved.token.value, 7);
}

TEST(FailureClassTest, B2SortsEveryCode) {
  const std::set<absl::StatusCode> transient = {
      absl::StatusCode::kUnavailable, absl::StatusCode::kDeadlineExceeded,
      absl::StatusCode::kAborted};
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "");
    EXPECT_EQ(ClassifyFailure(status),
              transient.count(status.code()) > 0  ? FailureClass::kTransient
              : absl::IsResourceExhausted(status) ? FailureClass::kThrottled
                                                  : FailureClass::kPermanent)
        << status;
  }
}

TEST(HealthTest, S2BeginsWithNothingHeld) {
  const Health health;
  EXPECT_EQ(health.freshness, Freshness::kExpired);
  EXPECT_EQ(health.generation, Generation());
  EXPECT_EQ(health.expires_at, absl::InfiniteFuture());
  EXPECT_TRUE(health.last_cause.ok());
}

}  // namespace
}  // namespace refreshable
