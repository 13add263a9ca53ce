// SPDX-License-Identifier: Apache-2.0
//
// These tests check clause E4 for the hazard domain in its three forms: normal,
// without membarrier(2), and without thread_local. They are a separate target
// because they are excluded under the sanitizers: in the child of a fork(), a
// sanitizer's runtime does not release the locks that threads of the parent
// held. (With ThreadSanitizer the child hangs in free().)

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

// If not null, this function runs inside fork(), after the domain has prepared
// for the fork. The handlers that run before a fork run in the reverse order of
// their registration. The handler below is registered before the domain's,
// because both are in one executable (`linkstatic`) and the constructor below
// has the higher priority. So the handler below runs after the domain's.
const std::function<void()>* in_fork = nullptr;
__attribute__((constructor(101))) void RegisterInFork() {
  pthread_atfork(
      [] {
        if (in_fork != nullptr) (*in_fork)();
      },
      nullptr, nullptr);
}

int ExitCodeOfChild(const std::function<bool()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);  // A child that hangs is ended, and so fails.
    _exit(body() ? 0 : 1);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// Regression test: the process forks while another thread uses the domain for
// the first time. In the past, a scan that this other thread had begun never
// ended in the child, so nothing was freed there. This must be the first test,
// because the processes that fork must not have used the domain before.
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

// Readers and a publisher are inside calls when the process forks. The child's
// first operations work, and free what they should.
TEST_F(HazardForkTest, E4AChildCanReadAndReplace) {
  Replace(cell_, new TestNode(&live_));
  // The node that the child publishes is created here, by the parent, before
  // any thread reads. The child could not create it: it inherits the parent's
  // slots, one of which may announce an address that has been freed, and a node
  // at that address would look in use forever.
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

// Regression test: in the past, fork() ran the destructors of nodes that had
// been retired meanwhile. They ran on the forking thread before other handlers
// had released their locks, so a destructor that took such a lock waited
// forever. Now they run when the next hold ends.
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

// Regression test: a held node is replaced during the fork, when no scan can
// check who holds it. In the past, the child did not free such a node when its
// last hold ended.
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

// A thread of the parent holds more slots than a record has. The child, in
// which that thread no longer exists, uses the slots again, and does not count
// the thread as one that may be reading.
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
