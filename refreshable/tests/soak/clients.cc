// SPDX-License-Identifier: Apache-2.0

#include "refreshable/tests/soak/clients.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "refreshable/executors/clock.h"
#include "refreshable/tests/soak/ledger.h"

namespace refreshable_soak {
namespace {

using refreshable::BootTime;
using refreshable::RefreshPolicy;
using Where = Checks::Where;

// The most leases that a client keeps at once. A thread has fewer hazard slots
// at first, so these leases make it add slots.
constexpr size_t kHeldAtMost = 9;
// A client waits while it has more asynchronous reads pending than this.
constexpr size_t kPendingAtMost = 24;

BootTime BootNow() { return refreshable::SystemClock::Get().Now().boot; }

const char* KindName(Client::Kind kind) {
  switch (kind) {
    case Client::Kind::kReader:
      return "reader ";
    case Client::Kind::kLives:
      return "lives ";
    case Client::Kind::kWeather:
      return "weather ";
  }
  return "";
}

}  // namespace

RefreshPolicy FastPolicy(uint64_t kind) {
  RefreshPolicy policy;
  policy.expiry_margin = absl::Milliseconds(20);
  policy.background_cooldown = absl::Milliseconds(50);
  policy.min_interval = absl::Milliseconds(5);
  policy.attempt_timeout = absl::Milliseconds(40);
  policy.young_token_age = absl::Milliseconds(10);
  policy.retry.initial_backoff = absl::Milliseconds(10);
  policy.retry.max_backoff = absl::Milliseconds(160);
  policy.retry.probe_interval = absl::Milliseconds(160);
  switch (kind % 6) {
    case 1:
      policy.refresh_ahead = true;
      break;
    case 2:
      policy.retry.on_exhausted = refreshable::OnExhausted::kFatal;
      break;
    case 3:
      policy.max_stale_on_error = absl::Milliseconds(300);
      break;
    case 4:
      policy.background_refresh = false;
      // No outage causes so many failures, so refreshing is never exhausted.
      policy.retry.max_consecutive_failures = 1000;
      break;
    case 5:
      policy.jitter = 0;
      policy.stale_window = absl::Milliseconds(30);
      break;
    default:
      break;
  }
  return policy;
}

// ---- Exchange, Gate ----

void Exchange::Swap(size_t place, std::optional<TokenLease>& lease) {
  {
    absl::MutexLock lock(&mutex_);
    std::swap(places_[place % kPlaces], lease);
  }
  if (lease.has_value() && !lease->token().Intact()) {
    Broken("R12", "a lease of another thread: its token is gone");
  }
}

void Exchange::Clear() {
  std::vector<std::optional<TokenLease>> old(kPlaces);
  absl::MutexLock lock(&mutex_);
  std::swap(places_, old);
}

int Gate::arrived() const {
  absl::MutexLock lock(&mutex_);
  return arrived_;
}

void Gate::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
}

void Gate::Open() {
  absl::MutexLock lock(&mutex_);
  closed_ = false;
}

void Gate::Pass() {
  absl::MutexLock lock(&mutex_);
  ++arrived_;
  mutex_.Await(absl::Condition(
      +[](Gate* gate) { return !gate->closed(); }, this));
  --arrived_;
}

// ---- Client ----

Client::Client(Kind kind, int number, uint64_t seed, World* world)
    : kind_(kind),
      name_(absl::StrCat(KindName(kind), number)),
      world_(world),
      random_(seed) {}

void Client::Run() {
  while (!world_->stop) {
    if (world_->gate.closed()) {
      HoldNothing();
      at_gate_ = true;
      world_->gate.Pass();
      at_gate_ = false;
      continue;
    }
    switch (kind_) {
      case Kind::kReader:
        Operate();
        break;
      case Kind::kLives:
        Live();
        Sweep(kPendingAtMost);
        break;
      case Kind::kWeather:
        ChangeWeather();
        break;
    }
    operations_.fetch_add(1, std::memory_order_relaxed);
  }
  HoldNothing();
  finished_ = true;
}

void Client::Doing(const char* operation) {
  operation_.store(operation, std::memory_order_relaxed);
}

Instance& Client::AnyInstance() {
  return *world_->instances[Random(world_->instances.size())];
}

absl::Duration Client::AnyTimeout() {
  switch (Random(4)) {
    case 0:
      return absl::ZeroDuration();
    case 1:
      return absl::InfiniteDuration();
    default:
      return absl::Microseconds(Random(30000));
  }
}

void Client::Keep(LeaseOr lease) {
  if (!lease.ok()) return;
  if (Random(8) == 0) {
    std::optional<TokenLease> swapped = *std::move(lease);
    world_->exchange.Swap(Random(Exchange::kPlaces), swapped);
    if (!swapped.has_value()) return;
    lease = *std::move(swapped);
  }
  if (held_.size() < kHeldAtMost) {
    held_.push_back(*std::move(lease));
  } else if (Random(64) == 0) {
    held_.clear();
  } else {
    held_[Random(kHeldAtMost)] = *std::move(lease);
  }
}

void Client::Began(std::shared_ptr<AsyncRead> read) {
  pending_.push_back(std::move(read));
  Sweep(kPendingAtMost);
}

// Checks the reads that have ended, and waits until at most `at_most` reads are
// pending.
void Client::Sweep(size_t at_most) {
  for (;;) {
    const auto gone = std::stable_partition(
        pending_.begin(), pending_.end(),
        [](const std::shared_ptr<AsyncRead>& read) { return !read->gone(); });
    for (auto it = gone; it != pending_.end(); ++it) (*it)->CheckEnd();
    pending_.erase(gone, pending_.end());
    if (pending_.size() <= at_most) return;
    // A callback that the executor refused may wait for the next operation on
    // its Refreshable. So if `at_most` is 0, this loop also resets each
    // Refreshable. In that case it sleeps longer, because many resets would
    // delay the executor.
    absl::SleepFor(absl::Microseconds(at_most > 0 ? 200 : 20000));
    if (at_most > 0) continue;
    for (const auto& instance : world_->instances) instance->Reset();
  }
}

void Client::HoldNothing() {
  Doing("waiting for callbacks");
  if (kind_ == Kind::kWeather) {
    for (const auto& instance : world_->instances) instance->EndOutage();
  }
  held_.clear();
  Sweep(0);
}

void Client::Operate() {
  if (const BootTime now = BootNow(); now >= next_disturbance_) {
    next_disturbance_ = now + absl::Milliseconds(Random(100));
    Disturb(now);
  }
  ReadSomehow();
}

void Client::ReadSomehow() {
  Instance& instance = AnyInstance();
  switch (Random(32)) {
    case 0:
    case 1:
      Doing("Get that waits");
      Keep(instance.Get(AnyTimeout()));
      return;
    case 2:
    case 3:
      Doing("GetAsync");
      Began(instance.GetAsync(AnyTimeout()));
      return;
    case 4: {
      Doing("GetAsync, Cancel");
      std::shared_ptr<AsyncRead> read = instance.GetAsync(AnyTimeout());
      if (Random(2) == 0) std::this_thread::yield();
      instance.Cancel(*read);
      Began(std::move(read));
      return;
    }
    case 5:
      Doing("GetAsync that reads");
      Began(instance.GetAsync(AnyTimeout(), [&instance] {
        instance.Get(absl::Milliseconds(1), Where::kCallback).IgnoreError();
      }));
      return;
    case 6:
      Doing("TryGet");
      Keep(instance.TryGet());
      return;
    case 7: {
      Doing("health, stats");
      const refreshable::Health health = instance.refreshable().health();
      const refreshable::Stats stats = instance.refreshable().stats();
      if (health.failures < 0 || health.waiters < 0 ||
          stats.tokens_published < stats.tokens_invalidated) {
        Broken("S2", "impossible counts");
      }
      return;
    }
    default:
      Doing("Get");
      for (int i = 0; i < 64; ++i) {
        instance.Get(absl::ZeroDuration()).IgnoreError();
      }
  }
}

void Client::Disturb(BootTime now) {
  Instance& instance = AnyInstance();
  if (Random(8) == 0) {
    Doing("a thread that comes and goes");
    Spawn();
    return;
  }
  // In half of the cases, waits up to 50 ms for a token and a running attempt.
  Doing("waiting for an attempt");
  LeaseOr lease = instance.TryGet();
  const BootTime end = now + absl::Milliseconds(Random(2) * 50);
  while (BootNow() < end && !(lease.ok() && instance.source().busy())) {
    lease = instance.Get(absl::ZeroDuration());
  }
  if (instance.outage()) return;
  switch (Random(4)) {
    case 0:
      Doing("Install");
      instance.Install();
      return;
    case 1:
      Doing("Reset");
      instance.Reset();
      return;
    default:
      Doing("Invalidate");
      if (lease.ok()) instance.Invalidate(*lease);
  }
}

void Client::Spawn() {
  const uint64_t seed = random_();
  std::thread([this, seed] {
    std::mt19937_64 random(seed);
    std::optional<TokenLease> last;
    for (int i = 0; i < 50; ++i) {
      Instance& instance =
          *world_->instances[random() % world_->instances.size()];
      LeaseOr lease = instance.Get(absl::Milliseconds(random() % 3));
      if (lease.ok()) last = *std::move(lease);
    }
    world_->exchange.Swap(random(), last);
  }).join();
}

void Client::ChangeWeather() {
  Doing("sleeping");
  absl::SleepFor(absl::Milliseconds(Random(200)));
  Doing("changing the weather");
  Instance& instance = AnyInstance();
  if (instance.outage()) {
    instance.EndOutage();
  } else {
    instance.StartOutage(Random(4) == 0 ? FaultySource::Mode::kStuck
                                        : FaultySource::Mode::kDown);
  }
}

// ---- Refreshables that come and go ----

void Client::Live() {
  switch (Random(4)) {
    case 0:
      return EndWithReadsPending();
    case 1:
      return EndUnderBlockedReaders();
    case 2:
      return EndInCallback();
    default:
      return EndInHook();
  }
}

Instance::Config Client::LifeConfig() {
  Instance::Config config;
  config.name = "short life";
  config.policy = FastPolicy(Random(6));
  config.executor = world_->roomy;
  config.seed = random_();
  config.late = world_->late;
  config.totals = &world_->totals;
  return config;
}

void Client::EndWithReadsPending() {
  Doing("ends with reads pending");
  Instance::Config config = LifeConfig();
  if (Random(2) == 0) config.executor = world_->tight;
  Instance life(config);
  for (int i = 0; i < 8; ++i) {
    Keep(life.Get(absl::Microseconds(Random(2000))));
    pending_.push_back(life.GetAsync(AnyTimeout()));
    if (Random(3) == 0) life.Install();
  }
}

void Client::EndUnderBlockedReaders() {
  Doing("ends under blocked readers");
  constexpr int64_t kReads = 3;
  Instance::Config config = LifeConfig();
  if (Random(2) == 0) config.executor = world_->tight;
  config.policy.attempt_timeout = absl::Seconds(10);
  auto life = std::make_unique<Instance>(config);
  life->source().set_mode(FaultySource::Mode::kSilent);
  std::atomic<int64_t> left{0};
  std::vector<std::thread> threads;
  std::vector<std::shared_ptr<AsyncRead>> reads;
  for (int64_t i = 0; i < kReads; ++i) {
    reads.push_back(life->GetAsync(absl::InfiniteDuration()));
    threads.emplace_back([&left, instance = life.get()] {
      instance->Get(absl::InfiniteDuration(), Where::kAtTheEnd).IgnoreError();
      ++left;
    });
  }
  // Waits until every read has ended or begun to wait. The ended reads are
  // counted first, so that no read is counted twice.
  for (;;) {
    int64_t there = left;
    for (const auto& read : reads) there += read->gone();
    there += life->refreshable().health().waiters;
    if (there >= 2 * kReads) break;
    std::this_thread::yield();
  }
  life.reset();
  for (std::thread& thread : threads) thread.join();
  for (auto& read : reads) pending_.push_back(std::move(read));
}

void Client::EndInCallback() {
  Doing("ends in a callback");
  auto life = std::make_shared<std::unique_ptr<Instance>>();
  auto ended = std::make_shared<absl::Notification>();
  *life = std::make_unique<Instance>(LifeConfig());
  Instance& instance = **life;
  pending_.push_back(instance.GetAsync(absl::InfiniteDuration()));
  pending_.push_back(instance.GetAsync(AnyTimeout(), [life, ended] {
    life->reset();
    ended->Notify();
  }));
  ended->WaitForNotification();
}

void Client::EndInHook() {
  Doing("ends in the hook");
  auto life = std::make_shared<std::unique_ptr<Instance>>();
  auto ended = std::make_shared<absl::Notification>();
  Instance::Config config = LifeConfig();
  // Only the read below starts a refresh. If its attempts timed out, the hook
  // would never run, so the timeout is long.
  config.policy.attempt_timeout = absl::Seconds(10);
  config.hook = [life, ended] {
    if (*life == nullptr) return;
    life->reset();
    ended->Notify();
  };
  *life = std::make_unique<Instance>(config);
  Instance& instance = **life;
  instance.source().set_mode(FaultySource::Mode::kGood);
  pending_.push_back(instance.GetAsync(absl::InfiniteDuration()));
  ended->WaitForNotification();
}

}  // namespace refreshable_soak
