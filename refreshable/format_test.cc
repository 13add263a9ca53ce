// SPDX-License-Identifier: Apache-2.0

#include "refreshable/format.h"

#include <atomic>
#include <memory>
#include <sstream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "fmt/format.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/refreshable.h"

namespace refreshable {
namespace {

struct Sink {
  void Append(absl::string_view text) {
    written.append(text.data(), text.size());
  }
  std::string written;
};

// Checks that all printers write the same single line, and returns it.
template <typename Value>
std::string Printed(const Value& value) {
  std::ostringstream os;
  os << value;
  EXPECT_EQ(fmt::format("{}", value), os.str());
  EXPECT_EQ(testing::PrintToString(value), os.str());
  Sink sink;
  AbslStringify(sink, value);
  EXPECT_EQ(sink.written, os.str());
  EXPECT_EQ(os.str().find('\n'), std::string::npos) << "not one line";
  return os.str();
}

const absl::Time kNewYear = absl::FromUnixSeconds(1767225600);

TEST(FormatTest, S2Names) {
  EXPECT_EQ(Printed(Generation()), "0");
  EXPECT_EQ(Printed(Generation(18446744073709551615u)), "18446744073709551615");
  EXPECT_EQ(Printed(Freshness::kExpired), "expired");
  EXPECT_EQ(Printed(Freshness::kStale), "stale");
  EXPECT_EQ(Printed(Freshness::kFresh), "fresh");
  EXPECT_EQ(Printed(RefreshReason::kFirst), "first");
  EXPECT_EQ(Printed(RefreshReason::kStale), "stale");
  EXPECT_EQ(Printed(RefreshReason::kExpired), "expired");
  EXPECT_EQ(Printed(RefreshReason::kRejected), "rejected");
  EXPECT_EQ(Printed(RefreshReason::kProbe), "probe");
  EXPECT_EQ(Printed(FailureClass::kTransient), "transient");
  EXPECT_EQ(Printed(FailureClass::kThrottled), "throttled");
  EXPECT_EQ(Printed(FailureClass::kPermanent), "permanent");
  EXPECT_EQ(Printed(OnExhausted::kSelfHeal), "self_heal");
  EXPECT_EQ(Printed(OnExhausted::kFatal), "fatal");
}

// Dashboards of users contain these names, so none may change.
TEST(FormatTest, S1EventNamesAreStable) {
  const char* const names[] = {"attempt_started",   "attempt_failed",
                               "attempt_abandoned", "attempt_discarded",
                               "token_published",   "token_invalidated",
                               "backoff",           "state_changed",
                               "exhausted",         "healed",
                               "degraded",          "token_rejected",
                               "token_unchanged"};
  ASSERT_EQ(sizeof(names) / sizeof(names[0]), kEventKinds);
  for (size_t i = 0; i < kEventKinds; ++i) {
    EXPECT_EQ(Printed(static_cast<EventKind>(i)), names[i]);
  }
}

TEST(FormatTest, S2Expiry) {
  EXPECT_EQ(Printed(Expiry::Never()), "never");
  EXPECT_EQ(Printed(Expiry::At(absl::InfiniteFuture())), "never");
  EXPECT_EQ(Printed(Expiry::In(absl::InfiniteDuration())), "never");
  EXPECT_EQ(Printed(Expiry::At(kNewYear)), "2026-01-01T00:00:00+00:00");
  EXPECT_EQ(Printed(Expiry::In(absl::Minutes(90))), "in 1h30m");
  EXPECT_EQ(
      Printed(Expiry::In(absl::Hours(1)).WithRefreshIn(absl::Minutes(50))),
      "in 1h, refresh in 50m");
  EXPECT_EQ(Printed(Expiry::In(absl::Hours(1)).WithRefreshIn(-absl::Hours(1))),
            "in 1h");
}

TEST(FormatTest, S2Event) {
  Event event;
  event.generation = Generation(3);
  EXPECT_EQ(Printed(event), "state_changed generation=3 state=expired");
  event.kind = EventKind::kAttemptStarted;
  event.reason = RefreshReason::kProbe;
  event.attempt = 1;
  event.failures = 7;
  EXPECT_EQ(Printed(event),
            "attempt_started generation=3 reason=probe attempt=1 failures=7");
  event.kind = EventKind::kAttemptFailed;
  event.status = absl::UnavailableError("HTTP status 502");
  EXPECT_EQ(Printed(event),
            "attempt_failed generation=3 attempt=1 failures=7 "
            "status=\"UNAVAILABLE: HTTP status 502\"");
  event = Event();
  event.kind = EventKind::kBackoff;
  event.failures = 1;
  event.delay = absl::Seconds(2);
  EXPECT_EQ(Printed(event), "backoff generation=0 failures=1 delay=2s");
}

TEST(FormatTest, S2HealthAndStats) {
  Health health;
  EXPECT_EQ(Printed(health), "expired, generation 0, expires never");
  health.freshness = Freshness::kStale;
  health.generation = Generation(2);
  health.expires_at = kNewYear;
  health.rejected = true;
  health.refreshing = true;
  health.waiters = 5;
  health.failures = 3;
  health.last_cause = absl::UnavailableError("down");
  health.next_attempt = kNewYear + absl::Seconds(1);
  health.exhausted = true;
  health.fatal = true;
  EXPECT_EQ(Printed(health),
            "stale, generation 2, expires 2026-01-01T00:00:00+00:00, "
            "rejected, refreshing, waiters 5, failures 3 (last: \"UNAVAILABLE: "
            "down\"), "
            "next attempt 2026-01-01T00:00:01+00:00, exhausted, fatal");
  Stats stats;
  stats.attempts_started = 1;
  stats.attempts_failed = 2;
  stats.attempts_abandoned = 3;
  stats.attempts_discarded = 4;
  stats.tokens_published = 5;
  stats.tokens_invalidated = 6;
  stats.tokens_rejected = 7;
  stats.tokens_unchanged = 8;
  EXPECT_EQ(Printed(stats),
            "attempts_started=1 attempts_failed=2 attempts_abandoned=3 "
            "attempts_discarded=4 tokens_published=5 tokens_invalidated=6 "
            "tokens_rejected=7 tokens_unchanged=8");
}

TEST(FormatTest, S2RefreshError) {
  RefreshError error;
  error.cause = "HTTP status 502";
  error.failures = 2;
  error.next_attempt = kNewYear;
  EXPECT_EQ(Printed(error),
            "failures=2 next_attempt=2026-01-01T00:00:00+00:00 fatal=false "
            "rejected=false cause=\"HTTP status 502\"");
  error.next_attempt = absl::InfiniteFuture();
  error.fatal = true;
  error.rejected = true;
  EXPECT_EQ(Printed(error),
            "failures=2 next_attempt=infinite-future fatal=true "
            "rejected=true cause=\"HTTP status 502\"");
}

TEST(FormatTest, S2Policies) {
  RefreshPolicy policy;
  const std::string retry =
      "initial_backoff=2s multiplier=2 max_backoff=1m max_retries=6 "
      "max_consecutive_failures=7 on_exhausted=self_heal probe_interval=1m "
      "max_retry_after=5m";
  EXPECT_EQ(Printed(policy.retry), retry);
  EXPECT_EQ(Printed(policy),
            "expiry_margin=40s stale_window=unset max_stale_window=20m "
            "background_refresh=true refresh_ahead=false "
            "background_cooldown=unset min_interval=1s attempt_timeout=30s "
            "max_abandoned_calls=2 young_token_age=30s "
            "max_rejection_backoff=unset max_stale_on_error=0 jitter=0.1 " +
                retry);
  policy.stale_window = absl::Minutes(3);
  policy.max_rejection_backoff = absl::Minutes(10);
  EXPECT_NE(Printed(policy).find(" stale_window=3m "), std::string::npos);
  policy.background_cooldown = absl::Seconds(7);
  EXPECT_NE(Printed(policy).find(" background_cooldown=7s "),
            std::string::npos);
  EXPECT_NE(Printed(policy).find(" max_rejection_backoff=10m "),
            std::string::npos);
}

TEST(FormatTest, S2FetchContext) {
  const auto cancelled = std::make_shared<std::atomic<bool>>(false);
  const FetchContext context(RefreshReason::kRejected, 2, Generation(4),
                             absl::Seconds(30), cancelled);
  EXPECT_EQ(Printed(context),
            "FetchContext(rejected, attempt 2, rejected 4, timeout 30s)");
  *cancelled = true;
  EXPECT_EQ(Printed(context),
            "FetchContext(rejected, attempt 2, rejected 4, timeout 30s, "
            "cancelled)");
}

TEST(FormatTest, S2LeaseAndCredential) {
  ManualExecutor executor;
  RefreshPolicy policy;
  policy.max_stale_on_error = absl::Hours(1);
  policy.jitter = 0;
  int calls = 0;
  const auto token = *Refreshable<std::string>::Create(
      BlockingSource<std::string>(
          [&calls]() -> absl::StatusOr<Credential<std::string>> {
            if (++calls > 1) return absl::UnavailableError("down");
            return Credential<std::string>(
                "t1", Expiry::At(kNewYear + absl::Hours(1)));
          }),
      {&executor, policy});
  EXPECT_EQ(Printed(*token->Get()),
            "Lease(generation 1, expires 2026-01-01T01:00:00+00:00)");
  executor.AdvanceBy(absl::Hours(1));
  EXPECT_EQ(Printed(*token->Get()),
            "Lease(generation 1, expires 2026-01-01T01:00:00+00:00, degraded)");
  EXPECT_EQ(Printed(Credential<std::string>("t1", Expiry::At(kNewYear))),
            "Credential(expires 2026-01-01T00:00:00+00:00)");
}

// No part of a source's message may look like a further field or line of a log.
TEST(FormatTest, S2HostileMessagesStayOnOneLineInTheirQuotes) {
  const absl::Status hostile =
      absl::UnavailableError("a\nb\r\" token_published generation=9 \\ \x01");
  const std::string quoted =
      "a\\nb\\r\\\" token_published generation=9 \\\\ \\001";
  Event event;
  event.kind = EventKind::kAttemptFailed;
  event.status = hostile;
  EXPECT_EQ(Printed(event),
            "attempt_failed generation=0 "
            "status=\"UNAVAILABLE: " +
                quoted + "\"");
  Health health;
  health.failures = 1;
  health.last_cause = hostile;
  EXPECT_NE(Printed(health).find("(last: \"UNAVAILABLE: " + quoted + "\")"),
            std::string::npos);
  RefreshError error;
  error.cause = std::string(hostile.message());
  EXPECT_NE(Printed(error).find("cause=\"" + quoted + "\""), std::string::npos);
  event.status = absl::UnavailableError("Wartung läuft");
  EXPECT_NE(Printed(event).find("Wartung läuft"), std::string::npos);
}

TEST(FormatTest, S3PayloadsAreNotPrinted) {
  absl::Status status = absl::UnavailableError("down");
  status.SetPayload("answer", absl::Cord("tok-7f3a9"));
  Event event;
  event.status = status;
  EXPECT_EQ(Printed(event).find("tok"), std::string::npos);
  Health health;
  health.failures = 1;
  health.last_cause = status;
  EXPECT_EQ(Printed(health).find("tok"), std::string::npos);
}

}  // namespace
}  // namespace refreshable
