// SPDX-License-Identifier: Apache-2.0
//
// Tests of fork() (E4) in three builds: normal, without membarrier(2), and
// without thread_local. They cannot run under the sanitizers. In the child, a
// sanitizer's runtime does not release the locks that threads of the parent
// held.

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "refreshable/hazard/hazard_domain.h"
#include "refreshable/hazard/hazard_test_util.h"

namespace refreshable {
namespace internal {
namespace {

using HazardForkTest = HazardDomainTest;

// Called inside fork(), after the domain has prepared for the fork.
const std::function<void()>* in_fork = nullptr;

// This handler must be registered before the domain's handler, because handlers
// that run before a fork run in the reverse order of their registration.
// Priority 101 achieves that if both are in one executable (`linkstatic`).
__attribute__((constructor(101))) void RegisterInFork() {
  pthread_atfork(
      [] {
        if (in_fork != nullptr) (*in_fork)();
      },
      nullptr, nullptr);
}

// Runs `body` in a forked child. Returns 0 if `body` returned true, 1 if `body`
// returned false, and -1 if the child ended in another way.
int ExitCodeOfChild(const std::function<bool()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);  // Ends a child that hangs.
    _exit(body() ? 0 : 1);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// Regression test: a process forks while one of its threads uses the domain for
// the first time. A scan that this thread had begun never ended in the child.
// This test must be the first, because its process must not have used the
// domain yet.
TEST(HazardForkAtTheFirstUseTest, E4AChildCanReadAndReplace) {
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(ExitCodeOfChild([] {
                std::atomic<int> theirs{0}, mine{0};
                HazardCell cell{new TestNode(&theirs)};
                auto* const fresh = new TestNode(&mine);
                std::atomic<bool> begun{false}, stop{false};
                std::thread thread([&] {
                  begun = true;
                  while (!stop) Replace(cell, new TestNode(&theirs));
                });
                while (!begun) std::this_thread::yield();
                const int code = ExitCodeOfChild([&] {
                  Replace(cell, fresh);
                  Replace(cell, nullptr);
                  return mine == 0;
                });
                stop = true;
                thread.join();
                return code == 0;
              }),
              0);
  }
}

TEST_F(HazardForkTest, E4AChildCanReadAndReplace) {
  Replace(cell_, new TestNode(&live_));
  // The child's node is created here, so that no slot announces its address. In
  // the child, slots of the parent's other threads may announce freed nodes
  // forever. A node created in the child might get the address of such a node,
  // and would look in use forever.
  std::atomic<int> mine{0};
  auto* const fresh = new TestNode(&mine);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop) EXPECT_TRUE(Alive(Hold(cell_)));
    });
  }
  threads.emplace_back([&] {
    while (!stop) Replace(cell_, new TestNode(&live_));
  });
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(ExitCodeOfChild([&] {
                if (!Alive(Hold(cell_))) return false;
                Replace(cell_, fresh);
                HazardHolder hold = Hold(cell_);
                Replace(cell_, nullptr);
                if (!Alive(hold) || mine != 1) return false;
                hold = HazardHolder();
                return mine == 0;
              }),
              0);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  Replace(cell_, fresh);
  Replace(cell_, nullptr);
  EXPECT_EQ(mine, 0);
}

// Regression test: the forking thread ran the destructors of nodes that were
// retired during the fork, before other fork handlers had released their locks.
// A destructor that took one of these locks waited forever.
TEST_F(HazardForkTest, E5NoDestructorRunsInsideFork) {
  bool forking = false;
  int inside = 0;
  HazardCell other{new TestNode(&live_)};
  Replace(cell_, new TestNode(&live_, [&] { inside += forking ? 1 : 0; }));
  const std::function<void()> retire = [&] { Replace(cell_, nullptr); };
  in_fork = &retire;
  forking = true;
  const int code = ExitCodeOfChild([] { return true; });
  forking = false;
  in_fork = nullptr;
  EXPECT_EQ(code, 0);
  EXPECT_EQ(inside, 0);
  EXPECT_EQ(live_, 2);
  { const HazardHolder hold = Hold(other); }
  EXPECT_EQ(live_, 1);
  Replace(other, nullptr);
}

// Regression test: if a held node was replaced during a fork, the child did not
// free the node when the node's last hold ended.
TEST_F(HazardForkTest, E4TheChildFreesWhatWasRetiredDuringTheFork) {
  Replace(cell_, new TestNode(&live_));
  HazardHolder hold = Hold(cell_);
  const std::function<void()> retire = [&] { Replace(cell_, nullptr); };
  in_fork = &retire;
  const int code = ExitCodeOfChild([&] {
    const bool kept = live_ == 1 && Alive(hold);
    hold = HazardHolder();
    return kept && live_ == 0;
  });
  in_fork = nullptr;
  EXPECT_EQ(code, 0);
  hold = HazardHolder();
  EXPECT_EQ(live_, 0);
}

TEST_F(HazardForkTest, E4ALeaseOfAThreadThatIsGoneStaysValidInTheChild) {
  Replace(cell_, new TestNode(&live_));
  HazardHolder hold;
  absl::Notification held, end;
  std::thread thread([&] {
    hold = Hold(cell_);
    held.Notify();
    end.WaitForNotification();
  });
  held.WaitForNotification();
  EXPECT_EQ(ExitCodeOfChild([&] {
              Replace(cell_, nullptr);
              if (live_ != 1 || !Alive(hold)) return false;
              hold = HazardHolder();
              return live_ == 0;
            }),
            0);
  end.Notify();
  thread.join();
}

// Scans in the child need no heavy barrier for the thread that is gone.
TEST_F(HazardForkTest, E4TheChildTakesOverTheSlotsOfAThreadThatIsGone) {
  Replace(cell_, new TestNode(&live_));
  std::vector<HazardHolder> holds;
  absl::Notification held, end;
  std::thread thread([&] {
    for (int i = 0; i < 20; ++i) holds.push_back(Hold(cell_));
    held.Notify();
    end.WaitForNotification();
  });
  held.WaitForNotification();
  EXPECT_EQ(ExitCodeOfChild([&] {
              HazardDomain& domain = HazardDomain::Current();
              Replace(cell_, nullptr);
              while (!holds.empty()) {
                if (live_ != 1 || !Alive(holds.back())) return false;
                holds.pop_back();
              }
              if (live_ != 0) return false;
              const HazardDomain::Counts before = domain.CountForTesting();
              HazardCell cell{new TestNode(&live_)};
              std::thread([&] { Hold(cell); }).join();
              Replace(cell, nullptr);
              const HazardDomain::Counts after = domain.CountForTesting();
              return live_ == 0 && after.slots == before.slots &&
                     after.barriers == before.barriers;
            }),
            0);
  end.Notify();
  thread.join();
  holds.clear();
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
