// SPDX-License-Identifier: Apache-2.0
//
// Tokens are published and withdrawn while threads read, pass their leases to
// each other, and end.

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/hazard/hazard_domain.h"
#include "refreshable/refreshable.h"

namespace refreshable {
namespace {

std::atomic<int> live_tokens{0};

// A token that detects use after its destruction.
class Token {
 public:
  Token() { ++live_tokens; }
  Token(Token&&) noexcept { ++live_tokens; }
  ~Token() {
    mark_ = 0;
    --live_tokens;
  }
  bool alive() const { return mark_ == kMark; }

 private:
  static constexpr uint64_t kMark = 0x5eadbeef;
  volatile uint64_t mark_ = kMark;
};

TEST(ReadStressTest, R12LeasesOutliveEverythingAndEveryTokenIsFreed) {
  constexpr int kReaders = 4;
  // Each reader starts `kLives` threads, which make `kReads` reads each.
  constexpr int kLives = 8;
  constexpr int kReads = 250;
  absl::Mutex mutex;
  std::vector<Lease<Token>> passed;
  std::atomic<int> readers{kReaders};
  {
    ThreadExecutor executor;
    RefreshPolicy policy;
    policy.min_interval = absl::ZeroDuration();
    policy.young_token_age = absl::ZeroDuration();
    auto refreshable = Refreshable<Token>::Create(
        BlockingSource<Token>([]() -> absl::StatusOr<Credential<Token>> {
          return Credential<Token>(Token(), Expiry::In(absl::Hours(1)));
        }),
        {&executor, policy});
    ASSERT_TRUE(refreshable.ok());
    std::vector<std::thread> threads;
    for (int r = 0; r < kReaders; ++r) {
      threads.emplace_back([&] {
        for (int life = 0; life < kLives; ++life) {
          std::thread([&] {
            Generation last;
            for (int i = 0; i < kReads; ++i) {
              auto lease = (*refreshable)->Get();
              ASSERT_TRUE(lease.ok()) << lease.status();
              ASSERT_TRUE(lease->token().alive());
              ASSERT_GE(lease->generation(), last);
              last = lease->generation();
              if (i % 8 == 0) (*refreshable)->Invalidate(last);
              if (i % 5 != 0) continue;
              absl::MutexLock lock(&mutex);
              if (passed.size() < 50) {
                passed.push_back(*std::move(lease));
              } else {
                std::swap(*lease, passed[i % passed.size()]);
                ASSERT_TRUE(lease->token().alive());
              }
            }
          }).join();
        }
        --readers;
      });
    }
    threads.emplace_back([&] {
      while (readers > 0) {
        ASSERT_TRUE((*refreshable)
                        ->Install(Credential<Token>(Token(),
                                                    Expiry::In(absl::Hours(1))))
                        .ok());
      }
    });
    for (std::thread& thread : threads) thread.join();
  }
  for (const Lease<Token>& lease : passed) ASSERT_TRUE(lease.token().alive());
  EXPECT_LE(live_tokens.load(), static_cast<int>(passed.size()));
  passed.clear();
  EXPECT_EQ(live_tokens.load(), 0);
  const auto counts = internal::HazardDomain::Current().CountForTesting();
  EXPECT_EQ(counts.held, 0);
  EXPECT_EQ(counts.retained, 0);
}

}  // namespace
}  // namespace refreshable
