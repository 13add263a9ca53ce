// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/outage_run.h"

#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "docs/examples/outage/http_api.h"
#include "docs/examples/outage/http_server.h"
#include "docs/examples/outage/oauth_server.h"
#include "docs/examples/outage/oauth_source.h"
#include "docs/examples/outage/refreshable_client.h"
#include "docs/examples/outage/report/picture.h"
#include "docs/examples/outage/report/report.h"
#include "docs/examples/outage/report/timeline.h"
#include "docs/examples/outage/report/verdict.h"
#include "docs/examples/outage/rivals.h"
#include "docs/examples/outage/script.h"
#include "docs/examples/outage/url.h"
#include "docs/examples/outage/workload.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/refreshable.h"
#include "refreshable/secret.h"

namespace refreshable_examples {
namespace {

using refreshable::BootTime;
using refreshable::Instant;
using refreshable::Refreshable;
using refreshable::RefreshPolicy;
using refreshable::ThreadExecutor;

constexpr char kRefreshable[] = "refreshable";
constexpr char kHammer[] = "hammer";
constexpr char kLockout[] = "lockout";

// Each open connection needs a thread of the server. Each thread of a client
// keeps one connection to the API open. A token request that hangs needs
// another thread, even if the client has stopped waiting.
constexpr int kServerThreads = 96;
constexpr absl::Duration kSampleInterval = absl::Milliseconds(500);

void Print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

double Seconds(absl::Duration d) { return absl::ToDoubleSeconds(d); }

struct Contestant {
  std::string name;
  std::unique_ptr<Client> client;
  std::unique_ptr<Scoreboard> scoreboard = std::make_unique<Scoreboard>();
  std::unique_ptr<Workload> workload;
};

std::string Introduction(const std::string& address,
                         const RefreshPolicy& policy) {
  return absl::StrFormat(
      "A token endpoint breaks for %.1f s, and three clients live through it:\n"
      "%d threads each, real HTTP to %s, tokens that live %.0f s.\n"
      "\n"
      "  %-12s this library\n"
      "  %-12s asks for a token whenever a call fails\n"
      "  %-12s gives up for good after %d failures in a row\n"
      "\n"
      "All three use real life's constants divided by %d: retries after\n"
      "2, 4, 8 ... 60 s become %.1f, %.1f, %.1f ... %.0f s, a probe a minute "
      "becomes one in %.0f s.\n"
      "The endpoint answers 502, then hangs, then revokes every token, then "
      "recovers.\n"
      "Below: what happened in each second; \"tokens\" are requests to the "
      "token endpoint.\n\n",
      [] {
        absl::Duration outage;
        for (const Act& act : Script()) {
          if (InOutage(act.phase)) outage += act.length;
        }
        return Seconds(outage);
      }(),
      kThreads, address, Seconds(kTokenLife), kRefreshable, kHammer, kLockout,
      kLockoutFailures, kFactor, Seconds(policy.retry.initial_backoff),
      Seconds(policy.retry.initial_backoff * 2),
      Seconds(policy.retry.initial_backoff * 4),
      Seconds(policy.retry.max_backoff), Seconds(policy.retry.probe_interval));
}

Sample TakeSample(absl::Duration at, Phase phase, const OAuthServer& server,
                  const std::vector<Contestant>& contestants) {
  Sample sample;
  sample.at = at;
  sample.endpoint = std::string(PhaseName(phase));
  for (const Contestant& contestant : contestants) {
    sample.clients.push_back({contestant.name, contestant.client->state(),
                              contestant.scoreboard->tally(),
                              server.token_requests(contestant.name)});
  }
  return sample;
}

// Runs the script, writes samples to `csv`, and prints a line each second.
// Returns a Span for each act.
std::vector<Span> Play(const refreshable::Clock& clock, OAuthServer& server,
                       std::vector<Contestant>& contestants,
                       const Workload::Options& work, CsvFile& csv) {
  const BootTime start = clock.Now().boot;
  const auto elapsed = [&] { return clock.Now().boot - start; };
  std::vector<Span> spans;
  absl::Duration act_end;
  absl::Duration next_sample = kSampleInterval;
  Sample printed =
      TakeSample(absl::ZeroDuration(), Phase::kHealthy, server, contestants);
  csv.Write(printed);
  Print(ProgressHeader(printed));
  for (Contestant& each : contestants) {
    each.workload = std::make_unique<Workload>(work, each.client.get(), &clock,
                                               each.scoreboard.get());
  }
  for (const Act& act : Script()) {
    server.SetPhase(act.phase);
    const Instant now = clock.Now();
    if (act.phase == Phase::kRecovered) {
      for (Contestant& each : contestants) each.scoreboard->SetRecovered(now);
    }
    spans.push_back({std::string(PhaseName(act.phase)), InOutage(act.phase),
                     now.boot - start, absl::ZeroDuration()});
    act_end += act.length;
    while (elapsed() < act_end) {
      absl::SleepFor(std::min(next_sample, act_end) - elapsed());
      if (elapsed() < next_sample) continue;
      const Sample sample =
          TakeSample(elapsed(), act.phase, server, contestants);
      csv.Write(sample);
      if (sample.at - printed.at > absl::Seconds(1) - kSampleInterval / 2) {
        Print(ProgressLine(printed, sample));
        printed = sample;
      }
      next_sample += kSampleInterval;
    }
    spans.back().end = elapsed();
  }
  return spans;
}

absl::Duration OutageLength(const std::vector<Span>& spans) {
  absl::Duration length;
  for (const Span& span : spans) {
    if (span.outage) length += span.end - span.start;
  }
  return length;
}

void ReportPicture(const std::string& csv_path,
                   const std::vector<Contestant>& contestants,
                   const std::vector<Span>& spans) {
  std::string png = csv_path;
  const size_t dot = png.rfind(".csv");
  if (dot != std::string::npos && dot + 4 == png.size()) png.resize(dot);
  png += ".png";
  std::vector<std::string> names;
  for (const Contestant& each : contestants) names.push_back(each.name);
  const absl::Status drawn =
      RunGnuplot(GnuplotScript(csv_path, png, names, spans));
  Print(absl::StrCat("Timeline: ", csv_path, "\n"));
  if (drawn.ok()) {
    Print(absl::StrCat("Picture:  ", png, "\n"));
  } else {
    Print(absl::StrCat("No picture: ", drawn.message(), ".\n"));
  }
}

absl::Status Judge(const std::vector<Row>& rows, const Promise& promise,
                   absl::Duration outage) {
  Print(
      absl::StrFormat("\nThe outage lasted %.1f s, and all constants are "
                      "divided by %d:\n\n%s\n",
                      Seconds(outage), kFactor, Table(rows, promise)));
  const Row& ours = rows.front();
  const std::vector<std::string> broken =
      BrokenPromises(promise, ours.tally, ours.outage_requests);
  if (!broken.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "refreshable broke its promise: ", absl::StrJoin(broken, "; ")));
  }
  Print(
      "refreshable kept its promise: it sent no expired token, asked no more "
      "often than its\nschedule allows, and healed by itself.\n");
  return absl::OkStatus();
}

}  // namespace

absl::Status RunOutage(const std::string& csv_path) {
  absl::StatusOr<std::unique_ptr<CsvFile>> csv = CsvFile::Open(csv_path);
  if (!csv.ok()) return csv.status();

  ThreadExecutor executor;
  const refreshable::Clock& clock = executor.clock();
  OAuthServer server({{kRefreshable, "r-secret"},
                      {kHammer, "h-secret"},
                      {kLockout, "l-secret"}},
                     kTokenLife, &clock);
  auto http = HttpServer::Start(&server, kServerThreads);
  if (!http.ok()) return http.status();
  const absl::StatusOr<Url> token_url = ParseUrl((*http)->token_url());
  const absl::StatusOr<Url> api_url = ParseUrl((*http)->api_url());
  if (!token_url.ok()) return token_url.status();
  if (!api_url.ok()) return api_url.status();

  const auto options_of = [&](const char* name, const char* secret) {
    return OAuthOptions{*token_url, name, refreshable::Secret(secret), ""};
  };
  const auto mint = [&](const char* name, const char* secret) {
    return [client = options_of(name, secret)] {
      return RequestToken(client, kHttpTimeout);
    };
  };

  const RefreshPolicy policy = ScaledPolicy(kFactor);
  Refreshable<std::string>::Options options;
  options.executor = &executor;
  options.policy = policy;
  auto token = Refreshable<std::string>::Create(
      OAuthSource(options_of(kRefreshable, "r-secret")), std::move(options));
  if (!token.ok()) return token.status();

  std::vector<Contestant> contestants(3);
  contestants[0].name = kRefreshable;
  contestants[0].client =
      std::make_unique<RefreshableClient>(token->get(), kReadTimeout);
  contestants[1].name = kHammer;
  contestants[1].client =
      std::make_unique<Hammer>(mint(kHammer, "h-secret"), &clock);
  contestants[2].name = kLockout;
  contestants[2].client = std::make_unique<Lockout>(
      mint(kLockout, "l-secret"), &clock, kLockoutUnit, kLockoutFailures);

  Print(Introduction(token_url->origin, policy));
  Workload::Options work;
  work.threads = kThreads;
  work.interval = kCallInterval;
  work.make_api = [&] { return HttpApi(*api_url, kHttpTimeout); };
  const std::vector<Span> spans = Play(clock, server, contestants, work, **csv);
  for (Contestant& each : contestants) each.workload.reset();

  const absl::Duration outage = OutageLength(spans);
  std::vector<Row> rows;
  for (const Contestant& each : contestants) {
    rows.push_back({each.name, server.outage_requests(each.name),
                    each.scoreboard->tally()});
  }
  absl::Duration revoking;
  for (const Act& act : Script()) {
    if (act.phase == Phase::kRevoking) revoking += act.length;
  }
  const absl::Status kept =
      Judge(rows, PromiseOf(policy, outage, revoking), outage);
  ReportPicture(csv_path, contestants, spans);
  const absl::Status written = (*csv)->status();
  return kept.ok() ? written : kept;
}

}  // namespace refreshable_examples
