// SPDX-License-Identifier: Apache-2.0
//
// Simulates many clients of one token endpoint over a day of virtual time. In
// the seventh hour an event affects all clients: the endpoint answers 502 or
// 429 for an hour, or all tokens are revoked. Prints how often the endpoint is
// called from then on, and when the clients heal, that is, get another token.
//
// The clients of this library are RefreshMachines without threads. Two kinds of
// hand-written clients are there for comparison. The exit code is 1 if the
// clients of this library exceed a limit of docs/failure.md.
//
//   bazel run -c opt //benchmarks:fleet -- --out=/tmp
//
//   --clients=N  Number of clients; 10000 by default. With few clients, the
//                calls per second may exceed a limit by chance.
//   --seeds=N    Number of simulations, each with another seed; 3 by default.
//   --benchmark_min_time, with any value, means --out=/tmp and only a hundred
//                hand-written clients of each kind.
//   --out=DIR    An existing folder, by default the working directory. The
//                calls per second and per minute of the first seed are written
//                there as CSV. If gnuplot is installed, it draws fleet.png.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <deque>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "docs/examples/outage/rivals.h"
#include "refreshable/credential.h"
#include "refreshable/executors/clock.h"
#include "refreshable/failure_class.h"
#include "refreshable/machine/refresh_machine.h"
#include "refreshable/policy.h"

namespace {

using refreshable::BootTime;
using refreshable::Clock;
using refreshable::Credential;
using refreshable::Expiry;
using refreshable::Instant;
using refreshable::RefreshPolicy;
using refreshable::internal::AttemptId;
using refreshable::internal::Decisions;
using refreshable::internal::RefreshMachine;
using refreshable_examples::Bearer;

constexpr int kHour = 3600;
constexpr int kDay = 24 * kHour;
constexpr absl::Duration kTokenLife = absl::Hours(1);
constexpr absl::Duration kReadEvery = absl::Seconds(60);
constexpr absl::Duration kTimeout = absl::Seconds(10);  // A read's timeout.
// How long the endpoint takes to answer.
constexpr absl::Duration kLatency = absl::Milliseconds(100);
constexpr absl::Duration kRetryAfter = absl::Seconds(120);
constexpr absl::Time kStart = absl::FromUnixSeconds(1'700'000'000);
constexpr int kLockoutFailures = 5;
// Wave n consists of the nth successful refresh of every client after the
// event, counted from 0. By wave `kWave`, clients that healed together should
// refresh at different times.
constexpr int kWave = 3;

enum class Kind { kOutage, kThrottled, kRevoked };

// The times are seconds of the day.
struct Scenario {
  Kind kind;
  const char* name;
  int begin, end;
};
constexpr Scenario kScenarios[] = {
    {Kind::kOutage, "502", 6 * kHour, 7 * kHour},
    {Kind::kThrottled, "429", 6 * kHour, 7 * kHour},
    {Kind::kRevoked, "revoked", 6 * kHour, 6 * kHour},
};

using PerSecond = std::vector<int>;

struct Day {
  PerSecond calls = PerSecond(kDay);
  // `waves[n]` has the calls of wave n (see `kWave`).
  std::array<PerSecond, kWave + 1> waves = {PerSecond(kDay), PerSecond(kDay),
                                            PerSecond(kDay), PerSecond(kDay)};
  // For each client that healed: the seconds from the event's end until it
  // received its next token.
  std::vector<double> healed_after;
  int too_soon = 0;  // Calls made earlier than a Retry-After permitted.
  // Clients that got more than one token in the first two minutes after the
  // event. In these two minutes, a client reads twice.
  int minted_twice = 0;
};

// The token endpoint and the API, as one client sees them.
class Endpoint {
 public:
  Endpoint(const Scenario& scenario, Day& day)
      : scenario_(scenario), day_(day) {}
  ~Endpoint() { day_.minted_twice += minted_ > 1 ? 1 : 0; }

  // Returns OK if the endpoint issues a token.
  absl::Status Call(absl::Duration now) {
    const auto second = static_cast<int>(absl::ToInt64Seconds(now));
    ++day_.calls[second];
    if (now < not_before_) ++day_.too_soon;
    if (second >= scenario_.begin && second < scenario_.end) {
      if (scenario_.kind == Kind::kOutage) {
        return absl::UnavailableError("HTTP status 502");
      }
      not_before_ = now + kLatency + kRetryAfter;
      return absl::ResourceExhaustedError("HTTP status 429");
    }
    const absl::Duration since = now - absl::Seconds(scenario_.end);
    if (since < absl::ZeroDuration()) return absl::OkStatus();
    if (wave_ == 0) {
      day_.healed_after.push_back(absl::ToDoubleSeconds(since + kLatency));
    }
    if (wave_ <= kWave) ++day_.waves[wave_][second];
    ++wave_;
    if (since < 2 * kReadEvery) ++minted_;
    return absl::OkStatus();
  }

  // Returns whether the API answers 401 to a token issued at `minted`.
  bool Rejects(absl::Duration minted, absl::Duration now) const {
    const absl::Duration begin = absl::Seconds(scenario_.begin);
    return now >= minted + kTokenLife ||
           (scenario_.kind == Kind::kRevoked && now >= begin && minted < begin);
  }

 private:
  const Scenario& scenario_;
  Day& day_;
  int wave_ = 0;
  int minted_ = 0;
  absl::Duration not_before_ = -absl::InfiniteDuration();
};

// Simulates one client whose first read is at `read_at`.
void PlayRefreshable(absl::Duration read_at, uint64_t seed,
                     Endpoint& endpoint) {
  struct Call {
    absl::Duration start;
    AttemptId id;
    absl::Status status;
  };
  RefreshMachine machine(RefreshPolicy(), seed);
  std::deque<Call> calls;  // The calls that are not answered yet.
  absl::Duration minted;   // When the held token was issued.
  // A read before `check_at` asks `machine` only if the API answers 401.
  absl::Duration check_at;
  absl::Duration wake_at = absl::InfiniteDuration();
  for (;;) {
    const absl::Duration answer_at = calls.empty()
                                         ? absl::InfiniteDuration()
                                         : calls.front().start + kLatency;
    const absl::Duration now = std::min({read_at, answer_at, wake_at});
    if (now >= absl::Seconds(kDay)) return;
    const Instant instant = {kStart + now, BootTime() + now};
    Decisions out;
    if (now == answer_at) {
      const Call call = calls.front();
      calls.pop_front();
      if (call.status.ok()) {
        machine.OnAttemptSuccess(instant, call.id, Expiry::In(kTokenLife),
                                 std::nullopt, out);
        if (out.publish) minted = call.start;
      } else {
        refreshable::internal::Failure failure{
            call.status, refreshable::ClassifyFailure(call.status), {}};
        if (absl::IsResourceExhausted(call.status)) {
          failure.retry_after = kRetryAfter;
        }
        machine.OnAttemptFailure(instant, call.id, failure, out);
      }
    } else if (now == read_at) {
      read_at += kReadEvery;
      const bool rejected = endpoint.Rejects(minted, now);
      if (now < check_at && !rejected) continue;
      using Answer = RefreshMachine::ReadAnswer;
      if (machine.OnRead(instant, {instant.boot + kTimeout, {}, {}}, out) ==
              Answer::kServe &&
          rejected) {
        machine.OnRead(
            instant, {instant.boot + kTimeout, {}, machine.generation()}, out);
      }
    } else {
      machine.OnWake(instant, out);
    }
    if (out.submit != AttemptId::kNone) {
      Decisions started;
      if (machine.OnAttemptStart(instant, out.submit, started)) {
        calls.push_back({now, out.submit, endpoint.Call(now)});
      }
    }
    check_at = machine.check_at(instant).boot - BootTime();
    wake_at = machine.wake_at(instant) - BootTime();
  }
}

class SetClock final : public Clock {
 public:
  Instant Now() const override { return {kStart + now, BootTime() + now}; }

  absl::Duration now;
};

// Simulates one hand-written client. `make(mint, clock)` returns the client,
// which calls `mint` to request a token.
template <typename Make>
void PlayRival(absl::Duration read_at, Endpoint& endpoint, Make make) {
  SetClock clock;
  const auto client = make(
      [&]() -> absl::StatusOr<Credential<std::string>> {
        const absl::Status status = endpoint.Call(clock.now);
        if (!status.ok()) return status;
        return Credential<std::string>("token", Expiry::In(kTokenLife));
      },
      &clock);
  for (; read_at < absl::Seconds(kDay); read_at += kReadEvery) {
    clock.now = read_at;
    (void)client->Call([&](const Bearer& bearer) {
      return endpoint.Rejects(bearer.expires_at - kTokenLife - kStart, read_at);
    });
  }
}

constexpr const char* kClients[] = {"this library", "asks on failure",
                                    "gives up"};

Day PlayFleet(const Scenario& scenario, size_t kind, int clients,
              uint64_t seed) {
  Day day;
  std::mt19937_64 random(seed);
  for (int i = 0; i < clients; ++i) {
    const absl::Duration read_at =
        kReadEvery * std::uniform_real_distribution<double>()(random);
    const uint64_t client_seed = random();
    Endpoint endpoint(scenario, day);
    if (kind == 0) {
      PlayRefreshable(read_at, client_seed, endpoint);
    } else if (kind == 1) {
      PlayRival(read_at, endpoint, [](auto mint, const Clock* clock) {
        return std::make_unique<refreshable_examples::Hammer>(mint, clock);
      });
    } else {
      PlayRival(read_at, endpoint, [](auto mint, const Clock* clock) {
        return std::make_unique<refreshable_examples::Lockout>(
            mint, clock, absl::Seconds(1), kLockoutFailures);
      });
    }
  }
  std::sort(day.healed_after.begin(), day.healed_after.end());
  return day;
}

// Returns the highest mean rate, in calls per second, over any `seconds`
// consecutive seconds.
double Peak(const PerSecond& calls, int seconds, int begin = 0,
            int end = kDay) {
  int64_t sum = 0, most = 0;
  for (int i = begin; i < end; ++i) {
    sum += calls[i];
    if (i - seconds >= begin) sum -= calls[i - seconds];
    most = std::max(most, sum);
  }
  return static_cast<double>(most) / seconds;
}

// Returns the seconds from the end of the event until the fraction `part` of
// all clients had healed, or a negative number if fewer clients healed.
double HealedAfter(const Day& day, double part, int clients) {
  const auto n = static_cast<size_t>(part * clients + 0.5);
  return n > 0 && n <= day.healed_after.size() ? day.healed_after[n - 1] : -1;
}

std::string ShowTime(double seconds) {
  return seconds < 0 ? "never"
                     : absl::StrCat(static_cast<int>(seconds + 0.5), " s");
}

// The peaks are measured up to this second, when all clients should have
// healed.
int LastSecond(const Scenario& scenario) {
  return scenario.end + 2 * static_cast<int>(absl::ToInt64Seconds(kRetryAfter));
}

void Print(const Scenario& scenario, const char* client, int clients,
           const Day& day) {
  const int last = LastSecond(scenario);
  std::printf("| %-7s | %-15s | %6.0f | %6.0f | %6s | %6s | %6s | %5.2f |\n",
              scenario.name, client, Peak(day.calls, 1, scenario.begin, last),
              Peak(day.calls, 60, scenario.begin, last),
              ShowTime(HealedAfter(day, 0.5, clients)).c_str(),
              ShowTime(HealedAfter(day, 0.99, clients)).c_str(),
              ShowTime(HealedAfter(day, 1, clients)).c_str(),
              Peak(day.waves[kWave], 60) / (clients / 60.0));
}

// Checks the limits of docs/failure.md, and a few more. Prints each limit that
// is exceeded.
bool Check(const Scenario& scenario, int clients, const Day& day) {
  bool holds = true;
  const auto limit = [&](const char* what, double found, double most) {
    if (found <= most) return;
    holds = false;
    std::printf("BROKEN: %s: %s is %.2f, may be %.2f\n", scenario.name, what,
                found, most);
  };
  const RefreshPolicy policy;
  const double n = clients;
  const double probe = absl::ToDoubleSeconds(policy.retry.probe_interval);
  const double read_every = absl::ToDoubleSeconds(kReadEvery);
  const double asked = absl::ToDoubleSeconds(kRetryAfter);
  const int last = LastSecond(scenario);
  const double second = Peak(day.calls, 1, scenario.begin, last);
  limit("clients that never healed", n - day.healed_after.size(), 0);
  limit("the peak by the minute of wave 3", Peak(day.waves[kWave], 60),
        n / probe / 4);
  const double healed = day.healed_after.empty() ? 0 : day.healed_after.back();
  switch (scenario.kind) {
    case Kind::kOutage:
      limit("a minute's mean", Peak(day.calls, 60, scenario.begin, last),
            1.1 * n / probe);
      limit("a second", second, 1.5 * n / probe);
      limit("the last client's healing", healed,
            probe + read_every + absl::ToDoubleSeconds(kLatency));
      break;
    case Kind::kThrottled:
      limit("calls too soon", day.too_soon, 0);
      limit("a second", second, 2 * n / (policy.jitter * asked));
      limit("the last client's healing", healed,
            asked * (1 + policy.jitter) + read_every +
                absl::ToDoubleSeconds(kLatency));
      break;
    case Kind::kRevoked:
      limit("clients that minted twice", day.minted_twice, 0);
      limit("a second", second, 1.5 * n / read_every);
      limit("the last client's healing", healed,
            read_every + absl::ToDoubleSeconds(kLatency));
      break;
  }
  return holds;
}

// The rows begin ten minutes before the event. Each row has the seconds since
// the event began, and the calls in the next `seconds` seconds by kind of
// client.
void WriteCsv(const std::string& path, const Scenario& scenario, int seconds,
              const std::vector<Day>& days) {
  std::ofstream csv(path);
  csv << "second";
  for (const char* client : kClients) csv << ',' << client;
  csv << '\n';
  for (int at = scenario.begin - 600; at < scenario.begin + 6 * kHour;
       at += seconds) {
    csv << at - scenario.begin;
    for (const Day& day : days) {
      int calls = 0;
      for (int i = at; i < at + seconds; ++i) calls += day.calls[i];
      csv << ',' << calls;
    }
    csv << '\n';
  }
  if (!csv) std::fprintf(stderr, "fleet: cannot write %s\n", path.c_str());
}

// Draws a row of panels for each event, with a panel for each kind of client.
// The time of the event is grey.
void Plot(const std::string& out, int clients) {
  const std::string path = absl::StrCat(out, "/fleet.gnuplot");
  std::ofstream script(path);
  script << "set terminal pngcairo noenhanced size 1500,900\nset output '"
         << out << "/fleet.png'\nset datafile separator ','\nunset key\n"
         << "set border 3\nset tics nomirror\nset grid ytics lc rgb "
            "'#dddddd'\nset style fill solid noborder\nset xrange "
            "[-10:360]\nset xtics 0,60\nset yrange [0:"
         << 1.05 * clients << "]\nset multiplot layout "
         << std::size(kScenarios) << ',' << std::size(kClients)
         << " title 'Calls of the token endpoint in each minute; " << clients
         << " clients, tokens of an hour'\n";
  for (const Scenario& scenario : kScenarios) {
    script << "set object 1 rectangle from 0,0 to "
           << std::max(1, (scenario.end - scenario.begin) / 60)
           << ",graph 1 fc rgb '#dddddd' fs noborder behind\n";
    for (size_t i = 0; i < std::size(kClients); ++i) {
      script << "set title '" << scenario.name << ": " << kClients[i]
             << "'\nset xlabel 'minutes since it began'\nplot '" << out
             << "/fleet_" << scenario.name
             << "_minutes.csv' skip 1 using ($1/60+0.5):" << i + 2
             << ":(1) with boxes lc rgb '#0969da'\n";
    }
  }
  script.close();
  if (std::system(
          absl::StrCat("command -v gnuplot >/dev/null && gnuplot '", path, "'")
              .c_str()) == 0) {
    std::printf("%s/fleet.png\n", out.c_str());
  }
}

struct Flags {
  int clients = 10'000;
  // `clients` if unset.
  std::optional<int> rivals;
  int seeds = 3;
  std::string out;
};

bool Parse(int argc, char** argv, Flags& flags) {
  const char* const directory = std::getenv("BUILD_WORKING_DIRECTORY");
  flags.out = directory != nullptr ? directory : ".";
  for (int i = 1; i < argc; ++i) {
    absl::string_view arg = argv[i];
    bool ok = false;
    if (absl::StartsWith(arg, "--benchmark_min_time")) {
      flags.out = "/tmp";
      flags.rivals = 100;
      ok = true;
    } else if (absl::ConsumePrefix(&arg, "--clients=")) {
      ok = absl::SimpleAtoi(arg, &flags.clients) && flags.clients > 0;
    } else if (absl::ConsumePrefix(&arg, "--seeds=")) {
      ok = absl::SimpleAtoi(arg, &flags.seeds) && flags.seeds > 0;
    } else if (absl::ConsumePrefix(&arg, "--out=")) {
      flags.out = std::string(arg);
      ok = !arg.empty();
    }
    if (!ok) {
      std::fprintf(stderr, "fleet: bad argument %s\n", argv[i]);
      return false;
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  if (!Parse(argc, argv, flags)) return 2;
  bool holds = true;
  std::printf(
      "%d clients, tokens of an hour, a read a minute; calls per second while "
      "it lasts and heals\n\n"
      "| event   | client          | second | minute | half   | 99 %%   | all  "
      "  "
      "| wave  |\n"
      "| ------- | --------------- | -----: | -----: | -----: | -----: | "
      "-----: "
      "| ----: |\n",
      flags.clients);
  for (int seed = 1; seed <= flags.seeds; ++seed) {
    for (const Scenario& scenario : kScenarios) {
      std::vector<Day> days;
      // The hand-written clients are only a comparison.
      for (size_t i = 0; i < (seed == 1 ? 3 : 1); ++i) {
        const int clients =
            i == 0 ? flags.clients : flags.rivals.value_or(flags.clients);
        days.push_back(PlayFleet(scenario, i, clients, seed));
        Print(scenario, kClients[i], clients, days.back());
      }
      holds = Check(scenario, flags.clients, days[0]) && holds;
      if (seed > 1) continue;
      const std::string csv = absl::StrCat(flags.out, "/fleet_", scenario.name);
      WriteCsv(csv + "_seconds.csv", scenario, 1, days);
      WriteCsv(csv + "_minutes.csv", scenario, 60, days);
    }
  }
  Plot(flags.out, flags.clients);
  std::printf("%s (%.1f s of CPU time)\n", holds ? "all limits hold" : "BROKEN",
              static_cast<double>(std::clock()) / CLOCKS_PER_SEC);
  return holds ? 0 : 1;
}
