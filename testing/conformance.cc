// SPDX-License-Identifier: Apache-2.0

#include "refreshable/testing/conformance.h"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "absl/functional/function_ref.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace refreshable_testing {
namespace {

absl::Duration WaitTimeout() {
  const char* const set = std::getenv("REFRESHABLE_TIMEOUT_SECONDS");
  if (set == nullptr) return absl::Seconds(30);
  int seconds;
  if (!absl::SimpleAtoi(set, &seconds) || seconds <= 0) {
    std::fprintf(stderr,
                 "REFRESHABLE_TIMEOUT_SECONDS is '%s': not a number of seconds "
                 "above 0\n",
                 set);
    std::abort();
  }
  return absl::Seconds(seconds);
}

}  // namespace

void GiveUp(absl::string_view what) {
  const ::testing::TestInfo* const test =
      ::testing::UnitTest::GetInstance()->current_test_info();
  std::fprintf(stderr, "%s.%s waited in vain for %s\n",
               test == nullptr ? "?" : test->test_suite_name(),
               test == nullptr ? "?" : test->name(), std::string(what).c_str());
  std::fflush(stdout);
  std::fflush(stderr);
  std::abort();
}

void AwaitOrGiveUp(const absl::Notification& n, absl::string_view what) {
  if (!n.WaitForNotificationWithTimeout(WaitTimeout())) GiveUp(what);
}

void DoOrGiveUp(absl::string_view what, absl::FunctionRef<void()> f) {
  absl::Notification done;
  std::thread thread([&] {
    f();
    done.Notify();
  });
  AwaitOrGiveUp(done, what);
  thread.join();
}

}  // namespace refreshable_testing
