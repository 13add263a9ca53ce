// SPDX-License-Identifier: Apache-2.0
//
// Tests what a ThreadExecutor does when the system refuses it threads or
// memory.

#ifdef __linux__

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <utility>

#include "absl/status/status.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/thread_executor.h"

namespace {
// If set, the next call of pthread_create runs this function before it creates
// the thread. Later calls do not.
std::function<void()> before_next_thread;
std::atomic<bool> refuse_threads{false};
std::atomic<int> threads_created{0};
}  // namespace

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attr,
                              void* (*main)(void*), void* argument) noexcept {
  if (refuse_threads) return EAGAIN;
  if (before_next_thread) std::exchange(before_next_thread, nullptr)();
  using Create =
      int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create =
      reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  const int error = create(thread, attr, main, argument);
  if (error == 0) ++threads_created;
  return error;
}

#ifdef __cpp_exceptions
namespace {
thread_local bool out_of_memory = false;
// While this is true, memory is refused to every thread whose `has_memory` is
// false, such as a new thread of the executor.
std::atomic<bool> new_threads_have_no_memory{false};
thread_local bool has_memory = false;

bool Refuses() {
  return out_of_memory || (new_threads_have_no_memory && !has_memory);
}
}  // namespace

void* operator new(size_t size) {
  void* const memory = Refuses() ? nullptr : std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return Refuses() ? nullptr : std::malloc(size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
#endif

namespace refreshable {

class ThreadExecutorTestPeer {
 public:
  static std::unique_ptr<ThreadExecutor> Create(
      const Clock& clock, const ThreadExecutor::Options& options = {}) {
    return ThreadExecutor::Create(options, clock).value();
  }
};

namespace {

class NoThreads {
 public:
  NoThreads() { refuse_threads = true; }
  ~NoThreads() { refuse_threads = false; }
};

ThreadExecutor::Options Patient() {
  ThreadExecutor::Options options;
  options.shutdown_grace = absl::InfiniteDuration();
  return options;
}

// Regression test: `Create` used to throw if the system refused a thread.
TEST(ThreadRefusalTest, X3CreateSaysThatThereAreNoThreads) {
  const NoThreads no_threads;
  EXPECT_EQ(ThreadExecutor::Create(Patient()).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(ThreadRefusalTest, X3TheFirstBlockingTaskIsRefusedWithoutAThread) {
  const auto executor = *ThreadExecutor::Create(Patient());
  const auto task = std::make_shared<int>();
  {
    const NoThreads no_threads;
    EXPECT_FALSE(executor->RunBlocking([task] { FAIL(); }));
    EXPECT_EQ(task.use_count(), 1);
    // The threads for Run and RunAfter already exist.
    absl::Notification ran, fired;
    EXPECT_TRUE(executor->Run([&] { ran.Notify(); }));
    EXPECT_NE(executor->RunAfter(absl::ZeroDuration(), [&] { fired.Notify(); }),
              TimerId::kNone);
    ran.WaitForNotification();
    fired.WaitForNotification();
  }
  absl::Notification ran;
  EXPECT_TRUE(executor->RunBlocking([&] { ran.Notify(); }));
  ran.WaitForNotification();
}

TEST(ThreadRefusalTest, X3FurtherBlockingTasksWaitForAThread) {
  const auto executor = *ThreadExecutor::Create(Patient());
  absl::Notification started, go, queued_ran, second_ran;
  ASSERT_TRUE(executor->RunBlocking([&] {
    started.Notify();
    go.WaitForNotification();
  }));
  started.WaitForNotification();
  {
    const NoThreads no_threads;
    ASSERT_TRUE(executor->RunBlocking([&] {
      queued_ran.Notify();
      go.WaitForNotification();
    }));
  }
  // The first task still blocks its thread, so the executor creates another.
  queued_ran.WaitForNotification();
  {
    const NoThreads no_threads;
    ASSERT_TRUE(executor->RunBlocking([&] { second_ran.Notify(); }));
    go.Notify();
    second_ran.WaitForNotification();
  }
}

class HandClock final : public Clock {
 public:
  Instant Now() const override {
    return {absl::UnixEpoch(), BootTime() + absl::Milliseconds(millis_.load())};
  }
  void Advance(int millis) { millis_ += millis; }

 private:
  std::atomic<int> millis_{0};
};

// Regression test: after a refusal, the executor used to ask the system for at
// most one thread every 20 ms. Here the clock advances by 20 ms once, so all
// waiting tasks but one would wait forever.
TEST(ThreadRefusalTest, X1AllThatWaitForThreadsGetThemOnceThereAreSome) {
  constexpr int kTasks = 10;
  HandClock clock;
  absl::Notification go;
  absl::BlockingCounter first(1), all(kTasks);
  const auto executor = ThreadExecutorTestPeer::Create(clock);
  const auto task = [&](absl::BlockingCounter& started) {
    return [&] {
      started.DecrementCount();
      go.WaitForNotification();
    };
  };
  ASSERT_TRUE(executor->RunBlocking(task(first)));
  first.Wait();
  {
    const NoThreads no_threads;
    for (int i = 0; i < kTasks; ++i) {
      ASSERT_TRUE(executor->RunBlocking(task(all)));
    }
  }
  clock.Advance(20);
  all.Wait();
  go.Notify();
  executor->Shutdown(absl::InfiniteDuration());
}

// Regression test: when the system granted threads late, the executor used to
// create one thread more than its maximum.
TEST(ThreadRefusalTest, X1LateThreadsAreNotMoreThanTheMaximum) {
  constexpr int kTasks = 5;
  HandClock clock;
  ThreadExecutor::Options options;
  options.blocking_threads = 3;
  absl::Notification go;
  absl::BlockingCounter first(1), late(2), all(kTasks);
  std::atomic<int> started{0};
  const auto executor = ThreadExecutorTestPeer::Create(clock, options);
  ASSERT_TRUE(executor->RunBlocking([&] {
    first.DecrementCount();
    go.WaitForNotification();
  }));
  first.Wait();
  const int before = threads_created;
  {
    const NoThreads no_threads;
    for (int i = 0; i < kTasks; ++i) {
      ASSERT_TRUE(executor->RunBlocking([&] {
        if (++started <= 2) late.DecrementCount();
        go.WaitForNotification();
        all.DecrementCount();
      }));
    }
  }
  clock.Advance(20);
  late.Wait();
  go.Notify();
  all.Wait();
  executor->Shutdown(absl::InfiniteDuration());
  EXPECT_EQ(threads_created - before, 2);
}

// Regression test: an executor that was shut down during its first use in the
// child of a fork() used to run tasks after the shutdown.
TEST(ThreadRefusalTest, X4AChildsFirstUseDuringShutdownIsRefused) {
  const auto executor = *ThreadExecutor::Create(Patient());
  const pid_t child = fork();
  if (child == 0) {
    int left = -1;
    before_next_thread = [&] {
      left = executor->Shutdown(absl::InfiniteDuration());
    };
    bool ran = executor->Run([] {});
    ran = executor->Run([] {}) || ran;
    _exit(left != 0 ? 1 : ran ? 2 : 0);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

#ifdef __cpp_exceptions
TEST(ThreadRefusalTest, X3WithoutMemoryTasksAreRefused) {
  const auto executor = *ThreadExecutor::Create(Patient());
  const auto task = std::make_shared<int>();
  Executor::Task run = [task] { FAIL(); };
  Executor::Task blocking = [task] { FAIL(); };
  Executor::Task timer = [task] { FAIL(); };
  bool ran = true;
  bool blocked = true;
  TimerId id = TimerId{1};
  out_of_memory = true;
  ran = executor->Run(std::move(run));
  blocked = executor->RunBlocking(std::move(blocking));
  id = executor->RunAfter(absl::ZeroDuration(), std::move(timer));
  out_of_memory = false;
  EXPECT_FALSE(ran);
  EXPECT_FALSE(blocked);
  EXPECT_EQ(id, TimerId::kNone);
}

// Regression test: a new thread used to need memory before its first task.
// Without memory, the program ended.
TEST(ThreadRefusalTest, X3AThreadThatWasMadeNeedsNoMoreMemory) {
  has_memory = true;
  const auto executor = *ThreadExecutor::Create(Patient());
  absl::Notification ran;
  new_threads_have_no_memory = true;
  EXPECT_TRUE(executor->RunBlocking([&] { ran.Notify(); }));
  ran.WaitForNotification();
  new_threads_have_no_memory = false;
}
#endif

}  // namespace
}  // namespace refreshable

#endif  // __linux__
