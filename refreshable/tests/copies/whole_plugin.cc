// SPDX-License-Identifier: Apache-2.0
//
// A plug-in that uses the whole library.

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/hazard/hazard_domain.h"
#include "refreshable/refreshable.h"
#include "refreshable/tests/copies/plugin.h"

namespace refreshable {

// A token that counts its instances. The class has external linkage, so two
// plug-ins may share the instantiation of a template for PluginToken.
class PluginToken {
 public:
  explicit PluginToken(std::atomic<int>* alive) : alive_(alive) { ++*alive_; }
  PluginToken(PluginToken&& other) noexcept
      : alive_(other.alive_), bytes_(std::move(other.bytes_)) {
    ++*alive_;
  }
  PluginToken& operator=(PluginToken&&) = delete;
  ~PluginToken() { --*alive_; }

  const std::string& bytes() const { return bytes_; }

 private:
  std::atomic<int>* const alive_;
  std::string bytes_ = std::string(100, 'x');
};

namespace {

std::atomic<int> tokens_alive{0};

// Returns a policy under which an invalidated token may be replaced at once.
RefreshPolicy AtOnce() {
  RefreshPolicy policy;
  policy.min_interval = policy.young_token_age = absl::ZeroDuration();
  return policy;
}

ThreadExecutor::Options OneSourceAtATime() {
  ThreadExecutor::Options options;
  options.blocking_threads = 1;
  options.idle_timeout = absl::InfiniteDuration();
  return options;
}

[[noreturn]] void Die(const char* message) {
  std::fprintf(stderr, "%s\n", message);
  std::abort();
}

class Whole {
 public:
  Whole() { Await(); }

  void Publish() {
    refreshable_->Invalidate(refreshable_->Get()->generation());
    Await();
  }

  Lease<PluginToken> Read() { return *refreshable_->Get(); }

  bool reads_are_fast() const {
    return internal::HazardDomain::AtHand(domain_);
  }

 private:
  // Waits until the library has released the previous token, so that the number
  // of living tokens is exact. The thread that fetched the token releases the
  // previous token before it runs the task below.
  void Await() {
    *refreshable_->Get();
    std::promise<void> ended;
    executor_.RunBlocking([&] {
      if (std::this_thread::get_id() != refreshed_on_.load()) {
        Die("the executor has two threads where it may have one");
      }
      if (!executor_.InExecutorThread()) {
        Die("the executor does not know its own thread");
      }
      ended.set_value();
    });
    ended.get_future().wait();
  }

  std::atomic<std::thread::id> refreshed_on_{};
  internal::HazardDomain* const domain_ = &internal::HazardDomain::Current();
  ThreadExecutor executor_{OneSourceAtATime()};
  const std::unique_ptr<Refreshable<PluginToken>> refreshable_ =
      *Refreshable<PluginToken>::Create(
          BlockingSource<PluginToken>(
              [this]() -> absl::StatusOr<Credential<PluginToken>> {
                refreshed_on_ = std::this_thread::get_id();
                return Credential<PluginToken>(PluginToken(&tokens_alive),
                                               Expiry::In(absl::Hours(1)));
              }),
          {&executor_, AtOnce()});
};

Whole* whole = nullptr;

constexpr PluginApi kApi = {
    nullptr,
    [] { whole->Publish(); },
    []() -> void* { return new Lease<PluginToken>(whole->Read()); },
    [](void* lease) { delete static_cast<Lease<PluginToken>*>(lease); },
    [] { return tokens_alive.load(); },
    [] { return whole->reads_are_fast(); },
    [] { delete std::exchange(whole, nullptr); },
};

}  // namespace
}  // namespace refreshable

const refreshable::PluginApi* GetPlugin() {
  if (refreshable::whole == nullptr) {
    // A thread that has read a token keeps the shared object loaded until the
    // thread ends. The thread that calls `GetPlugin` must not do so, because it
    // unloads the shared object later. So another thread, which ends at once,
    // makes the first read.
    std::thread([] { refreshable::whole = new refreshable::Whole; }).join();
  }
  return &refreshable::kApi;
}
