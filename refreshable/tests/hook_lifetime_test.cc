// SPDX-License-Identifier: Apache-2.0
//
// Tests of clause E1: the destructor destroys the user's observer and
// functions, even if the source or an HTTP client has not answered yet.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/call_with_token.h"
#include "refreshable/credential.h"
#include "refreshable/event.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/lease.h"
#include "refreshable/observer.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/lambda_observer.h"
#include "refreshable/tests/lifecycle_test_util.h"
#include "refreshable/token_source.h"

namespace refreshable {
namespace {

using lifecycle_testing::HeldSource;
using lifecycle_testing::Hour;
using lifecycle_testing::Strings;

// An HTTP client that answers no call.
struct Http {
  std::vector<absl::AnyInvocable<void(int)>> calls;
};

void Call(Strings& token, Http* http, int* answers) {
  CallWithTokenAsync<int>(
      token, {absl::Seconds(5)},
      [http](const Lease<std::string>&, absl::AnyInvocable<void(int)> done) {
        http->calls.push_back(std::move(done));
      },
      [](const int&) { return false; },
      [answers](const absl::StatusOr<int>&) { ++*answers; });
}

// Regression test: in the past, a hook, the HTTP client that it owned, and the
// client's call kept each other alive.
TEST(HookLifetimeTest, E1AClientThatOnlyAHookOwnsGoesWithTheRefreshable) {
  for (const bool in_same_token : {false, true}) {
    ManualExecutor executor;
    auto http = std::make_shared<Http>();
    const std::weak_ptr<Http> alive = http;
    Strings::Options options{&executor};
    if (in_same_token) {
      options.same_token = [http](const std::string& a, const std::string& b) {
        return a == b;
      };
    } else {
      options.on_token_changed = [http](const Lease<std::string>&) {};
    }
    auto token =
        *Strings::Create(std::make_shared<HeldSource>(), std::move(options));
    ASSERT_TRUE(token->Install(Hour("t")).ok());
    int answers = 0;
    Call(*token, http.get(), &answers);
    executor.RunUntilIdle();
    ASSERT_EQ(http->calls.size(), 1u);
    http = nullptr;
    token = nullptr;
    EXPECT_TRUE(alive.expired());
    EXPECT_EQ(answers, 1);
  }
}

TEST(HookLifetimeTest, E1ACallOfTheSourceDoesNotKeepTheObserver) {
  ManualExecutor executor;
  const auto source = std::make_shared<HeldSource>();
  Strings::Options options{&executor};
  options.observer = refreshable_testing::Observe([](const Event&) {});
  const std::weak_ptr<Observer> alive = options.observer;
  auto token = *Strings::Create(source, std::move(options));
  token->GetAsync(absl::InfiniteDuration(), [](const auto&) {});
  executor.RunUntilIdle();
  ASSERT_EQ(source->calls(), 1u);
  token = nullptr;
  EXPECT_TRUE(alive.expired());
  source->Drop(0);
}

}  // namespace
}  // namespace refreshable

namespace users {

int references = 0;

// The library has functions named `Ref` and `Unref` too.
struct Token {};
template <typename T>
void Ref(T*) {
  ++references;
}
template <typename T>
void Unref(T*) {
  --references;
}

}  // namespace users

namespace refreshable {
namespace {

// Regression test: in the past, the library called `users::Ref` and
// `users::Unref` instead of its own functions.
TEST(HookLifetimeTest, E1TheUsersFunctionsDoNotReplaceTheLibrarys) {
  ManualExecutor executor;
  auto token = *Refreshable<users::Token>::Create(
      BlockingSource<users::Token>(
          [] { return Credential<users::Token>({}, Expiry::Never()); }),
      {&executor});
  EXPECT_TRUE(token->Get().ok());
  EXPECT_EQ(users::references, 0);
}

}  // namespace
}  // namespace refreshable
