// SPDX-License-Identifier: Apache-2.0
//
// Tests of misuse by callers, and of unusual token types.

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/call_with_token.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/executors/thread_executor.h"
#include "refreshable/internal/null_function.h"
#include "refreshable/refreshable.h"
#include "refreshable/tests/lifecycle_test_util.h"

namespace refreshable {
namespace {

using lifecycle_testing::HeldSource;
using lifecycle_testing::Make;
using lifecycle_testing::Strings;

struct Plain {
  int number;
};
struct Recursive : std::vector<Recursive> {};
struct Broken {
  std::vector<Plain> parts;
  template <typename T>
  bool operator==(const T& other) const {
    return parts == other.parts;
  }
};

}  // namespace

template <>
struct TokenHasEquality<Broken> : std::false_type {};

namespace {

static_assert(TokenHasEquality<std::string>::value);
static_assert(TokenHasEquality<std::vector<std::string>>::value);
static_assert(TokenHasEquality<std::map<std::string, int>>::value);
static_assert(TokenHasEquality<std::shared_ptr<Plain>>::value);
static_assert(TokenHasEquality<std::optional<std::vector<int>>>::value);
static_assert(TokenHasEquality<Recursive>::value);
static_assert(!TokenHasEquality<Plain>::value);
static_assert(!TokenHasEquality<std::vector<Plain>>::value);
static_assert(!TokenHasEquality<std::vector<std::vector<Plain>>>::value);
static_assert(!TokenHasEquality<std::array<Plain, 2>>::value);
static_assert(!TokenHasEquality<std::map<int, Plain>>::value);
static_assert(!TokenHasEquality<std::pair<int, Plain>>::value);
static_assert(!TokenHasEquality<std::tuple<int, Plain>>::value);
static_assert(!TokenHasEquality<std::variant<int, Plain>>::value);
static_assert(!TokenHasEquality<std::optional<std::vector<Plain>>>::value);

// `kCanBeNull<F>` must compile for every type, even for `Broken`, whose
// operator== does not compile.
static_assert(internal::kCanBeNull<void (*)()>);
static_assert(internal::kCanBeNull<std::function<void()>>);
static_assert(internal::kCanBeNull<absl::AnyInvocable<void()>>);
static_assert(!internal::kCanBeNull<Broken>);

// Invalidates a token whose value the source returns again. Expects that the
// next read succeeds if and only if `replaced` is true. Without `same_token`
// and operator==, all tokens count as different.
template <typename Token>
void ExpectInvalidatedTokenIsReplaced(
    std::function<bool(const Token&, const Token&)> same_token, bool replaced) {
  ManualExecutor executor;
  typename Refreshable<Token>::Options options;
  options.executor = &executor;
  options.same_token = std::move(same_token);
  const auto token = *Refreshable<Token>::Create(
      BlockingSource<Token>([]() -> absl::StatusOr<Credential<Token>> {
        return Credential<Token>(Token(), Expiry::Never());
      }),
      options);
  ASSERT_TRUE(token->Install({Token(), Expiry::Never()}).ok());
  ASSERT_TRUE(token->Invalidate(Generation(1)));
  EXPECT_EQ(token->Get().ok(), replaced);
}

// Regression test: in the past, a Refreshable of vectors did not compile if the
// elements had no operator==.
TEST(MisuseTest, F5TokensWithoutAnOperatorAreComparedAsTheCallerSays) {
  using Plains = std::vector<Plain>;
  ExpectInvalidatedTokenIsReplaced<Plains>(nullptr, true);
  ExpectInvalidatedTokenIsReplaced<Plains>(
      [](const Plains& a, const Plains& b) { return a.size() == b.size(); },
      false);
  ExpectInvalidatedTokenIsReplaced<Broken>(nullptr, true);
  ExpectInvalidatedTokenIsReplaced<std::vector<int>>(nullptr, false);
}

// Regression test: in the past, a read with a negative `max_retries` failed
// before the first attempt.
TEST(MisuseTest, B1NegativeRetriesAreNone) {
  for (const int retries : {0, -1, -1000}) {
    SCOPED_TRACE(retries);
    ManualExecutor executor;
    const auto held = std::make_shared<HeldSource>();
    Strings::Options options;
    options.policy.stale_window = absl::Seconds(30);
    const auto token = Make(&executor, held, options);
    token->GetAsync(absl::InfiniteDuration(), [](const auto&) {});
    executor.RunUntilIdle();
    held->Answer(0,
                 Credential<std::string>("t1", Expiry::In(absl::Seconds(40))));
    executor.AdvanceBy(absl::Seconds(12));
    ASSERT_TRUE(token->Get().ok());
    executor.RunUntilIdle();
    // The invalidation abandons the running attempt, and a backoff begins.
    ASSERT_TRUE(token->Invalidate(Generation(1)));
    lifecycle_testing::Outcome outcome;
    Strings::ReadOptions read;
    read.max_retries = retries;
    token->GetAsync(read, outcome.Callback());
    executor.AdvanceBy(absl::Seconds(2));
    EXPECT_EQ(held->calls(), 3u);
    EXPECT_TRUE(token->Install(lifecycle_testing::Hour("t2")).ok());
    executor.RunUntilIdle();
    EXPECT_EQ(outcome.token, "t2") << outcome.status;
  }
}

// Regression test: in the past, the Refreshable called a method of the
// destroyed executor.
template <typename E>
void ExpectDeathAfterExecutor(const std::function<void(Strings&)>& use) {
  EXPECT_DEATH(
      {
        auto executor = std::make_unique<E>();
        auto token = Make(executor.get(), std::make_shared<HeldSource>());
        token->Install(lifecycle_testing::Hour("t1")).status().IgnoreError();
        executor.reset();
        use(*token);
        token.reset();  // This cancels its timer.
      },
      "its executor was destroyed first");
}

TEST(MisuseDeathTest, E1AnExecutorThatDiedFirstEndsTheProgramWithAMessage) {
  const std::vector<std::function<void(Strings&)>> uses = {
      [](Strings& token) { token.Invalidate(Generation(1)); },
      [](Strings& token) { token.Reset(); },
      [](Strings& token) { token.health(); },
      [](Strings& token) { token.TryGet().status().IgnoreError(); },
      [](Strings& token) {
        token.GetAsync(absl::Seconds(1), [](const auto&) {});
      },
      [](Strings& token) {
        token.GetAsync(absl::InfiniteDuration(), [](const auto&) {});
      },
      [](Strings& token) { static_cast<void>(token.clock()); },
      [](Strings&) {},
  };
  for (const auto& use : uses) {
    ExpectDeathAfterExecutor<ManualExecutor>(use);
    ExpectDeathAfterExecutor<ThreadExecutor>(use);
  }
}

// Regression test: in the past, `Create` accepted these sources, and the first
// attempt crashed or failed.
TEST(MisuseTest, E6ASourceFunctionThatIsNullIsRefused) {
  using Fetched = absl::StatusOr<Credential<std::string>>;
  ManualExecutor executor;
  Fetched (*const plain)() = nullptr;
  Fetched (*const of_context)(const FetchContext&) = nullptr;
  for (const auto& source :
       {BlockingSource<std::string>(plain),
        BlockingSource<std::string>(of_context),
        BlockingSource<std::string>(std::function<Fetched()>()),
        BlockingSource<std::string>(
            std::function<Fetched(const FetchContext&)>()),
        BlockingSource<std::string>(absl::AnyInvocable<Fetched()>())}) {
    const absl::Status status = Strings::Create(source, {&executor}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(),
              "Refreshable: source is null, or made by BlockingSource of a "
              "function that is null or empty");
  }
}

TEST(MisuseDeathTest, R11ANullCallbackEndsTheProgramWithAMessage) {
  ManualExecutor executor;
  const auto token = Make(&executor, std::make_shared<HeldSource>());
  EXPECT_DEATH(token->GetAsync(absl::InfiniteDuration(), nullptr),
               "GetAsync: the callback is null");
  // In the past, an empty std::function was accepted.
  const std::function<void(absl::StatusOr<Lease<std::string>>)> empty;
  EXPECT_DEATH(token->GetAsync(absl::InfiniteDuration(), empty),
               "GetAsync: the callback is null");
  void (*const plain)(absl::StatusOr<Lease<std::string>>) = nullptr;
  EXPECT_DEATH(token->GetAsync(Strings::ReadOptions(), plain),
               "GetAsync: the callback is null");
}

TEST(MisuseDeathTest, A4AFunctionThatIsNullEndsTheProgramWithAMessage) {
  ManualExecutor executor;
  const auto token = Make(&executor, std::make_shared<HeldSource>());
  const auto call = [](const Lease<std::string>&) { return 200; };
  const auto is_401 = [](int status) { return status == 401; };
  const std::function<int(const Lease<std::string>&)> no_call;
  int (*const no_call_in_time)(const Lease<std::string>&, absl::Duration) =
      nullptr;
  const std::function<bool(int)> no_is_401;
  EXPECT_DEATH(static_cast<void>(CallWithToken(*token, {}, no_call, is_401)),
               "CallWithToken: call is null");
  EXPECT_DEATH(
      static_cast<void>(CallWithToken(*token, {}, no_call_in_time, is_401)),
      "CallWithToken: call is null");
  EXPECT_DEATH(static_cast<void>(CallWithToken(*token, {}, call, no_is_401)),
               "CallWithToken: is_rejected is null");
}

TEST(MisuseDeathTest, A4AnAsyncFunctionThatIsNullEndsTheProgramWithAMessage) {
  using Done = absl::AnyInvocable<void(int)>;
  ManualExecutor executor;
  const auto token = Make(&executor, std::make_shared<HeldSource>());
  const auto call = [](const Lease<std::string>&, Done) {};
  const auto is_401 = [](int status) { return status == 401; };
  const auto callback = [](const absl::StatusOr<int>&) {};
  void (*const no_call)(Lease<std::string>, absl::Duration, Done) = nullptr;
  absl::AnyInvocable<void(Lease<std::string>, Done)> no_call_object;
  const std::function<bool(int)> no_is_401;
  const std::function<void(absl::StatusOr<int>, absl::Status)> no_callback;
  EXPECT_DEATH(CallWithTokenAsync<int>(*token, {}, no_call, is_401, callback),
               "CallWithTokenAsync: call is null");
  EXPECT_DEATH(CallWithTokenAsync<int>(*token, {}, std::move(no_call_object),
                                       is_401, callback),
               "CallWithTokenAsync: call is null");
  EXPECT_DEATH(CallWithTokenAsync<int>(*token, {}, call, nullptr, callback),
               "CallWithTokenAsync: is_rejected is null");
  EXPECT_DEATH(CallWithTokenAsync<int>(*token, {}, call, no_is_401, callback),
               "CallWithTokenAsync: is_rejected is null");
  EXPECT_DEATH(CallWithTokenAsync<int>(*token, {}, call, is_401, no_callback),
               "CallWithTokenAsync: callback is null");
}

}  // namespace
}  // namespace refreshable
