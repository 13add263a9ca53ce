// SPDX-License-Identifier: Apache-2.0
//
// Measures what a read costs in several *forms*, which differ in the code
// around the read:
//
//   bazel run -c opt //benchmarks:read_shapes
//
// The forms take turns of about a millisecond. Each form's loop is compiled at
// nine places in memory, because the speed of a loop depends on its place.
// `vs_inlined` is the time divided by the time of an inlined `Get` on a local
// reference (a median over the turns).
//
// If the first argument is --benchmark_min_time=VALUE, the program only checks
// that it works.

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/status/statusor.h"
#include "benchmarks/baselines.h"
#include "benchmarks/measure.h"
#include "benchmarks/ours.h"
#include "refreshable/lease.h"
#include "refreshable/refreshable.h"

// Keeps the compiler from inlining a function. With GCC, also keeps it from
// changing how the arguments are passed.
#if defined(__GNUC__) && !defined(__clang__)
#define BENCHMARKS_OPAQUE __attribute__((noipa))
#else
#define BENCHMARKS_OPAQUE ABSL_ATTRIBUTE_NOINLINE
#endif

namespace refreshable_benchmarks {
namespace {

using Lease = refreshable::Lease<std::string>;
using Refreshable = refreshable::Refreshable<std::string>;

// Makes the compiler forget what memory contains, as unknown code would.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline void Forget() {
#ifdef __GNUC__
  __asm__ volatile("" : : : "memory");
#else
  std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
}

// The objects whose reads are measured: a Refreshable, and for comparison
// `PointerAndTime`, whose reads are the cheapest.
struct Client {
  PointerAndTime floor{std::string(1024, 'x')};
  Fresh fresh{std::string(1024, 'x')};
  Refreshable* pointer = &fresh.refreshable();
  // The deleter does nothing, because `fresh` owns the Refreshable.
  std::shared_ptr<Refreshable> shared{pointer, [](Refreshable*) {}};
};

BENCHMARKS_OPAQUE absl::StatusOr<Lease> Wrapper(Refreshable& token) {
  return token.Get();
}
BENCHMARKS_OPAQUE char ReadAndUse(Refreshable& token) {
  const auto lease = token.Get();
  return lease.ok() ? lease->token()[0] : '\0';
}
BENCHMARKS_OPAQUE char UseValue(Lease lease) { return lease.token()[0]; }
BENCHMARKS_OPAQUE char UseReference(const Lease& lease) {
  return lease.token()[0];
}
BENCHMARKS_OPAQUE char UseToken(const std::string& token) { return token[0]; }

// Each class from `Floor` to `CopiesShared` is one form.
struct Floor {
  static constexpr char kName[] = "floor: pointer, time()";
  explicit Floor(Client& client) : floor(client.floor) {}
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() { return floor.Read(); }
  PointerAndTime& floor;
};

struct Inlined {
  static constexpr char kName[] = "Get on a local reference";
  explicit Inlined(Client& client) : token(*client.pointer) {}
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    auto lease = token.Get();
    return lease.ok() ? lease->token()[0] : '\0';
  }
  Refreshable& token;
};

struct Constant : Inlined {
  static constexpr char kName[] = "the same, the lease const";
  using Inlined::Inlined;
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    const auto lease = token.Get();
    return lease.ok() ? lease->token()[0] : '\0';
  }
};

struct PassesToken : Inlined {
  static constexpr char kName[] = "lease->token() passed to a function";
  using Inlined::Inlined;
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    const auto lease = token.Get();
    return lease.ok() ? UseToken(lease->token()) : '\0';
  }
};

struct ThroughMember {
  static constexpr char kName[] = "through a pointer that may have changed";
  explicit ThroughMember(Client& c) : client(c) {}
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    Forget();
    auto lease = client.pointer->Get();
    return lease.ok() ? lease->token()[0] : '\0';
  }
  Client& client;
};

struct ThroughShared : ThroughMember {
  static constexpr char kName[] = "through a shared_ptr member";
  using ThroughMember::ThroughMember;
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    Forget();
    auto lease = client.shared->Get();
    return lease.ok() ? lease->token()[0] : '\0';
  }
};

struct ReadsInFunction : Inlined {
  static constexpr char kName[] = "read and used in a function, not inlined";
  using Inlined::Inlined;
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() { return ReadAndUse(token); }
};

struct PassesReference : Inlined {
  static constexpr char kName[] = "lease passed by reference";
  using Inlined::Inlined;
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    const auto lease = token.Get();
    return lease.ok() ? UseReference(*lease) : '\0';
  }
};

struct PassesValue : Inlined {
  static constexpr char kName[] = "lease passed by value";
  using Inlined::Inlined;
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    auto lease = token.Get();
    return lease.ok() ? UseValue(*std::move(lease)) : '\0';
  }
};

struct ThroughWrapper : Inlined {
  static constexpr char kName[] = "lease returned by a wrapper, not inlined";
  using Inlined::Inlined;
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    const auto lease = Wrapper(token);
    return lease.ok() ? lease->token()[0] : '\0';
  }
};

struct CopiesShared : ThroughMember {
  static constexpr char kName[] = "the shared_ptr copied for each read";
  using ThroughMember::ThroughMember;
  ABSL_ATTRIBUTE_ALWAYS_INLINE char Read() {
    Forget();
    const std::shared_ptr<Refreshable> copy = client.shared;
    auto lease = copy->Get();
    return lease.ok() ? lease->token()[0] : '\0';
  }
};

// Returns the nanoseconds per read.
template <typename Form, int kPlacement>
ABSL_ATTRIBUTE_NOINLINE double TimePerRead(Client& client, int64_t reads) {
  Form form(client);
  int missed = 0;
  const auto start = SteadyClock::now();
  PlaceCode<kPlacement>();
  for (int64_t i = 0; i < reads; ++i) missed += form.Read() == '\0';
  const auto took = SteadyClock::now() - start;
  if (missed != 0) std::abort();
  return Nanoseconds(took) / static_cast<double>(reads);
}

struct Subject {
  const char* name;
  double (*time_per_read[kPlacements])(Client&, int64_t);
  std::vector<double> ns;
  std::vector<double> vs_inlined;
};

template <typename Form>
Subject Make() {
  return {Form::kName,
          {TimePerRead<Form, 0>, TimePerRead<Form, 1>, TimePerRead<Form, 2>,
           TimePerRead<Form, 3>, TimePerRead<Form, 4>, TimePerRead<Form, 5>,
           TimePerRead<Form, 6>, TimePerRead<Form, 7>, TimePerRead<Form, 8>},
          {},
          {}};
}

void Main(bool short_form) {
  const int64_t reads = short_form ? 1000 : 500000;
  const int slices = short_form ? 1 : 15;
  // glibc and libstdc++ avoid atomic instructions until the process has had a
  // second thread. Programs with several threads have no such advantage.
  std::thread([] {}).join();
  Client client;
  std::vector<Subject> subjects = {
      Make<Floor>(),           Make<Inlined>(),         Make<Constant>(),
      Make<PassesToken>(),     Make<ThroughMember>(),   Make<ThroughShared>(),
      Make<ReadsInFunction>(), Make<PassesReference>(), Make<PassesValue>(),
      Make<ThroughWrapper>(),  Make<CopiesShared>()};
  constexpr int kInlined = 1;
  for (int placement = 0; placement < kPlacements; ++placement) {
    for (int slice = 0; slice < slices; ++slice) {
      for (Subject& subject : subjects) {
        subject.ns.push_back(subject.time_per_read[placement](client, reads));
      }
      const double inlined = subjects[kInlined].ns.back();
      for (Subject& subject : subjects) {
        subject.vs_inlined.push_back(subject.ns.back() / inlined);
      }
    }
  }
  std::printf("| %-42s | ns per read | vs_inlined |\n", "form");
  std::printf("| --- | --- | --- |\n");
  for (const Subject& subject : subjects) {
    std::printf("| %-42s | %11.2f | %10.2f |\n", subject.name,
                Median(subject.ns), Median(subject.vs_inlined));
  }
  if (short_form) std::printf("short form: these figures mean nothing\n");
}

}  // namespace
}  // namespace refreshable_benchmarks

int main(int argc, char** argv) {
  using namespace refreshable_benchmarks;  // NOLINT: one short function.
  Main(IsShortForm(argc, argv));
  return 0;
}
