// SPDX-License-Identifier: Apache-2.0
//
// Tests ReleaseSource when no thread can be started.

#include "refreshable/shell/source_release.h"

#include <pthread.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "gtest/gtest.h"

extern "C" int pthread_create(pthread_t*, const pthread_attr_t*,
                              void* (*)(void*), void*) noexcept {
  return EAGAIN;
}

namespace refreshable {
namespace internal {
namespace {

// Regression test: in builds without exceptions, the program used to end if a
// thread could not be started.
TEST(SourceReleaseTest, E7WithoutAThreadTheSourceIsLeaked) {
  const auto source = std::make_shared<int>();
  std::shared_ptr<void> last = source;
  const InDone in_done;
  ReleaseSource(std::move(last), nullptr);
  EXPECT_EQ(source.use_count(), 2);
}

}  // namespace
}  // namespace internal
}  // namespace refreshable
