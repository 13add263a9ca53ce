// SPDX-License-Identifier: Apache-2.0
//
// hot_path_test.sh examines the machine code of HotPathRead, a read that is
// compiled as in a user's program.

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

// hot_path_test.sh must find the lock and the call here, to show that the
// script would find them in HotPathRead.
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
  // The condition is never true: the two calls only keep the functions in the
  // program.
  if (refreshable::HotPathWithACall(&shared) == 0) {
    refreshable::HotPathRead(nullptr, nullptr);
  }
  return 0;
}
