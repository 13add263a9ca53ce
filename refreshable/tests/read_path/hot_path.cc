// SPDX-License-Identifier: Apache-2.0
//
// One read, compiled as in a user's program, for hot_path_test.sh to examine.

#include <atomic>
#include <string>

#include "refreshable/refreshable.h"

namespace refreshable {

extern "C" {

__attribute__((noinline)) void HotPathRead(Refreshable<std::string>* token,
                                           void (*use)(const char*)) {
  const auto lease = token->Get();
  if (ABSL_PREDICT_TRUE(lease.ok())) use(lease->token().data());
}

// The script must find the lock in this function, and the call in the next one.
// That shows that it would also find a lock or a call in a read.
__attribute__((noinline)) void HotPathWithALock(std::atomic<int>* shared) {
  shared->fetch_add(1);
}
__attribute__((noinline)) int HotPathWithACall(std::atomic<int>* shared) {
  HotPathWithALock(shared);
  return shared->load();
}
}

}  // namespace refreshable

int main(int argc, char**) {
  std::atomic<int> shared{argc};
  // The condition is never true. The calls only keep these functions in the
  // program.
  if (refreshable::HotPathWithACall(&shared) == 0) {
    refreshable::HotPathRead(nullptr, nullptr);
  }
  return 0;
}
