// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/fault_injection/counted_source.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "refreshable/credential.h"
#include "refreshable/refresh_error.h"

namespace refreshable_examples {

using refreshable::BootTime;
using refreshable::RefreshPolicy;
using Result = absl::StatusOr<refreshable::Credential<std::string>>;

CountedSource::CountedSource(OAuthOptions options, absl::Duration timeout,
                             const refreshable::Clock* clock)
    : options_(std::move(options)), timeout_(timeout), clock_(clock) {}

void CountedSource::Fetch(const refreshable::FetchContext& context,
                          refreshable::FetchDone<std::string> done) {
  size_t number;
  {
    absl::MutexLock lock(&mu_);
    number = calls_.size();
    calls_.emplace_back();
    calls_.back().start = clock_->Now().boot;
  }
  OAuthOptions options = options_;
  absl::StrAppend(&options.token_url.target, "?call=", number);
  Result result = RequestToken(options, timeout_);
  {
    absl::MutexLock lock(&mu_);
    Call& call = calls_[number];
    call.status = result.status();
    if (result.ok() && result->expiry.lifetime() <= absl::ZeroDuration()) {
      call.status = absl::UnavailableError("an expired token");
    }
    call.end = clock_->Now().boot;
    call.in_time = !context.cancelled();
    call.ended = true;
  }
  done(std::move(result));
}

std::vector<CountedSource::Call> CountedSource::calls() const {
  absl::MutexLock lock(&mu_);
  return calls_;
}

int64_t CountedSource::failures(absl::string_view words) const {
  absl::MutexLock lock(&mu_);
  return CountFailures(words);
}

int64_t CountedSource::CountFailures(absl::string_view words) const {
  return std::count_if(calls_.begin(), calls_.end(), [&](const Call& call) {
    return call.ended && !call.status.ok() && call.status.message() == words;
  });
}

bool CountedSource::AwaitFailures(absl::string_view words, int64_t count,
                                  absl::Duration timeout) const {
  const auto reached = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return CountFailures(words) >= count;
  };
  absl::MutexLock lock(&mu_);
  return mu_.AwaitWithTimeout(absl::Condition(&reached), timeout);
}

bool CountedSource::AwaitIdle(absl::Duration timeout) const {
  absl::MutexLock lock(&mu_);
  return mu_.AwaitWithTimeout(absl::Condition(this, &CountedSource::AllEnded),
                              timeout);
}

bool CountedSource::AllEnded() const {
  return std::all_of(calls_.begin(), calls_.end(),
                     [](const Call& call) { return call.ended; });
}

namespace {

using Call = CountedSource::Call;

// Returns the minimum wait from the start of an attempt to the start of the
// next, after `failures` consecutive failures.
absl::Duration Wait(const RefreshPolicy& policy, int failures) {
  if (failures == 0) return policy.min_interval;
  const absl::Duration backoff =
      std::min(policy.retry.initial_backoff *
                   std::pow(policy.retry.multiplier, failures - 1),
               policy.retry.max_backoff);
  return failures < policy.retry.max_consecutive_failures
             ? backoff
             : std::min(backoff, policy.retry.probe_interval);
}

// Returns how many consecutive failures the library has certainly counted when
// call `next` starts. The failures of abandoned attempts are not certain.
int FailuresBefore(const std::vector<Call>& calls, size_t next) {
  std::vector<const Call*> ended;
  for (size_t i = 0; i < next; ++i) {
    if (calls[i].ended && calls[i].end <= calls[next].start) {
      ended.push_back(&calls[i]);
    }
  }
  std::sort(ended.begin(), ended.end(),
            [](const Call* a, const Call* b) { return a->end < b->end; });
  int failures = 0;
  for (const Call* call : ended) {
    if (call->status.ok()) {
      failures = 0;
    } else if (call->in_time) {
      ++failures;
    }
  }
  return failures;
}

}  // namespace

std::vector<std::string> CallsAheadOfSchedule(const std::vector<Call>& calls,
                                              const RefreshPolicy& policy) {
  std::vector<std::string> ahead;
  // The earliest time at which the attempt of call i can have started. The
  // library starts no attempt while it waits for an answer. So `start` is the
  // end of a call before i, the last one whose answer the library waited for.
  BootTime start = BootTime::InfinitePast();
  for (size_t i = 0; i + 1 < calls.size(); ++i) {
    const Call& call = calls[i];
    const bool waited_for = call.ended && call.in_time;
    const int failures = FailuresBefore(calls, i + 1);
    std::optional<absl::Duration> retry_after;
    if (!call.status.ok())
      retry_after = refreshable::GetRetryAfter(call.status);
    BootTime earliest = start + Wait(policy, failures);
    if (waited_for && retry_after.has_value()) {
      earliest =
          call.end + std::min(*retry_after, policy.retry.max_retry_after);
    } else if (waited_for && !call.status.ok()) {
      earliest = std::max(earliest, call.end + policy.min_interval);
    }
    // 1 us covers the rounding of a wait in floating point.
    if (calls[i + 1].start + absl::Microseconds(1) < earliest) {
      ahead.push_back(absl::StrCat(
          "call ", i + 1, " started ",
          absl::FormatDuration(earliest - calls[i + 1].start),
          " too early, after ", failures,
          " failures in a row, the last: ", call.status.ToString()));
    }
    if (waited_for) start = call.end;
  }
  return ahead;
}

}  // namespace refreshable_examples
