// SPDX-License-Identifier: Apache-2.0
//
// Tests of the clauses E1, E4, R1 and R12 in a process with several copies of
// the library. In the past, a token was freed while a lease of it was held.
//
// The arguments are the files of the plug-ins, each of which contains a copy.
// The program also contains a copy if REFRESHABLE_HOST_HAS_A_COPY is defined.

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/config.h"
#include "gtest/gtest.h"
#include "refreshable/tests/copies/plugin.h"

namespace refreshable {
namespace {

// A plug-in has two copies of its file, because a process can load a file only
// once.
struct Plugin {
  // Returns whether this object stands for the program's own copy.
  bool host() const { return first.empty(); }
  bool Has(const char* part) const {
    return name.find(part) != std::string::npos;
  }
  bool whole() const { return Has("whole"); }

  std::string name;
  std::string first;
  std::string second;
};

std::vector<Plugin>& Plugins() {
  static auto* const plugins = new std::vector<Plugin>;
  return *plugins;
}

#ifdef REFRESHABLE_HOST_HAS_A_COPY
constexpr bool kHostHasACopy = true;
#else
constexpr bool kHostHasACopy = false;
#endif

void AddPlugin(const std::string& path) {
  const std::string copy = std::string(getenv("TEST_TMPDIR")) + "/" +
                           std::to_string(Plugins().size());
  Plugins().push_back({path, copy + "a.so", copy + "b.so"});
  std::filesystem::copy_file(path, Plugins().back().first);
  std::filesystem::copy_file(path, Plugins().back().second);
}

// Whether a CHECK_THAT has failed in this child process.
bool failed = false;
#define CHECK_THAT(condition)                                         \
  do {                                                                \
    if (!(condition)) {                                               \
      failed = true;                                                  \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, \
                   #condition);                                       \
    }                                                                 \
  } while (false)

// Runs `body` in a child process. Returns 0 if every CHECK_THAT held, and -1 if
// a signal ended the process.
int ExitCodeOfChild(const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);  // SIGALRM ends a child that hangs.
    failed = false;
    body();
    _exit(failed ? 1 : 0);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// The copy of the library in a shared object or, if the path is empty, in the
// program.
class Copy {
 public:
  Copy(std::string path, int flags) : path_(std::move(path)) { Load(flags); }

  void Load(int flags) {
#ifdef REFRESHABLE_HOST_HAS_A_COPY
    if (path_.empty()) {
      api_ = GetPlugin();
      return;
    }
#endif
    handle_ = dlopen(path_.c_str(), flags);
    if (handle_ == nullptr) {
      std::fprintf(stderr, "%s\n", dlerror());
      _exit(2);
    }
    api_ =
        reinterpret_cast<const PluginApi* (*)()>(dlsym(handle_, "GetPlugin"))();
  }

  void Unload() {
    api_->end();
    dlclose(handle_);
    handle_ = nullptr;
    api_ = nullptr;
  }
  bool loaded() const {
    void* const handle = dlopen(path_.c_str(), RTLD_LAZY | RTLD_NOLOAD);
    if (handle != nullptr) dlclose(handle);
    return handle != nullptr;
  }

  const PluginApi* operator->() const { return api_; }

 private:
  std::string path_;
  void* handle_ = nullptr;
  const PluginApi* api_ = nullptr;
};

// Checks that a replaced token lives until `releaser` releases its lease.
void HoldReplaceRelease(const Copy& copy, const Copy& releaser) {
  const int before = copy->alive();
  void* const lease = copy->read();
  copy->publish();
  CHECK_THAT(copy->alive() == before + 1);
  copy->publish();
  CHECK_THAT(copy->alive() == before + 1);
  releaser->release(lease);
  CHECK_THAT(copy->alive() == before);
}

void UseBoth(const Copy& a, const Copy& b) {
  for (int i = 0; i < 3; ++i) {
    HoldReplaceRelease(a, a);
    HoldReplaceRelease(b, b);
    HoldReplaceRelease(a, b);
    HoldReplaceRelease(b, a);
  }
  // The larger counts exceed the number of hazard slots that a thread has at
  // first.
  for (int count : {1, 5, 10}) {
    const int a_before = a->alive(), b_before = b->alive();
    std::vector<void*> a_leases, b_leases;
    for (int i = 0; i < count; ++i) {
      a_leases.push_back(a->read());
      b_leases.push_back(b->read());
    }
    b->publish();
    a->publish();
    CHECK_THAT(a->alive() == a_before + 1);
    CHECK_THAT(b->alive() == b_before + 1);
    for (int i = 0; i < count; ++i) {
      b->release(a_leases[i]);
      a->release(b_leases[i]);
    }
    CHECK_THAT(a->alive() == a_before);
    CHECK_THAT(b->alive() == b_before);
  }
}

void InAThread(const std::function<void()>& body) { std::thread(body).join(); }

struct Flags {
  const char* name;
  int a;
  int b;
};
constexpr Flags kFlags[] = {
    {"BothLocal", RTLD_LAZY | RTLD_LOCAL, RTLD_LAZY | RTLD_LOCAL},
    {"BothGlobal", RTLD_LAZY | RTLD_GLOBAL, RTLD_LAZY | RTLD_GLOBAL},
    // With lazy binding, a call in the first plug-in may be bound to a function
    // of the same name in the second plug-in.
    {"LocalThenGlobal", RTLD_LAZY | RTLD_LOCAL, RTLD_LAZY | RTLD_GLOBAL},
    {"GlobalThenLocal", RTLD_NOW | RTLD_GLOBAL, RTLD_NOW | RTLD_LOCAL},
};

// Runs `body` in a child process for each ordered pair of plug-ins that use the
// same part of the library. If the program has a copy, one member of each pair
// is that copy. Pairs that use only the hazard domain run a second time as if
// there were no membarrier(2).
void ForEachPair(const std::function<void(Copy& a, Copy& b)>& body) {
  for (const Plugin& first : Plugins()) {
    for (const Plugin& second : Plugins()) {
      if (first.whole() != second.whole()) continue;
      if (kHostHasACopy && first.host() == second.host()) continue;
      for (const Flags& flags : kFlags) {
        for (const bool symmetric : {false, true}) {
          if (symmetric && first.whole()) continue;
          const int exit_code = ExitCodeOfChild([&] {
            Copy a(first.first, flags.a);
            Copy b(second.second, flags.b);
            if (symmetric) {
              a->force_symmetric();
              b->force_symmetric();
            }
            body(a, b);
          });
          EXPECT_EQ(exit_code, 0)
              << first.name << " and " << second.name << ", " << flags.name
              << (symmetric ? ", symmetric" : "");
        }
      }
    }
  }
}

TEST(TwoCopiesTest, R12NoTokenDiesWhileItIsHeldInEitherCopy) {
  ForEachPair([](Copy& a, Copy& b) {
    UseBoth(a, b);
    InAThread([&] { UseBoth(b, a); });
    UseBoth(b, a);
  });
}

TEST(TwoCopiesTest, R12ACopyWorksAlone) {
  for (const Plugin& plugin : Plugins()) {
    EXPECT_EQ(ExitCodeOfChild([&] {
                Copy a(plugin.first, RTLD_NOW | RTLD_LOCAL);
                UseBoth(a, a);
              }),
              0)
        << plugin.name;
  }
}

// Builds with ThreadSanitizer do not use membarrier(2), without which this test
// would fail.
#ifndef ABSL_HAVE_THREAD_SANITIZER
// After a thread's first read through a copy, its reads through that copy are
// fast.
TEST(TwoCopiesTest, R1ReadsAreFastInBothCopies) {
  for (const Flags& flags : kFlags) {
    for (const Plugin& first : Plugins()) {
      EXPECT_EQ(ExitCodeOfChild([&] {
                  Copy a(first.first, flags.a);
                  Copy b(first.second, flags.b);
                  const auto read_both = [&] {
                    a->release(a->read());
                    b->release(b->read());
                    CHECK_THAT(a->reads_are_fast());
                    CHECK_THAT(b->reads_are_fast());
                  };
                  read_both();
                  InAThread(read_both);
                }),
                0)
          << first.name << ", " << flags.name;
    }
  }
}
#endif

TEST(TwoCopiesTest, R12ALeaseOutlivesItsThreadInEitherCopy) {
  ForEachPair([](Copy& a, Copy& b) {
    void* a_lease = nullptr;
    void* b_lease = nullptr;
    InAThread([&] {
      a_lease = a->read();
      b_lease = b->read();
    });
    const int a_before = a->alive(), b_before = b->alive();
    a->publish();
    b->publish();
    InAThread([&] { UseBoth(a, b); });
    CHECK_THAT(a->alive() == a_before + 1);
    CHECK_THAT(b->alive() == b_before + 1);
    InAThread([&] {
      a->release(b_lease);
      b->release(a_lease);
    });
    CHECK_THAT(a->alive() == a_before);
    CHECK_THAT(b->alive() == b_before);
  });
}

#if !defined(ABSL_HAVE_ADDRESS_SANITIZER) && \
    !defined(ABSL_HAVE_THREAD_SANITIZER)
// The process forks while another thread reads. Then both parent and child
// release the leases that the process held.
TEST(TwoCopiesTest, E4BothCopiesGoOnAfterFork) {
  ForEachPair([](Copy& a, Copy& b) {
    std::atomic<bool> stop{false};
    std::thread other([&] {
      while (!stop) {
        a->release(a->read());
        b->release(b->read());
      }
    });
    const auto go_on = [&](void* a_lease, void* b_lease) {
      b->publish();
      a->publish();
      a->release(b_lease);
      b->release(a_lease);
      // The other thread does not exist in the child, so leases that it held
      // are never released there. They may keep tokens alive, so only changes
      // of the number of tokens are checked.
      for (int i = 0; i < 3; ++i) {
        HoldReplaceRelease(a, b);
        HoldReplaceRelease(b, a);
      }
    };
    void* const a_lease = a->read();
    void* const b_lease = b->read();
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);
      go_on(a_lease, b_lease);
      _exit(failed ? 1 : 0);
    }
    int status = 0;
    CHECK_THAT(waitpid(child, &status, 0) == child && status == 0);
    stop = true;
    other.join();
    go_on(a_lease, b_lease);
  });
}
#endif

// The loader never unloads a shared object with an STB_GNU_UNIQUE symbol. GCC
// makes such symbols for static variables in inline functions. In
// "whole_hidden", a version script makes these symbols local.
bool CanBeUnloaded([[maybe_unused]] const Plugin& plugin) {
#ifndef __clang__
  if (plugin.whole()) return plugin.Has("whole_hidden");
#endif
  return true;
}

// An unloaded shared object must leave no thread, no fork() handler and no
// thread-exit handler behind.
TEST(TwoCopiesTest, E1ACopyCanBeUnloaded) {
  for (const Plugin& plugin : Plugins()) {
    if (plugin.host()) continue;
    for (const bool thread_ends_first : {true, false}) {
      EXPECT_EQ(
          ExitCodeOfChild([&] {
            constexpr int kFlagsOfBoth = RTLD_NOW | RTLD_LOCAL;
            Copy a(plugin.first, kFlagsOfBoth);
            Copy b(plugin.second, kFlagsOfBoth);
            UseBoth(b, b);
            std::atomic<bool> used{false}, unloaded{false};
            bool has_record = false;
            std::thread user([&] {
              UseBoth(a, a);
              UseBoth(b, b);
              has_record = !thread_ends_first && a->reads_are_fast() &&
                           !plugin.Has("no_thread_local");
              used = true;
              while (!thread_ends_first && !unloaded) std::this_thread::yield();
              if (!thread_ends_first) UseBoth(b, b);
            });
            while (!used) std::this_thread::yield();
            if (thread_ends_first) user.join();
            a.Unload();
            // A thread's record (its hazard slots) keeps the copy loaded.
            if (!kHostHasACopy) CHECK_THAT(!has_record || a.loaded());
            unloaded = true;
            if (!thread_ends_first) user.join();
            if (!kHostHasACopy && thread_ends_first) {
              CHECK_THAT(a.loaded() == !CanBeUnloaded(plugin));
            }
            const pid_t child = fork();
            if (child == 0) {
              UseBoth(b, b);
              _exit(failed ? 1 : 0);
            }
            int status = 0;
            CHECK_THAT(waitpid(child, &status, 0) == child && status == 0);
            a.Load(kFlagsOfBoth);
            UseBoth(a, b);
            InAThread([&] { UseBoth(a, b); });
          }),
          0)
          << plugin.name << (thread_ends_first ? "" : ", while a thread lives");
    }
  }
}

}  // namespace
}  // namespace refreshable

#ifdef ABSL_HAVE_ADDRESS_SANITIZER
// AddressSanitizer would report the two copies as a violation of the One
// Definition Rule.
extern "C" const char* __asan_default_options() {
  return "detect_odr_violation=0";
}
#endif

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (refreshable::kHostHasACopy) {
    refreshable::Plugins().push_back({"the whole of the host", "", ""});
  }
  for (int i = 1; i < argc; ++i) refreshable::AddPlugin(argv[i]);
  return RUN_ALL_TESTS();
}
