// SPDX-License-Identifier: Apache-2.0
//
// Tests what a ThreadExecutor does when the system refuses it threads or
// memory.

#ifdef __linux__

#include <dlfcn.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <fstream>
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
// If set, the next pthread_create calls this once, before it creates the
// thread.
std::function<void()> before_next_thread;
}  // namespace

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attr,
                              void* (*main)(void*), void* argument) noexcept {
  if (before_next_thread) std::exchange(before_next_thread, nullptr)();
  using Create =
      int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create =
      reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  return create(thread, attr, main, argument);
}

#ifdef __cpp_exceptions
namespace {
// While this is true, memory is refused to the calling thread.
thread_local bool out_of_memory = false;
// While this is true, memory is refused to every thread that has not set its
// `has_memory`, and so to every new thread of the executor.
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
  static std::unique_ptr<ThreadExecutor> Create(const Clock& clock) {
    return ThreadExecutor::Create(ThreadExecutor::Options(), clock).value();
  }
};

namespace {

// While an object of this class exists, the system refuses every new thread:
// the process can allocate only half as much memory as a thread's stack needs.
// That is enough for everything else in these tests.
class NoThreads {
 public:
  NoThreads() {
    getrlimit(RLIMIT_AS, &before_);
    size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    pthread_attr_t attributes;
    size_t stack = 0;
    pthread_attr_init(&attributes);
    pthread_attr_getstacksize(&attributes, &stack);
    pthread_attr_destroy(&attributes);
    rlimit now = before_;
    now.rlim_cur = pages * sysconf(_SC_PAGESIZE) + stack / 2;
    setrlimit(RLIMIT_AS, &now);
  }
  ~NoThreads() { setrlimit(RLIMIT_AS, &before_); }

 private:
  rlimit before_;
};

ThreadExecutor::Options Patient() {
  ThreadExecutor::Options options;
  options.shutdown_grace = absl::InfiniteDuration();
  return options;
}

// Regression test: when the system refused a thread, an exception once left
// `Create` or, without exceptions, the program ended.
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
  // The queued task runs although the executor's only earlier thread for such
  // tasks is still blocked: once there is memory, the executor creates another
  // thread.
  queued_ran.WaitForNotification();
  {
    const NoThreads no_threads;
    ASSERT_TRUE(executor->RunBlocking([&] { second_ran.Notify(); }));
    go.Notify();
    second_ran.WaitForNotification();
  }
}

// A clock that the test moves.
class HandClock final : public Clock {
 public:
  Instant Now() const override {
    return {absl::UnixEpoch(), BootTime() + absl::Milliseconds(millis_.load())};
  }
  void Advance(int millis) { millis_ += millis; }

 private:
  std::atomic<int> millis_{0};
};

// Regression test: the executor used to ask the system for only one thread at a
// time, and to ask again only if no other thread had taken a task since. With
// such an executor, the last tasks of this test would wait forever.
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

// Regression test: if the child of a fork() shut the executor down during the
// child's first use of it, the executor once still ran tasks after the
// shutdown.
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

// Regression test: a new thread once needed memory before its first task. If
// there was none, the program ended.
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
