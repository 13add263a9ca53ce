// SPDX-License-Identifier: Apache-2.0

#include "refreshable/policy.h"

#include <cmath>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace refreshable {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const absl::Duration kZero = absl::ZeroDuration();
const absl::Duration kForever = absl::InfiniteDuration();
const absl::Duration kTick = absl::Nanoseconds(1) / 4;

// After `set`, the error of Validate names `field` and shows its value as
// `shown`. If the policy stays valid, `field` is empty and `shown` describes
// the change.
struct Case {
  const char* field;
  const char* shown;
  void (*set)(RefreshPolicy&);
};

TEST(PolicyTest, E6DefaultsAreValid) {
  EXPECT_EQ(Validate(RefreshPolicy()), absl::OkStatus());
}

TEST(PolicyTest, E6ABadValueIsRefusedWithItsField) {
  const Case cases[] = {
      {"expiry_margin", "-1s",
       [](RefreshPolicy& p) { p.expiry_margin = -absl::Seconds(1); }},
      {"expiry_margin", "-inf",
       [](RefreshPolicy& p) { p.expiry_margin = -kForever; }},
      {"stale_window", "-0.25ns",
       [](RefreshPolicy& p) { p.stale_window = -kTick; }},
      {"max_stale_window", "-1m",
       [](RefreshPolicy& p) { p.max_stale_window = -absl::Minutes(1); }},
      {"refresh_ahead", "true",
       [](RefreshPolicy& p) {
         p.background_refresh = false;
         p.refresh_ahead = true;
       }},
      {"background_cooldown", "-1s",
       [](RefreshPolicy& p) { p.background_cooldown = -absl::Seconds(1); }},
      {"min_interval", "-0.25ns",
       [](RefreshPolicy& p) { p.min_interval = -kTick; }},
      {"min_interval", "inf",
       [](RefreshPolicy& p) { p.min_interval = kForever; }},
      {"attempt_timeout", "0",
       [](RefreshPolicy& p) { p.attempt_timeout = kZero; }},
      {"attempt_timeout", "-1s",
       [](RefreshPolicy& p) { p.attempt_timeout = -absl::Seconds(1); }},
      {"max_abandoned_calls", "0",
       [](RefreshPolicy& p) { p.max_abandoned_calls = 0; }},
      {"max_abandoned_calls", "-7",
       [](RefreshPolicy& p) { p.max_abandoned_calls = -7; }},
      {"young_token_age", "-1s",
       [](RefreshPolicy& p) { p.young_token_age = -absl::Seconds(1); }},
      {"max_rejection_backoff", "1.99s",
       [](RefreshPolicy& p) {
         p.max_rejection_backoff = absl::Milliseconds(1990);
       }},
      {"max_rejection_backoff", "inf",
       [](RefreshPolicy& p) { p.max_rejection_backoff = kForever; }},
      {"max_stale_on_error", "-0.25ns",
       [](RefreshPolicy& p) { p.max_stale_on_error = -kTick; }},
      {"max_stale_on_error", "inf",
       [](RefreshPolicy& p) { p.max_stale_on_error = kForever; }},
      {"jitter", "-0.1", [](RefreshPolicy& p) { p.jitter = -0.1; }},
      {"jitter", "1", [](RefreshPolicy& p) { p.jitter = 1; }},
      {"jitter", "inf", [](RefreshPolicy& p) { p.jitter = HUGE_VAL; }},
      {"jitter", "nan", [](RefreshPolicy& p) { p.jitter = std::nan(""); }},
      {"retry.initial_backoff", "0",
       [](RefreshPolicy& p) { p.retry.initial_backoff = kZero; }},
      {"retry.initial_backoff", "-2s",
       [](RefreshPolicy& p) { p.retry.initial_backoff = -absl::Seconds(2); }},
      {"retry.initial_backoff", "inf",
       [](RefreshPolicy& p) { p.retry.initial_backoff = kForever; }},
      {"retry.multiplier", "0.99",
       [](RefreshPolicy& p) { p.retry.multiplier = 0.99; }},
      {"retry.multiplier", "inf",
       [](RefreshPolicy& p) { p.retry.multiplier = HUGE_VAL; }},
      {"retry.multiplier", "nan",
       [](RefreshPolicy& p) { p.retry.multiplier = std::nan(""); }},
      {"retry.max_backoff", "1s",
       [](RefreshPolicy& p) { p.retry.max_backoff = absl::Seconds(1); }},
      {"retry.max_backoff", "inf",
       [](RefreshPolicy& p) { p.retry.max_backoff = kForever; }},
      {"retry.max_retries", "-1",
       [](RefreshPolicy& p) { p.retry.max_retries = -1; }},
      {"retry.max_consecutive_failures", "6",
       [](RefreshPolicy& p) { p.retry.max_consecutive_failures = 6; }},
      {"retry.max_consecutive_failures", "7",
       [](RefreshPolicy& p) { p.retry.max_retries = 7; }},
      {"retry.max_consecutive_failures", "0",
       [](RefreshPolicy& p) {
         p.retry.max_retries = 0;
         p.retry.max_consecutive_failures = 0;
       }},
      {"retry.probe_interval", "0",
       [](RefreshPolicy& p) { p.retry.probe_interval = kZero; }},
      {"retry.probe_interval", "inf",
       [](RefreshPolicy& p) { p.retry.probe_interval = kForever; }},
      {"retry.probe_interval", "59s",
       [](RefreshPolicy& p) { p.retry.probe_interval = absl::Seconds(59); }},
      {"retry.probe_interval", "1m",
       [](RefreshPolicy& p) { p.retry.max_backoff = absl::Seconds(61); }},
      {"retry.probe_interval", "4s",
       [](RefreshPolicy& p) {
         p.retry.multiplier = 1;
         p.retry.initial_backoff = absl::Seconds(5);
         p.retry.probe_interval = absl::Seconds(4);
       }},
      {"retry.max_retry_after", "-1s",
       [](RefreshPolicy& p) { p.retry.max_retry_after = -absl::Seconds(1); }},
      {"retry.max_retry_after", "inf",
       [](RefreshPolicy& p) { p.retry.max_retry_after = kForever; }},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(std::string(c.field) + " = " + c.shown);
    RefreshPolicy policy;
    c.set(policy);
    const absl::Status status = Validate(policy);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                StartsWith(std::string("RefreshPolicy.") + c.field + " is " +
                           c.shown + ", must be "));
  }
}

TEST(PolicyTest, E6TheEdgesOfWhatIsAllowed) {
  const Case cases[] = {
      {"", "zeros",
       [](RefreshPolicy& p) {
         p.expiry_margin = p.max_stale_window = kZero;
         p.background_cooldown = kZero;
         p.min_interval = p.young_token_age = p.max_stale_on_error = kZero;
         p.stale_window = kZero;
         p.jitter = 0;
         p.retry.max_retries = 0;
         p.retry.max_consecutive_failures = 1;
         p.retry.max_retry_after = kZero;
       }},
      {"", "the least that must be more than zero",
       [](RefreshPolicy& p) {
         p.attempt_timeout = kTick;
         p.max_abandoned_calls = 1;
         p.retry.initial_backoff = p.retry.max_backoff = kTick;
         p.retry.multiplier = 1;
         p.retry.probe_interval = kTick;
       }},
      {"", "without bound",
       [](RefreshPolicy& p) {
         p.expiry_margin = p.max_stale_window = kForever;
         p.background_cooldown = kForever;
         p.attempt_timeout = kForever;
         p.young_token_age = kForever;
         p.stale_window = kForever;
         p.jitter = std::nextafter(1.0, 0.0);
         p.max_abandoned_calls = std::numeric_limits<int>::max();
         p.retry.multiplier = std::numeric_limits<double>::max();
         p.retry.max_consecutive_failures = std::numeric_limits<int>::max();
         p.retry.max_retries = std::numeric_limits<int>::max() - 1;
       }},
      {"", "the shortest and a long wait between rejections",
       [](RefreshPolicy& p) {
         p.max_rejection_backoff = p.retry.initial_backoff;
       }},
      {"", "longer than other waits",
       [](RefreshPolicy& p) { p.max_rejection_backoff = absl::Hours(1); }},
      {"", "probes as frequent as the longest backoff",
       [](RefreshPolicy& p) {
         p.retry.multiplier = 1;
         p.retry.initial_backoff = absl::Seconds(5);
         p.retry.probe_interval = absl::Seconds(5);
       }},
      {"", "no probes",
       [](RefreshPolicy& p) {
         p.retry.on_exhausted = OnExhausted::kFatal;
         p.retry.probe_interval = absl::Seconds(1);
       }},
      {"", "ahead", [](RefreshPolicy& p) { p.refresh_ahead = true; }},
      {"", "never in the background",
       [](RefreshPolicy& p) { p.background_refresh = false; }},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.shown);
    RefreshPolicy policy;
    c.set(policy);
    EXPECT_EQ(Validate(policy), absl::OkStatus());
  }
}

TEST(PolicyTest, E6TheErrorSaysWhatWouldDo) {
  RefreshPolicy policy;
  policy.retry.max_retries = 9;
  policy.jitter = 2;  // Only one of two invalid fields is reported.
  EXPECT_EQ(Validate(policy).message(),
            "RefreshPolicy.jitter is 2, must be in [0, 1)");
  policy.jitter = 0;
  EXPECT_THAT(std::string(Validate(policy).message()),
              HasSubstr("is 7, must be > retry.max_retries (9)"));
}

}  // namespace
}  // namespace refreshable
