// SPDX-License-Identifier: Apache-2.0
//
// Tests of clause E4 (fork()) for the hazard domain in its three forms: normal,
// without membarrier(2), and without thread_local. These tests are a target of
// their own, because they cannot run under the sanitizers: in the child of a
// fork(), a sanitizer's runtime does not release the locks that threads of the
// parent held. (With ThreadSanitizer the child hangs in free().)

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

// A function that is called inside fork(), after the domain has prepared for
// the fork; null if none.
const std::function<void()>* in_fork = nullptr;

// Registers a handler that calls `*in_fork`. This handler must be registered
// before the domain's handler, because handlers that run before a fork run in
// the reverse order of their registration. Priority 101 makes this registration
// the earlier one if both are in one executable (`linkstatic`).
__attribute__((constructor(101))) void RegisterInFork() {
  pthread_atfork(
      [] {
        if (in_fork != nullptr) (*in_fork)();
      },
      nullptr, nullptr);
}

// Forks, and runs `body` in the child. Returns 0 if `body` returned true, 1 if
// `body` returned false, and -1 if the child ended in another way.
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
// the first time. In the past, a scan that this thread had begun never ended in
// the child, so nothing was freed there. Each round forks a process, in which
// one thread uses the domain for the first time and another thread forks the
// child. This test must be the first, because the process that runs it must not
// have used the domain yet.
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

// The process forks while other threads read and publish without pause.
TEST_F(HazardForkTest, E4AChildCanReadAndReplace) {
  Replace(cell_, new TestNode(&live_));
  // The node that the child publishes. It is created before any thread reads,
  // so no slot of the parent announces its address. If the child created the
  // node, the node might get the address of a freed node that a slot still
  // announces. Then the child's node would look in use forever.
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

// A node that was retired during a fork is not destroyed inside fork(), but
// when the next hold ends. Regression test: in the past, the forking thread ran
// the destructors of such nodes before other handlers of fork() had released
// their locks, so a destructor that took one of these locks waited forever.
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

// Regression test: a held node is replaced during a fork, when no scan can
// check whether it is held. In the past, the child did not free such a node
// when the node's last hold ended.
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

// A thread of the parent has more holds than it had slots at first. In the
// child, where this thread does not exist, a new thread takes over its slots,
// and no scan makes a barrier on account of the missing thread.
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
