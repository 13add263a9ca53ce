// SPDX-License-Identifier: Apache-2.0
//
// Tests what a Refreshable does if one allocation fails, or if user code throws
// bad_alloc. `Play` runs each scenario once for each allocation or call that
// can fail, in a process of its own.
//
// long: all cases share one harness, which replaces the program's operator new.

#include "absl/base/config.h"

#if defined(__linux__) && defined(ABSL_HAVE_EXCEPTIONS)

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/call_with_token.h"
#include "refreshable/credential.h"
#include "refreshable/event.h"
#include "refreshable/executors/executor.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/generation.h"
#include "refreshable/lease.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/lambda_observer.h"
#include "refreshable/tests/lifecycle_test_util.h"
#include "refreshable/token_source.h"

namespace {

// How many allocations succeed before one fails. If negative, none fails.
std::atomic<int> allocations_left{-1};

bool Refused() {
  return allocations_left.load(std::memory_order_relaxed) >= 0 &&
         allocations_left.fetch_sub(1) == 0;
}

}  // namespace

void* operator new(size_t size) {
  void* const memory = Refused() ? nullptr : std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return Refused() ? nullptr : std::malloc(size);
}
void* operator new(size_t size, std::align_val_t alignment) {
  const auto align = static_cast<size_t>(alignment);
  void* const memory =
      Refused() ? nullptr
                : std::aligned_alloc(align, (size + align - 1) / align * align);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace refreshable {
namespace {

using refreshable_testing::Observe;

constexpr unsigned kWatchdogSeconds = 20;

// How a child process ended.
enum Ending {
  kWorked = 0,     // Something failed, and the instance goes on working.
  kNothingFailed,  // The scenario ended before anything failed.
  kTerminated,     // std::terminate was called because of a bad_alloc.
  kThrown,         // An exception left a call that must not throw.
  kBroken,         // The instance no longer works.
};

// Makes one call of `MaybeThrow` throw, after `left` calls that do not throw.
// If `left` is negative, no call throws.
struct Throwing {
  std::atomic<int> left{-1};

  void MaybeThrow() {
    if (left.load() >= 0 && left.fetch_sub(1) == 0) throw std::bad_alloc();
  }
};
Throwing throwing;

// A token without a move constructor, whose copy constructor may throw.
struct CopiedToken {
  explicit CopiedToken(int v) : value(v) {}
  CopiedToken(const CopiedToken& other) : value(other.value) {
    throwing.MaybeThrow();
  }
  CopiedToken& operator=(const CopiedToken&) = delete;

  int value;
};

template <typename Token>
Token MakeToken();
template <>
std::string MakeToken<std::string>() {
  return "t";  // A string this short needs no allocation.
}
template <>
CopiedToken MakeToken<CopiedToken>() {
  return CopiedToken(1);
}

// A Refreshable and its user code. The user code allocates nothing.
template <typename Token>
class Subject {
 public:
  // Uses a ThreadExecutor if `manual` is null.
  explicit Subject(ManualExecutor* manual) : manual_(manual) {
    options_.executor = manual;
    if (manual == nullptr) {
      ThreadExecutor::Options options;
      options.shutdown_grace = absl::InfiniteDuration();
      threads_ = *ThreadExecutor::Create(options);
      options_.executor = threads_.get();
    }
    source_ = std::make_shared<Source>(this);
    options_.policy.min_interval = absl::ZeroDuration();
    options_.policy.young_token_age = absl::ZeroDuration();
    options_.policy.attempt_timeout = absl::InfiniteDuration();
    options_.policy.retry.initial_backoff = absl::Milliseconds(1);
    options_.policy.retry.max_backoff = absl::Milliseconds(1);
    options_.policy.retry.max_retries = 1;
    options_.observer = Observe([this](const Event&) {
      if (throws_in_observer) throwing.MaybeThrow();
    });
    options_.on_token_changed = [this](const auto&) {
      if (throws_in_hook) throwing.MaybeThrow();
    };
    options_.same_token = [](const auto&, const auto&) { return false; };
    options_.jitter_seed = 1;
  }

  void Create() {
    auto made = Refreshable<Token>::Create(source_, options_);
    refreshable = *std::move(made);
  }
  void Get() { (void)refreshable->Get(absl::Hours(1)); }
  void Install() { (void)refreshable->Install(MakeCredential()); }

  void GetAsync() {
    refreshable->GetAsync(absl::Hours(1), [this](const auto&) {
      const int calls = ++callbacks_;
      if (throws_in_callback) throwing.MaybeThrow();
      if (calls == 1) answered_.Notify();
    });
    ++reads_;
  }
  // The first token is rejected. The function objects are small enough to need
  // no allocation.
  void CallWithTokenAsync() {
    rejections_ = 1;
    refreshable::CallWithTokenAsync<bool>(
        *refreshable, {absl::Hours(1)},
        [this](Lease<Token>, auto done) { done(--rejections_ >= 0); },
        [](bool rejected) { return rejected; },
        [this](const auto&) {
          if (++callbacks_ == 1) answered_.Notify();
        });
    ++reads_;
  }
  // If the executor refuses the callback, the wait may take a second (R11).
  void AwaitCallback() {
    if (manual_ != nullptr) manual_->AdvanceBy(absl::Seconds(2));
    answered_.WaitForNotification();
  }

  // Makes the Refreshable call its source, which does not answer yet.
  void HoldCall() {
    {
      absl::MutexLock lock(&mutex_);
      answers_ = false;
    }
    (void)refreshable->Get(absl::ZeroDuration());
    if (manual_ != nullptr) manual_->RunUntilIdle();
    lifecycle_testing::SpinUntil([this] {
      absl::MutexLock lock(&mutex_);
      return held_.has_value();
    });
  }
  void AnswerHeldCall() {
    FetchDone<Token> done = *TakeHeldCall();
    done(MakeCredential());
  }

  // Switches off all faults, makes two reads, and destroys the instance.
  // Returns whether both reads succeeded, and whether each asynchronous read
  // got its callback exactly once, before the destructor.
  bool Works() {
    source_fails = throws_in_source = throws_in_observer = throws_in_hook =
        throws_in_callback = false;
    TakeHeldCall();
    if (refreshable == nullptr) Create();
    refreshable->Reset();
    bool works = refreshable->Get(absl::Hours(1)).ok();
    refreshable->Invalidate(refreshable->health().generation);
    works = refreshable->Get(absl::Hours(1)).ok() && works;
    if (callbacks_ == 0 && reads_ != 0) AwaitCallback();
    const int callbacks = callbacks_;
    refreshable = nullptr;
    return works && callbacks == reads_ && callbacks_ == callbacks;
  }

  std::unique_ptr<Refreshable<Token>> refreshable;
  std::atomic<bool> source_fails{false};
  std::atomic<bool> throws_in_source{false};
  std::atomic<bool> throws_in_observer{false};
  std::atomic<bool> throws_in_hook{false};
  std::atomic<bool> throws_in_callback{false};

 private:
  class Source final : public TokenSource<Token> {
   public:
    explicit Source(Subject* subject) : subject_(subject) {}
    void Fetch(const FetchContext& context, FetchDone<Token> done) override {
      subject_->Fetch(context, std::move(done));
    }

   private:
    Subject* const subject_;
  };

  static Credential<Token> MakeCredential() {
    return {MakeToken<Token>(), Expiry::In(absl::Hours(1))};
  }

  void Fetch(const FetchContext&, FetchDone<Token> done) {
    {
      absl::MutexLock lock(&mutex_);
      if (!answers_) {
        held_.emplace(std::move(done));
        return;
      }
    }
    if (throws_in_source) throwing.MaybeThrow();
    if (source_fails) {
      done(absl::Status(absl::StatusCode::kUnavailable, ""));
    } else {
      done(MakeCredential());
    }
  }

  // Returns the held call, if any. The source answers all later calls at once.
  std::optional<FetchDone<Token>> TakeHeldCall() {
    absl::MutexLock lock(&mutex_);
    answers_ = true;
    return std::exchange(held_, std::nullopt);
  }

  ManualExecutor* const manual_;
  std::unique_ptr<ThreadExecutor> threads_;
  std::shared_ptr<TokenSource<Token>> source_;
  typename Refreshable<Token>::Options options_;

  absl::Mutex mutex_;
  bool answers_ ABSL_GUARDED_BY(mutex_) = true;
  std::optional<FetchDone<Token>> held_ ABSL_GUARDED_BY(mutex_);

  int reads_ = 0;
  std::atomic<int> rejections_{0};
  std::atomic<int> callbacks_{0};
  absl::Notification answered_;
};

[[noreturn]] void Terminate() {
  try {
    if (std::current_exception() != nullptr) {
      std::rethrow_exception(std::current_exception());
    }
  } catch (const std::bad_alloc&) {
    _exit(kTerminated);
  } catch (...) {  // NOLINT(bugprone-empty-catch)
  }
  std::abort();
}

// Nothing fails in `prepare`. One allocation or one call of user code fails in
// `act`.
template <typename Token>
struct Scenario {
  std::function<void(Subject<Token>&)> prepare;
  std::function<void(Subject<Token>&)> act;
  // Whether `act` may throw bad_alloc.
  bool may_throw = false;
  // Whether `act` may end the program by std::terminate.
  bool may_terminate = true;
};

// Runs the scenario and returns how it ended. `countdown` is `allocations_left`
// or `throwing.left`. During `act`, the first `n` allocations (or calls of
// MaybeThrow) succeed and the next fails.
template <typename Token>
Ending RunInChild(const Scenario<Token>& scenario, bool threads,
                  std::atomic<int>* countdown, int n) {
  ManualExecutor manual;
  Subject<Token> subject(threads ? nullptr : &manual);
  scenario.prepare(subject);
  bool thrown = false;
  countdown->store(n);
  try {
    scenario.act(subject);
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  const bool failed = countdown->exchange(-1) < 0;
  if (!subject.Works()) return kBroken;
  if (!failed) return kNothingFailed;
  return thrown && !scenario.may_throw ? kThrown : kWorked;
}

// `status` comes from waitpid().
std::string Describe(int status) {
  if (WIFSIGNALED(status)) {
    return WTERMSIG(status) == SIGALRM
               ? "hangs"
               : absl::StrCat("ends by signal ", WTERMSIG(status));
  }
  switch (WEXITSTATUS(status)) {
    case kWorked:
      return "goes on";
    case kTerminated:
      return "std::terminate";
    case kThrown:
      return "throws, and goes on";
    default:
      return "does not work any more";
  }
}

// Calls RunInChild in a child process for `n` = 0, 1, 2, ... until `n` is so
// large that no allocation or call of user code fails. Expects that the
// instance works after each failure. If the scenario allows it, the child may
// call std::terminate instead.
template <typename Token>
void Play(const Scenario<Token>& scenario, bool threads,
          std::atomic<int>* countdown) {
  std::map<std::string, std::vector<int>> endings;
  for (int n = 0;; ++n) {
    ASSERT_LT(n, 300);
    const pid_t child = fork();
    ASSERT_NE(child, -1);
    if (child == 0) {
      alarm(kWatchdogSeconds);  // Ends a child that hangs.
      std::set_terminate(Terminate);
      _exit(RunInChild(scenario, threads, countdown, n));
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == kNothingFailed) break;
    endings[Describe(status)].push_back(n);
  }
  EXPECT_FALSE(endings.empty()) << "nothing ever failed";
  for (const auto& [ending, ns] : endings) {
    const bool promised = ending == "goes on" || (ending == "std::terminate" &&
                                                  scenario.may_terminate);
    EXPECT_TRUE(promised) << (threads ? "ThreadExecutor " : "ManualExecutor ")
                          << ending << ", n = " << absl::StrJoin(ns, " ");
  }
}

template <typename Token>
void PlayOnBoth(const Scenario<Token>& scenario, std::atomic<int>* countdown) {
  Play(scenario, /*threads=*/false, countdown);
  Play(scenario, /*threads=*/true, countdown);
}

// ---- The library's own allocations ----

using Strings = Subject<std::string>;

void RefuseMemory(const Scenario<std::string>& scenario) {
  PlayOnBoth(scenario, &allocations_left);
}

void CreateAndGet(Strings& subject) {
  subject.Create();
  subject.Get();
}

TEST(OutOfMemoryTest, E8Create) {
  RefuseMemory({[](Strings&) {}, &Strings::Create, /*may_throw=*/true});
}

TEST(OutOfMemoryTest, E8GetWithASuccess) {
  RefuseMemory({&Strings::Create, &Strings::Get});
}

TEST(OutOfMemoryTest, E8GetWithAFailure) {
  RefuseMemory({[](Strings& subject) {
                  subject.Create();
                  subject.source_fails = true;
                },
                &Strings::Get});
}

TEST(OutOfMemoryTest, E8GetThatTimesOut) {
  RefuseMemory({[](Strings& subject) {
                  subject.Create();
                  subject.HoldCall();
                },
                [](Strings& subject) {
                  (void)subject.refreshable->Get(absl::Milliseconds(1));
                }});
}

TEST(OutOfMemoryTest, E8GetAsync) {
  RefuseMemory({&Strings::Create, [](Strings& subject) {
                  subject.GetAsync();
                  subject.AwaitCallback();
                }});
}

TEST(OutOfMemoryTest, E8CallWithTokenAsync) {
  RefuseMemory({CreateAndGet,
                [](Strings& subject) {
                  subject.CallWithTokenAsync();
                  subject.AwaitCallback();
                },
                /*may_throw=*/true});
}

TEST(OutOfMemoryTest, E8Install) {
  RefuseMemory({CreateAndGet, &Strings::Install, /*may_throw=*/true});
}

TEST(OutOfMemoryTest, E8Invalidate) {
  RefuseMemory({CreateAndGet, [](Strings& subject) {
                  subject.refreshable->Invalidate(Generation(1));
                }});
}

TEST(OutOfMemoryTest, E8AnswerThatComesLater) {
  RefuseMemory({[](Strings& subject) {
                  subject.Create();
                  subject.HoldCall();
                  subject.GetAsync();
                },
                [](Strings& subject) {
                  subject.AnswerHeldCall();
                  subject.AwaitCallback();
                }});
}

TEST(OutOfMemoryTest, E8Destructor) {
  RefuseMemory({[](Strings& subject) {
                  subject.Create();
                  subject.HoldCall();
                  subject.GetAsync();
                },
                [](Strings& subject) { subject.refreshable = nullptr; }});
}

TEST(OutOfMemoryTest, X3ManualExecutorRefuses) {
  for (int n = 0; n < 2; ++n) {
    ManualExecutor executor;
    Executor::Task task = [] { FAIL(); };
    Executor::Task timer = [] { FAIL(); };
    allocations_left = 0;
    const bool accepted = executor.Run(std::move(task));
    allocations_left = n;
    const TimerId id = executor.RunAfter(absl::Seconds(1), std::move(timer));
    allocations_left = -1;
    EXPECT_FALSE(accepted);
    EXPECT_EQ(id, TimerId::kNone) << n;
    EXPECT_EQ(executor.pending(), 0);
  }
}

// A timer needs several allocations. Whichever fails, the executor destroys the
// timer's task.
TEST(OutOfMemoryTest, X3ThreadExecutorKeepsNothingOfARefusedTimer) {
  int refused = 0;
  for (bool accepted = false; !accepted;) {
    ThreadExecutor executor;
    const auto owned = std::make_shared<int>();
    Executor::Task timer = [owned] { FAIL(); };
    allocations_left = refused;
    accepted =
        executor.RunAfter(absl::Hours(1), std::move(timer)) != TimerId::kNone;
    allocations_left = -1;
    EXPECT_EQ(owned.use_count(), accepted ? 2 : 1) << refused;
    refused += accepted ? 0 : 1;
  }
  EXPECT_GE(refused, 2);
}

// ---- User code that throws ----

template <typename Token>
void ThrowBadAlloc(Scenario<Token> scenario) {
  scenario.may_terminate = false;
  PlayOnBoth(scenario, &throwing.left);
}

void ThrowIn(std::atomic<bool> Strings::*where) {
  ThrowBadAlloc<std::string>({[where](Strings& subject) {
                                subject.Create();
                                subject.*where = true;
                              },
                              &Strings::Get});
}

TEST(OutOfMemoryTest, E3SourceThrowsBadAlloc) {
  ThrowIn(&Strings::throws_in_source);
}

TEST(OutOfMemoryTest, E5HookThrowsBadAlloc) {
  ThrowIn(&Strings::throws_in_hook);
}

TEST(OutOfMemoryTest, E5ObserverThrowsBadAlloc) {
  ThrowIn(&Strings::throws_in_observer);
}

// If a callback throws, `AdvanceBy` of a ManualExecutor throws too, and a
// ThreadExecutor ends the program.
TEST(OutOfMemoryTest, E8CallbackThrowsBadAlloc) {
  Scenario<std::string> scenario = {[](Strings& subject) {
                                      subject.Create();
                                      subject.throws_in_callback = true;
                                    },
                                    [](Strings& subject) {
                                      subject.GetAsync();
                                      subject.AwaitCallback();
                                    },
                                    /*may_throw=*/true};
  Play(scenario, /*threads=*/true, &throwing.left);
  scenario.may_terminate = false;
  Play(scenario, /*threads=*/false, &throwing.left);
}

using Copied = Subject<CopiedToken>;

TEST(OutOfMemoryTest, E3TokenThrowsBadAllocInFetch) {
  ThrowBadAlloc<CopiedToken>({&Copied::Create, &Copied::Get});
}

// `AnswerHeldCall` itself copies the token, so it may throw.
TEST(OutOfMemoryTest, E3TokenThrowsBadAllocInALaterAnswer) {
  ThrowBadAlloc<CopiedToken>({[](Copied& subject) {
                                subject.Create();
                                subject.HoldCall();
                                subject.GetAsync();
                              },
                              [](Copied& subject) {
                                subject.AnswerHeldCall();
                                subject.AwaitCallback();
                              },
                              /*may_throw=*/true});
}

TEST(OutOfMemoryTest, E8TokenThrowsBadAllocInInstall) {
  ThrowBadAlloc<CopiedToken>({[](Copied& subject) {
                                subject.Create();
                                subject.Get();
                              },
                              &Copied::Install, /*may_throw=*/true});
}

}  // namespace
}  // namespace refreshable

#endif  // __linux__ && ABSL_HAVE_EXCEPTIONS
