// SPDX-License-Identifier: Apache-2.0
//
// A program that tests everything at once for as long as you like, with real
// threads and token endpoints that fail at random. Its exit code is 1 if a
// promise was broken, a thread got stuck, or the process needed more and more
// resources.
//
//   bazel run -c opt //refreshable/tests/soak -- --minutes=60
//   bazel run --config=tsan //refreshable/tests/soak -- --minutes=5 --seed=42
//
//   --minutes=N   1 by default; may be a fraction.
//   --operations=N
//                 Ends after about N operations of all threads together,
//                 instead of after a time.
//   --seed=N      The seed of all random choices; random by default, and
//                 printed. Two runs with the same seed differ, because the
//                 speeds of the threads differ.
//   --threads=N   Number of reading threads; 8 by default.
//   --stuck=N     Seconds without progress after which a thread counts as
//                 stuck; 60 by default.
//   --benchmark_min_time, with any value, runs for three seconds.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "refreshable/credential.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/hazard/hazard_domain.h"
#include "refreshable/refreshable.h"
#include "refreshable/tests/soak/clients.h"
#include "refreshable/tests/soak/heap.h"
#include "refreshable/tests/soak/instance.h"
#include "refreshable/tests/soak/ledger.h"
#include "refreshable/tests/soak/source.h"
#include "refreshable/token_source.h"

namespace refreshable_soak {
namespace {

using refreshable::BootTime;
using refreshable::ThreadExecutor;
using refreshable::internal::HazardDomain;

constexpr int kInstances = 8;
// How many instances use the executor with low limits.
constexpr int kOnTightExecutor = 3;

struct Flags {
  double minutes = 1;
  int64_t operations = 0;  // If positive, `minutes` does not count.
  uint64_t seed = 0;
  bool seeded = false;
  int threads = 8;
  int stuck_seconds = 60;
};

bool Parse(int argc, char** argv, Flags& flags) {
  for (int i = 1; i < argc; ++i) {
    absl::string_view arg = argv[i];
    bool ok = false;
    if (absl::StartsWith(arg, "--benchmark_min_time")) {
      flags.minutes = 0.05;
      ok = true;
    } else if (absl::ConsumePrefix(&arg, "--minutes=")) {
      ok = absl::SimpleAtod(arg, &flags.minutes) && flags.minutes > 0;
    } else if (absl::ConsumePrefix(&arg, "--operations=")) {
      ok = absl::SimpleAtoi(arg, &flags.operations) && flags.operations > 0;
    } else if (absl::ConsumePrefix(&arg, "--seed=")) {
      ok = flags.seeded = absl::SimpleAtoi(arg, &flags.seed);
    } else if (absl::ConsumePrefix(&arg, "--threads=")) {
      ok = absl::SimpleAtoi(arg, &flags.threads) && flags.threads > 0;
    } else if (absl::ConsumePrefix(&arg, "--stuck=")) {
      ok = absl::SimpleAtoi(arg, &flags.stuck_seconds) &&
           flags.stuck_seconds > 0;
    }
    if (!ok) {
      std::fprintf(stderr, "soak: bad argument %s\n", argv[i]);
      return false;
    }
  }
  if (!flags.seeded) flags.seed = std::random_device()();
  return true;
}

BootTime BootNow() { return refreshable::SystemClock::Get().Now().boot; }

// A regular shutdown would wait forever for the threads that are stuck.
[[noreturn]] void GiveUp() {
  std::printf("stuck: given up\n");
  std::fflush(stdout);
  std::_Exit(1);
}

class Watch {
 public:
  Watch(const std::vector<std::unique_ptr<Client>>& clients,
        absl::Duration limit)
      : clients_(clients), limit_(limit), seen_(clients.size()) {}

  // If a client has made no progress for longer than `limit`, reports it and
  // ends the program. A client that has finished or waits at the gate is not
  // stuck.
  void Look() {
    const BootTime now = BootNow();
    bool stuck = false;
    for (size_t i = 0; i < clients_.size(); ++i) {
      const Client& client = *clients_[i];
      Seen& seen = seen_[i];
      if (client.at_gate() || client.finished() ||
          client.operations() != seen.operations) {
        seen = {client.operations(), now};
      } else if (now - seen.since > limit_) {
        stuck = true;
        Broken("nobody is stuck",
               absl::StrCat(client.name(), " is: ", client.operation()));
      }
    }
    if (stuck) GiveUp();
  }

 private:
  struct Seen {
    int64_t operations = -1;
    BootTime since;
  };
  const std::vector<std::unique_ptr<Client>>& clients_;
  const absl::Duration limit_;
  std::vector<Seen> seen_;
};

// Checks that `instance` gets a token within `limit` once its endpoint works
// (B8), and ends the program otherwise. Also checks that the instance has
// counted all its attempts (S2).
void CheckHeals(Instance& instance, absl::Duration limit) {
  const BootTime end = BootNow() + limit;
  instance.source().set_mode(FaultySource::Mode::kGood);
  absl::Status status = absl::UnknownError("not read");
  while (!status.ok() && BootNow() < end) {
    instance.Reset();
    status = instance.Get(absl::Seconds(1)).status();
    absl::SleepFor(absl::Milliseconds(1));
  }
  if (!status.ok()) {
    Broken("B8", absl::StrCat(instance.name(),
                              " does not heal: ", status.ToString()));
    GiveUp();
  }
  while (!instance.Accounted() && BootNow() < end) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  if (!instance.Accounted()) {
    Broken("S2", absl::StrCat(instance.name(), " has lost count of attempts"));
  }
  instance.source().set_mode(FaultySource::Mode::kMixed);
}

// How many tokens may be alive while the clients wait at the gate. The tokens
// of an instance may be published, withdrawn, superseded or still in its
// source.
constexpr int64_t kTokensAtMost = 6 * kInstances;

// The figures that are measured while the clients wait at the gate.
struct Row {
  int64_t tokens;
  int64_t records;
  int64_t heap;  // In bytes.
  ProcessFigures process;
};

// The numbers of tokens, heap bytes and threads are the lowest of many samples.
// So objects that are about to be destroyed do not count. Takes samples for
// about 100 ms, or for up to ten seconds while there are too many tokens or
// threads.
Row Measure(const std::vector<Row>& rows) {
  Row least{Token::Live(), HazardDomain::Current().CountForTesting().records,
            HeapBytes(), ProcessFigures::Now()};
  const auto settled = [&] {
    return least.tokens <= kTokensAtMost &&
           (rows.empty() ||
            least.process.threads <= rows.front().process.threads);
  };
  for (int i = 0; i < 20 || (i < 2000 && !settled()); ++i) {
    absl::SleepFor(absl::Milliseconds(5));
    least.tokens = std::min(least.tokens, Token::Live());
    least.heap = std::min(least.heap, HeapBytes());
    least.process.threads =
        std::min(least.process.threads, ProcessFigures::Now().threads);
  }
  return least;
}

// Checks that the figure's maximum grows by at most `slack` from the first half
// of the rows to the second.
void CheckFlat(const std::vector<Row>& rows, const char* what,
               int64_t (*figure)(const Row&), int64_t slack) {
  if (rows.size() < 4) return;
  int64_t before = 0;
  int64_t after = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    int64_t& half = i < rows.size() / 2 ? before : after;
    half = std::max(half, figure(rows[i]));
  }
  if (after <= before + slack) return;
  Broken("everything stays flat",
         absl::StrCat(what, " rose from ", before, " to ", after));
}

void CheckFlat(const std::vector<Row>& rows) {
  if (rows.size() < 4) {
    std::printf("too short to tell whether memory stays flat\n");
  }
  for (const Row& row : rows) {
    if (row.tokens > kTokensAtMost) {
      Broken("R12", absl::StrCat(row.tokens, " tokens live"));
    }
    if (row.process.threads > rows.front().process.threads) {
      Broken("everything stays flat",
             absl::StrCat("threads: ", rows.front().process.threads, ", then ",
                          row.process.threads));
    }
  }
  CheckFlat(
      rows, "threads' records", +[](const Row& row) { return row.records; },
      32);
  CheckFlat(
      rows, "the heap (bytes)", +[](const Row& row) { return row.heap; },
      16 << 10);
  CheckFlat(
      rows, "resident memory (KiB)",
      +[](const Row& row) { return row.process.resident_kib; }, 4096);
}

// Returns the bytes on the heap without the records of hazard slots, which are
// reused and never freed.
int64_t HeapBesideRecords() {
  return HeapBytes() - HazardDomain::Current().CountForTesting().bytes;
}

// A negative figure is not known.
std::string Shown(int64_t figure) {
  return figure < 0 ? "-" : absl::StrCat(figure);
}

// Checks that `figure()` falls to `expected` or below within ten seconds.
void CheckFallsTo(int64_t expected, const char* what, int64_t (*figure)()) {
  for (int i = 0; i < 5000 && figure() > expected; ++i) {
    absl::SleepFor(absl::Milliseconds(2));
  }
  if (const int64_t reached = figure(); reached > expected) {
    Broken("everything is given back",
           absl::StrCat(what, ": ", reached, ", not ", expected));
  }
}

// Checks the largest number of superseded tokens that one scan of the hazard
// domain took. A scan may take one token from each thread, and
// `kMostHandedOver` more. At times there are more threads than any row shows,
// so the limit allows twice as many threads.
void CheckSuperseded(const std::vector<Row>& rows) {
  int64_t threads = 0;
  for (const Row& row : rows) threads = std::max(threads, row.process.threads);
  const int64_t most = HazardDomain::Current().CountForTesting().most_incoming;
  std::printf("superseded tokens that one scan took: %lld at most\n",
              static_cast<long long>(most));
  if (threads > 0 && most > 2 * threads + HazardDomain::kMostHandedOver) {
    Broken("R12", absl::StrCat("one scan took ", most, " superseded tokens of ",
                               threads, " threads"));
  }
}

void Soak(const Flags& flags) {
  // `late` must outlive the executors. Their destructors wait for calls of the
  // sources, and these calls use `late`.
  LateAnswers late;
  ThreadExecutor roomy;
  ThreadExecutor::Options tight_options;
  tight_options.workers = 1;
  tight_options.blocking_threads = 1;
  tight_options.max_queued = 4;
  tight_options.max_timers = 4;
  const std::unique_ptr<ThreadExecutor> tight =
      *ThreadExecutor::Create(tight_options);
  World world;
  world.roomy = &roomy;
  world.tight = tight.get();
  world.late = &late;
  std::mt19937_64 random(flags.seed);
  for (int i = 0; i < kInstances; ++i) {
    Instance::Config config;
    config.policy = FastPolicy(i);
    config.name = absl::StrCat("instance ", i);
    config.executor =
        i < kInstances - kOnTightExecutor ? world.roomy : world.tight;
    config.seed = random();
    config.late = world.late;
    config.totals = &world.totals;
    world.instances.push_back(std::make_unique<Instance>(config));
  }
  std::vector<std::unique_ptr<Client>> clients;
  const auto add = [&](Client::Kind kind, int count) {
    for (int i = 0; i < count; ++i) {
      clients.push_back(std::make_unique<Client>(kind, i, random(), &world));
    }
  };
  add(Client::Kind::kReader, flags.threads);
  add(Client::Kind::kLives, 2);
  add(Client::Kind::kWeather, 1);

  const absl::Duration limit = absl::Seconds(flags.stuck_seconds);
  Watch watch(clients, limit);
  const BootTime start = BootNow();
  const absl::Duration length = absl::Minutes(1) * flags.minutes;
  absl::Duration row_length = std::min(absl::Minutes(1), length / 6);
  double row_part = absl::FDivDuration(row_length, length);
  if (flags.operations > 0) {
    row_length = absl::Milliseconds(40);
    row_part = 0.5;
  }
  // Returns whether the fraction `part` of all the work is done.
  const auto done = [&](double part) {
    if (flags.operations == 0) return BootNow() >= start + length * part;
    int64_t operations = 0;
    for (const auto& client : clients) operations += client->operations();
    return static_cast<double>(operations) >= flags.operations * part;
  };
  std::vector<Row> rows;
  std::printf("%7s %12s %12s %10s %8s %8s %9s %9s %8s\n", "minute", "leases",
              "refusals", "refreshes", "tokens", "records", "heap", "RSS KiB",
              "threads");
  std::vector<std::thread> threads;
  for (const auto& client : clients) {
    threads.emplace_back([&client] { client->Run(); });
  }
  for (int row = 1; !done(1); ++row) {
    while (!done(row_part * row)) {
      absl::SleepFor(std::min(absl::Milliseconds(500), row_length / 4));
      watch.Look();
    }
    world.gate.Close();
    while (world.gate.arrived() < static_cast<int>(clients.size())) {
      absl::SleepFor(absl::Milliseconds(1));
      watch.Look();
    }
    world.exchange.Clear();
    for (const auto& instance : world.instances) {
      CheckHeals(*instance, limit);
    }
    const Row figures = Measure(rows);
    rows.push_back(figures);
    std::printf("%7.2f %12lld %12lld %10lld %8lld %8lld %9s %9s %8s\n",
                absl::ToDoubleMinutes(BootNow() - start),
                static_cast<long long>(world.totals.leases),
                static_cast<long long>(world.totals.refusals),
                static_cast<long long>(world.totals.published),
                static_cast<long long>(figures.tokens),
                static_cast<long long>(figures.records),
                Shown(figures.heap).c_str(),
                Shown(figures.process.resident_kib).c_str(),
                Shown(figures.process.threads).c_str());
    std::fflush(stdout);
    world.gate.Open();
  }
  world.stop = true;
  while (std::any_of(clients.begin(), clients.end(),
                     [](const auto& client) { return !client->finished(); })) {
    absl::SleepFor(absl::Milliseconds(1));
    watch.Look();
  }
  for (std::thread& thread : threads) thread.join();
  world.exchange.Clear();
  world.instances.clear();
  CheckFlat(rows);
  CheckSuperseded(rows);
}

// Creates what the library creates once and keeps.
void CreateWhatStays() {
  refreshable::ManualExecutor executor;
  const auto created = refreshable::Refreshable<int>::Create(
      refreshable::BlockingSource<int>(
          []() -> absl::StatusOr<refreshable::Credential<int>> {
            return absl::UnavailableError("not called");
          }),
      {&executor});
  if (!created.ok()) std::abort();
}

int Main(const Flags& flags) {
  std::printf("soak: --minutes=%g --operations=%lld --seed=%llu\n",
              flags.minutes, static_cast<long long>(flags.operations),
              static_cast<unsigned long long>(flags.seed));
  std::fflush(stdout);
  // When a program creates its first thread, a sanitizer may start a thread of
  // its own. The count below must include the sanitizer's thread.
  std::thread([] {}).join();
  CreateWhatStays();
  const int64_t threads = ProcessFigures::Now().threads;
  const int64_t heap = HeapBesideRecords();
  Soak(flags);
  CheckFallsTo(
      0, "tokens", +[] { return Token::Live(); });
  CheckFallsTo(
      threads, "threads", +[] { return ProcessFigures::Now().threads; });
  CheckFallsTo(
      0, "slots in use",
      +[] { return int64_t{HazardDomain::Current().CountForTesting().held}; });
  CheckFallsTo(
      0, "tokens that wait for a lease to end", +[] {
        return int64_t{HazardDomain::Current().CountForTesting().retained};
      });
  // The slack is for objects that the library keeps and that CreateWhatStays
  // does not create.
  CheckFallsTo(heap + (8 << 10), "bytes on the heap", HeapBesideRecords);
  std::printf("left on the heap: %lld bytes\n",
              static_cast<long long>(HeapBesideRecords() - heap));
  const int64_t broken = BrokenCount();
  std::printf("%s (%lld broken, --seed=%llu)\n",
              broken == 0 ? "good" : "BROKEN", static_cast<long long>(broken),
              static_cast<unsigned long long>(flags.seed));
  return broken == 0 ? 0 : 1;
}

}  // namespace
}  // namespace refreshable_soak

int main(int argc, char** argv) {
  refreshable_soak::Flags flags;
  if (!refreshable_soak::Parse(argc, argv, flags)) return 2;
  return refreshable_soak::Main(flags);
}
