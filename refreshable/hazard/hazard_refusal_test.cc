// SPDX-License-Identifier: Apache-2.0
//
// The program enters a sandbox after its first read, and the kernel then
// refuses membarrier(2).

#include "refreshable/hazard/hazard_domain.h"

#ifdef __linux__
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <future>
#include <iostream>
#include <thread>

#include "gtest/gtest.h"

namespace refreshable {
namespace internal {
namespace {

struct Node final : HazardNode {
  explicit Node(std::atomic<int>* f) : freed(f) {}
  ~Node() override { ++*freed; }
  std::atomic<int>* const freed;
};

// Makes the kernel refuse membarrier(2) to this thread and to the threads that
// it starts from now on.
bool RefuseMembarrier() {
#ifdef SYS_membarrier
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
#else
  return false;
#endif
}

TEST(HazardRefusalTest, R12NothingIsFreedWithoutTheBarrier) {
#ifdef REFRESHABLE_NO_THREAD_LOCAL
  std::cout << "reads make barriers themselves: there is nothing to refuse\n";
  return;
#endif
  if (!HazardDomain::Current().Asymmetric()) {
    std::cout << "no membarrier(2) here: there is nothing to refuse\n";
    return;
  }
  std::atomic<int> freed{0};
  HazardCell cell{new Node(&freed)};
  // The thread `outside` starts before the refusal, so it may still use
  // membarrier(2). It reads, because the domain needs a barrier only if another
  // thread reads.
  std::promise<void> has_read, go;
  std::thread outside([&] {
    { const HazardHolder hold = HazardDomain::Current().Protect(cell); }
    has_read.set_value();
    go.get_future().wait();
    HazardDomain::Current().Retire(cell.exchange(nullptr));
  });
  has_read.get_future().wait();
  const bool refused = RefuseMembarrier();
  EXPECT_TRUE(refused);
  if (!refused) {
    go.set_value();
    outside.join();
    return;
  }
  // Nobody holds the node, but without the barrier the domain cannot know that.
  HazardDomain::Current().Retire(cell.exchange(new Node(&freed)));
  EXPECT_EQ(freed, 0);
  { const HazardHolder hold = HazardDomain::Current().Protect(cell); }
  EXPECT_EQ(freed, 0);
  go.set_value();
  outside.join();
  EXPECT_EQ(freed, 2);
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
