// SPDX-License-Identifier: Apache-2.0
//
// Clause E4 of the hazard domain, in its three forms. A target of its own, as
// it is left out under the sanitizers: they give the child no promise about the
// locks of their own runtimes, and threads of the parent are inside those when
// the process is copied (ThreadSanitizer: the child hangs in free()).

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "refreshable/internal/hazard_domain.h"
#include "refreshable/internal/hazard_domain_testing.h"

namespace refreshable {
namespace internal {
namespace {

using HazardForkTest = HazardDomainTest;

int ExitCodeOfChild(const std::function<bool()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);  // A child that hangs fails.
    _exit(body() ? 0 : 1);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// The process forks while other threads use the domain for the first time. (A
// scan that one of them had begun was never to end in the child, which freed
// nothing.) The first test here: processes are copied that have not used it.
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

// Readers and a publisher are in the middle of everything when the process is
// copied; what the child does first works, and frees what it should.
TEST_F(HazardForkTest, E4AChildCanReadAndReplace) {
  Replace(cell_, new TestNode(&live_));
  // Made before any thread reads: what a thread that is not in the child was
  // about to hold, its slot still has, and it may have been freed already. A
  // node that the child made at that address would be kept.
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
                HazardHold hold = Hold(cell_);
                Replace(cell_, nullptr);
                if (!Alive(hold) || mine != 1) return false;
                hold = HazardHold();
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

TEST_F(HazardForkTest, E4ALeaseOfAThreadThatIsGoneStaysValidInTheChild) {
  Replace(cell_, new TestNode(&live_));
  HazardHold hold;
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
              hold = HazardHold();
              return live_ == 0;
            }),
            0);
  end.Notify();
  thread.join();
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
