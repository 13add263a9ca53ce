// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/fault_injection/fault_injection_test_util.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "docs/examples/outage/http_api.h"
#include "docs/examples/outage/oauth_source.h"
#include "refreshable/secret.h"

namespace refreshable_examples {

using refreshable::BootTime;
using refreshable::Refreshable;
using refreshable::RefreshPolicy;

RefreshPolicy FaultsPolicy() {
  RefreshPolicy policy;
  policy.jitter = 0;
  policy.expiry_margin = absl::Milliseconds(300);
  policy.background_cooldown = absl::Milliseconds(200);
  policy.min_interval = absl::Milliseconds(20);
  policy.attempt_timeout = absl::Milliseconds(600);
  policy.young_token_age = absl::Milliseconds(300);
  policy.retry.initial_backoff = absl::Milliseconds(50);
  policy.retry.max_backoff = absl::Milliseconds(400);
  policy.retry.max_retries = 2;
  policy.retry.max_consecutive_failures = 5;
  policy.retry.probe_interval = absl::Milliseconds(400);
  policy.retry.max_retry_after = absl::Seconds(5);
  return policy;
}

namespace {

// Ends the program if `lacking`, the number of threads that hang, is not 0.
// Such threads can be neither joined nor ended.
void RequireNone(int lacking, absl::string_view what) {
  if (lacking == 0) return;
  std::fprintf(stderr, "%d threads are stuck: they were never %s\n", lacking,
               std::string(what).c_str());
  std::abort();
}

bool NeverConnected(const CountedSource::Call& call) {
  return call.status.message() == "cannot connect" ||
         call.status.message() == "no connection in time";
}

}  // namespace

FaultsFixture::FaultsFixture() {
  // A write to a closed connection or pipe must not end the program.
  std::signal(SIGPIPE, SIG_IGN);
}

FaultsFixture::~FaultsFixture() = default;

void FaultsFixture::SetUp() {
  auto endpoint = ServerProcess::Start();
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  endpoint_ = *std::move(endpoint);
  auto api = ServerProcess::Start();
  ASSERT_TRUE(api.ok()) << api.status();
  api_ = *std::move(api);
}

void FaultsFixture::Begin(const Url& token_url, absl::Duration timeout) {
  source_ = std::make_shared<CountedSource>(
      OAuthOptions{token_url, kClientId, refreshable::Secret(kClientSecret),
                   ""},
      timeout, &executor_.clock());
  Refreshable<std::string>::Options options;
  options.executor = &executor_;
  options.policy = FaultsPolicy();
  auto token = Refreshable<std::string>::Create(source_, std::move(options));
  ASSERT_TRUE(token.ok()) << token.status();
  token_ = *std::move(token);
  Crowd::Options crowd;
  crowd.pace = absl::Milliseconds(150);
  crowd.timeout = absl::Milliseconds(250);
  // The life of a token counts from the start of the attempt. The expiry margin
  // is at most a quarter of the life that is left when the answer comes. If
  // `timeout` is long, a late answer may leave a very short margin. So the
  // crowd then expects no margin.
  if (timeout <= kAnswerTimeout) crowd.margin = FaultsPolicy().expiry_margin;
  crowd.token_life = kShortLife;
  crowd.make_api = [url = api_->api_url()] { return HttpApi(url, kForEver); };
  crowd_ = std::make_unique<Crowd>(std::move(crowd), token_.get(),
                                   &executor_.clock());
  RequireNone(crowd_->StillNotServed(absl::UnixEpoch(), kForEver), "served");
}

void FaultsFixture::Outage(const std::function<void()>& broken,
                           const std::function<void()>& mended,
                           absl::string_view words, int failures) {
  broken();
  RequireNone(crowd_->StillNotRefused(kForEver), "refused a token");
  EXPECT_TRUE(source_->AwaitFailures(words, failures, kForEver))
      << "too few calls failed with " << words;
  mended();
  AwaitRecovery();
}

void FaultsFixture::Outage(Fault fault, absl::string_view words, int failures) {
  Outage([&] { endpoint_->SetFault(fault); },
         [&] { endpoint_->SetFault(Fault::kNone); }, words, failures);
}

void FaultsFixture::AwaitRecovery() {
  RequireNone(crowd_->StillNotServed(executor_.clock().Now().wall, kForEver),
              "served after the outage");
}

void FaultsFixture::Kill() {
  const BootTime begin = executor_.clock().Now().boot;
  endpoint_->Kill();
  kills_.emplace_back(begin, executor_.clock().Now().boot);
}

void FaultsFixture::TearDown() {
  if (!begun()) return;
  crowd_->Stop();
  const int64_t attempts = token_->stats().attempts_started;
  token_.reset();
  EXPECT_TRUE(source_->AwaitIdle(kForEver));
  CheckReads();
  CheckApi();
  CheckRequests(attempts);
  EXPECT_EQ(endpoint_->Close(), 0);
  EXPECT_EQ(api_->Close(), 0);
}

void FaultsFixture::CheckReads() {
  const Crowd::Book book = crowd_->book();
  EXPECT_EQ(book.reads, book.leases + book.refused + book.timed_out);
  EXPECT_TRUE(book.unnamed.empty()) << absl::StrJoin(book.unnamed, "\n");
  EXPECT_EQ(book.handed_out_expired, 0);
  EXPECT_EQ(book.handed_out_late, 0);
  EXPECT_EQ(book.handed_out_withdrawn, 0);
  std::printf("%d reads: %d leases, %d refused, %d past their deadline\n",
              static_cast<int>(book.reads), static_cast<int>(book.leases),
              static_cast<int>(book.refused), static_cast<int>(book.timed_out));
}

void FaultsFixture::CheckApi() {
  const Crowd::Book book = crowd_->book();
  const ServerProcess::ApiCounts counts = api_->CountApi();
  EXPECT_EQ(book.leases, book.ok + book.expired + book.revoked);
  EXPECT_EQ(counts.ok, book.ok);
  EXPECT_EQ(counts.expired, book.expired);
  EXPECT_EQ(counts.revoked, book.revoked);
  EXPECT_EQ(counts.other, 0);
  EXPECT_EQ(book.unreachable, 0);
  std::printf(
      "%d requests to the API: %d good, %d with a token that expired on the "
      "way, %d revoked\n",
      static_cast<int>(book.leases), static_cast<int>(book.ok),
      static_cast<int>(book.expired), static_cast<int>(book.revoked));
}

void FaultsFixture::CheckRequests(int64_t attempts) {
  const std::vector<CountedSource::Call> calls = source_->calls();
  int64_t never_connected = 0;
  int64_t lost = 0;
  int64_t kept = 0;
  for (size_t number = 0; number < calls.size(); ++number) {
    const CountedSource::Call& call = calls[number];
    const auto on_its_way = [&](const auto& kill) {
      return call.start <= kill.second && call.end >= kill.first;
    };
    if (NeverConnected(call)) {
      ++never_connected;
    } else if (kept_from_endpoint_ && kept_from_endpoint_(number, call)) {
      ++kept;
    } else if (std::any_of(kills_.begin(), kills_.end(), on_its_way)) {
      if (endpoint_->token_requests().count(number) == 0) {
        EXPECT_FALSE(call.status.ok()) << number;
        ++lost;
      }
    } else {
      // An endpoint that was stopped receives the requests when it continues.
      EXPECT_TRUE(endpoint_->AwaitTokenRequest(number, kForEver))
          << "the endpoint never received request " << number << ", "
          << call.status;
    }
  }
  const std::map<int64_t, int> received = endpoint_->token_requests();
  for (const auto& [number, times] : received) {
    EXPECT_EQ(times, 1) << "request " << number;
  }
  const auto sent = static_cast<int64_t>(calls.size());
  EXPECT_EQ(sent, static_cast<int64_t>(received.size()) + never_connected +
                      lost + kept);
  if (!received.empty()) {
    EXPECT_GE(received.begin()->first, 0);
    EXPECT_LT(received.rbegin()->first, sent);
  }
  std::printf(
      "%d calls of the source: %d requests received, %d not connected, %d lost "
      "with the killed process, %d kept by a proxy\n",
      static_cast<int>(sent), static_cast<int>(received.size()),
      static_cast<int>(never_connected), static_cast<int>(lost),
      static_cast<int>(kept));

  if (!exact_schedule_) return;
  // Each attempt is one call of the source. After `attempts` was read, one more
  // attempt may have started.
  EXPECT_GE(sent, attempts);
  EXPECT_LE(sent, attempts + 1);
  const auto ahead = CallsAheadOfSchedule(calls, FaultsPolicy());
  EXPECT_TRUE(ahead.empty()) << absl::StrJoin(ahead, "\n");
}

}  // namespace refreshable_examples
