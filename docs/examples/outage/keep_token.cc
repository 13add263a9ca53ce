// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/keep_token.h"

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "docs/examples/outage/http_api.h"
#include "docs/examples/outage/refreshable_client.h"
#include "docs/examples/outage/workload.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/observer.h"
#include "refreshable/refresh_error.h"
#include "refreshable/refreshable.h"

namespace refreshable_examples {
namespace {

using refreshable::BootTime;
using refreshable::Event;
using refreshable::EventKind;
using refreshable::Health;
using refreshable::Refreshable;
using refreshable::ThreadExecutor;
using StringToken = Refreshable<std::string>;

constexpr absl::Duration kTick = absl::Milliseconds(100);
constexpr absl::Duration kCallEvery = absl::Seconds(1);
constexpr absl::Duration kStatusEvery = absl::Seconds(30);
constexpr absl::Duration kWait = absl::Seconds(5);
constexpr size_t kLongestSecret = 64 * 1024;

void PrintLine(const std::string& text) {
  const std::string time =
      absl::FormatTime("%H:%M:%S", absl::Now(), absl::LocalTimeZone());
  std::fputs(absl::StrCat(time, "  ", text, "\n").c_str(), stdout);
  std::fflush(stdout);
}

// Prints each event that happens after `Start`. `KeepToken` returns an earlier
// failure to its caller, which prints it.
class PrintingObserver final : public refreshable::Observer {
 public:
  void Start() { started_ = true; }

  void OnEvent(const Event& event) override {
    const std::string text = Describe(event);
    if (started_ && !text.empty()) PrintLine(text);
  }

 private:
  std::atomic<bool> started_{false};
};

std::string Show(absl::Duration d) {
  return absl::FormatDuration(absl::Trunc(d, absl::Milliseconds(1)));
}

// Makes a single attempt, so that a failure is reported at once.
absl::Status FirstToken(StringToken& token, const std::string& origin) {
  StringToken::ReadOptions once;
  once.max_retries = 0;
  const auto lease = token.Get(once);
  if (lease.ok()) return absl::OkStatus();
  // The program ends now, so the time of the next attempt is left out.
  const auto error = refreshable::GetRefreshError(lease.status());
  const bool denied = absl::IsUnauthenticated(lease.status());
  return absl::Status(
      lease.status().code(),
      absl::StrCat("no token from ", origin, ": ",
                   error ? error->cause : lease.status().message(),
                   denied ? " (wrong client id or secret?)" : ""));
}

Sample TakeSample(absl::Duration at, const Client& client,
                  const StringToken& token, const Tally& tally) {
  Sample sample;
  sample.at = at;
  sample.endpoint = "real";
  sample.clients.push_back(
      {"refreshable", client.state(), tally, token.stats().attempts_started});
  return sample;
}

void PrintStatus(const Health& health, const Tally& tally,
                 int64_t token_requests) {
  std::string line =
      absl::StrCat(refreshable::FreshnessName(health.freshness),
                   ", generation ", health.generation.value(), ", ");
  if (health.expires_at < absl::InfiniteFuture()) {
    const absl::Duration left = health.expires_at - absl::Now();
    if (left > absl::ZeroDuration()) {
      absl::StrAppend(&line, "expires in ",
                      Show(absl::Trunc(left, absl::Seconds(1))), ", ");
    }
  }
  PrintLine(absl::StrCat(line, "token requests: ", token_requests,
                         ", API calls: ", tally.calls,
                         ", of these failed: ", tally.failed));
}

}  // namespace

std::string Describe(const Event& event) {
  const uint64_t generation = event.generation.value();
  switch (event.kind) {
    case EventKind::kAttemptStarted:
      return absl::StrCat("asks for a token (",
                          refreshable::RefreshReasonName(event.reason), ")");
    case EventKind::kAttemptFailed:
      return absl::StrCat("got none, failure ", event.failures,
                          " in a row: ", event.status.message());
    case EventKind::kAttemptAbandoned:
      return "waits no longer for the answer";
    case EventKind::kAttemptDiscarded:
      return "a late answer came, and was discarded";
    case EventKind::kTokenPublished:
      return absl::StrCat("has a token, generation ", generation);
    case EventKind::kTokenRejected:
      return absl::StrCat("the API rejected generation ", generation);
    case EventKind::kTokenUnchanged:
      return absl::StrCat("got generation ", generation, " once more");
    case EventKind::kTokenInvalidated:
      return absl::StrCat("withdrew generation ", generation);
    case EventKind::kBackoff:
      return absl::StrCat("asks again in ", Show(event.delay));
    case EventKind::kStateChanged:
      return event.freshness == refreshable::Freshness::kFresh
                 ? ""
                 : absl::StrCat("the token is ",
                                refreshable::FreshnessName(event.freshness));
    case EventKind::kExhausted:
      return "too many failures in a row: from now on one probe now and then";
    case EventKind::kHealed:
      return "has healed";
    case EventKind::kDegraded:
      return "serves the expired token";
  }
  return "";
}

absl::StatusOr<refreshable::Secret> ReadSecretFile(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string secret(kLongestSecret, '\0');
  // An istreambuf_iterator may throw if the path is a folder. `read` does not
  // throw.
  file.read(secret.data(), static_cast<std::streamsize>(secret.size()));
  if (!file.eof()) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot read the secret's file ", path, ": ",
                     errno != 0 ? std::generic_category().message(errno)
                                : "it is longer than any secret"));
  }
  secret.resize(static_cast<size_t>(file.gcount()));
  while (!secret.empty() && (secret.back() == '\n' || secret.back() == '\r')) {
    secret.pop_back();
  }
  if (secret.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the secret's file ", path, " is empty"));
  }
  return refreshable::Secret::TakeFrom(secret);
}

absl::Status KeepToken(const KeepTokenOptions& options, CsvFile& csv,
                       const std::function<bool()>& stop) {
  ThreadExecutor executor;
  StringToken::Options refreshing;
  refreshing.executor = &executor;
  refreshing.policy.refresh_ahead = true;  // Refreshes even if nobody reads.
  const auto observer = std::make_shared<PrintingObserver>();
  refreshing.observer = observer;
  auto token =
      StringToken::Create(OAuthSource(options.oauth), std::move(refreshing));
  if (!token.ok()) return token.status();
  const absl::Status first =
      FirstToken(**token, options.oauth.token_url.origin);
  if (!first.ok()) return first;

  RefreshableClient client(token->get(), kWait);
  Scoreboard scoreboard;
  const refreshable::Clock& clock = executor.clock();
  Api api;
  if (options.api_url.has_value()) {
    api = HttpApi(*options.api_url, kWait);
    const absl::StatusOr<Bearer> bearer = client.Token();
    if (bearer.ok() && api(*bearer->token) == ApiResult::kUnreachable) {
      return absl::UnavailableError(
          absl::StrCat("cannot reach the API at ", options.api_url->origin));
    }
  }

  std::printf("Keeps a token of %s%s valid until Ctrl-C.\nTimeline: %s\n\n",
              options.oauth.token_url.origin.c_str(),
              options.api_url
                  ? absl::StrCat(", and calls ", options.api_url->origin,
                                 options.api_url->target, " once a second,")
                        .c_str()
                  : "",
              csv.path().c_str());
  std::fflush(stdout);
  observer->Start();

  const BootTime start = clock.Now().boot;
  absl::Duration next_call, next_status;
  Tally before;
  while (!stop()) {
    const absl::Duration now = clock.Now().boot - start;
    if (now >= next_call) {
      next_call = now + kCallEvery;
      if (api != nullptr) {
        MakeCall(client, api, clock, scoreboard);
        const Tally tally = scoreboard.tally();
        if (tally.failed > before.failed) PrintLine("an API call failed");
        before = tally;
      }
      csv.Write(TakeSample(now, client, **token, before));
    }
    if (now >= next_status) {
      next_status = now + kStatusEvery;
      PrintStatus((*token)->health(), before,
                  (*token)->stats().attempts_started);
    }
    absl::SleepFor(kTick);
  }
  std::fputs("\n", stdout);
  PrintStatus((*token)->health(), before, (*token)->stats().attempts_started);
  return csv.status();
}

}  // namespace refreshable_examples
