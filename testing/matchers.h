// SPDX-License-Identifier: Apache-2.0
//
// GoogleMock matchers for leases, for the statuses of reads and for Health.
//
// A matcher for leases can be used on a `Lease` or a `StatusOr<Lease>`. A
// matcher for errors can be used on a `Status` or any `StatusOr`. Some matchers
// can be used on a `Health` too. The argument of a matcher is the expected
// value or a matcher for it, but FailsWith takes only a value.

#ifndef REFRESHABLE_TESTING_MATCHERS_H_
#define REFRESHABLE_TESTING_MATCHERS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/freshness.h"
#include "refreshable/generation.h"
#include "refreshable/health.h"
#include "refreshable/lease.h"
#include "refreshable/refresh_error.h"

namespace refreshable_testing {
namespace internal {

template <typename Token>
const refreshable::Lease<Token>* LeaseOf(const refreshable::Lease<Token>& lease,
                                         testing::MatchResultListener*) {
  return &lease;
}
template <typename Token>
const refreshable::Lease<Token>* LeaseOf(
    const absl::StatusOr<refreshable::Lease<Token>>& lease,
    testing::MatchResultListener* listener) {
  if (lease.ok()) return &*lease;
  *listener << "which is the error " << lease.status();
  return nullptr;
}

// Explains nothing, because GoogleTest prints the whole Health.
template <typename Part, typename Inner>
bool MatchHealth(const refreshable::Health& health, Part part,
                 const Inner& inner) {
  using Value = std::decay_t<decltype(part(health))>;
  return testing::SafeMatcherCast<const Value&>(inner).Matches(part(health));
}

inline const absl::Status& StatusOf(const absl::Status& status) {
  return status;
}
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// Returns the number of a Generation, and any other argument unchanged.
inline uint64_t NumberOf(refreshable::Generation generation) {
  return generation.value();
}
template <typename T>
const T& NumberOf(const T& value) {
  return value;
}

// Returns the description of a matcher, such as "holds a lease" or, if
// `negation` is true, "does not hold a lease".
inline std::string Says(bool negation, const std::string& verb,
                        const std::string& rest) {
  if (negation) return "does not " + verb + " " + rest;
  return (verb == "have" ? "has " : verb + "s ") + rest;
}

// Returns, for example, "a freshness that is equal to stale". Not for tokens,
// which must not be printed.
template <typename Value, typename Inner>
std::string Expected(const std::string& part, const Inner& inner) {
  return part + " that " + testing::DescribeMatcher<const Value&>(inner);
}

// Does not print the part, because it may be a token.
template <typename Arg, typename Part, typename Inner>
bool MatchLease(const Arg& arg, Part part, const Inner& inner,
                testing::MatchResultListener* listener) {
  const auto* lease = LeaseOf(arg, listener);
  if (lease == nullptr) return false;
  *listener << "of generation " << lease->generation();
  using Value = std::decay_t<decltype(part(*lease))>;
  return testing::SafeMatcherCast<const Value&>(inner).Matches(part(*lease));
}

template <typename Arg, typename OfLease, typename OfHealth, typename Inner>
bool MatchPart(const Arg& arg, OfLease of_lease, OfHealth of_health,
               const Inner& inner, testing::MatchResultListener* listener) {
  if constexpr (std::is_same_v<Arg, refreshable::Health>) {
    return MatchHealth(arg, of_health, inner);
  } else {
    return MatchLease(arg, of_lease, inner, listener);
  }
}

template <typename Arg>
std::optional<refreshable::RefreshError> RefreshErrorOf(
    const Arg& arg, testing::MatchResultListener* listener) {
  const absl::Status& status = StatusOf(arg);
  *listener << "which is " << status;
  return refreshable::GetRefreshError(status);
}
inline std::optional<refreshable::RefreshError> RefreshErrorOf(
    const refreshable::Health& health, testing::MatchResultListener*) {
  refreshable::RefreshError error;
  error.cause = std::string(health.last_cause.message());
  error.failures = health.failures;
  error.next_attempt = health.next_attempt;
  return error;
}

template <typename Arg, typename Part, typename Inner>
bool MatchRefreshError(const Arg& arg, Part part, const Inner& inner,
                       testing::MatchResultListener* listener) {
  const std::optional<refreshable::RefreshError> error =
      RefreshErrorOf(arg, listener);
  if (!error.has_value()) return false;
  using Value = std::decay_t<decltype(part(*error))>;
  return testing::SafeMatcherCast<const Value&>(inner).Matches(part(*error));
}

}  // namespace internal

// Matches a lease of the token `token`.
MATCHER_P(HoldsToken, token,
          internal::Says(negation, "hold", "the expected token")) {
  return internal::MatchLease(
      arg, [](const auto& lease) -> const auto& { return lease.token(); },
      token, result_listener);
}

// Matches a lease or a Health with this generation: a number, a Generation, or
// a matcher for the number.
MATCHER_P(HasGeneration, generation,
          internal::Says(negation, "have",
                         internal::Expected<uint64_t>(
                             "a generation", internal::NumberOf(generation)))) {
  return internal::MatchPart(
      arg, [](const auto& lease) { return lease.generation().value(); },
      [](const auto& health) { return health.generation.value(); },
      internal::NumberOf(generation), result_listener);
}

// Matches a lease or a Health with the expiry `time`.
MATCHER_P(ExpiresAt, time,
          internal::Says(negation, "have",
                         internal::Expected<absl::Time>("an expiry", time))) {
  return internal::MatchPart(
      arg, [](const auto& lease) { return lease.expires_at(); },
      [](const auto& health) { return health.expires_at; }, time,
      result_listener);
}

// Matches a lease of a token that is served after its expiry.
MATCHER(IsDegraded, negation ? "is not degraded" : "is degraded") {
  return internal::MatchLease(
      arg, [](const auto& lease) { return lease.degraded(); }, true,
      result_listener);
}

// Matches an error with the code `code`.
MATCHER_P(FailsWith, code,
          internal::Says(negation, "fail",
                         "with " + absl::StatusCodeToString(code))) {
  const absl::Status& status = internal::StatusOf(arg);
  *result_listener << "which is " << status;
  return status.code() == code;
}

// Matches an error with the message `message`.
MATCHER_P(MessageIs, message,
          internal::Says(negation, "have",
                         internal::Expected<std::string>("a message",
                                                         message))) {
  const absl::Status& status = internal::StatusOf(arg);
  *result_listener << "which is " << status;
  return testing::SafeMatcherCast<const std::string&>(message).Matches(
      std::string(status.message()));
}

// Matches an error or a Health whose last cause has the message `cause`.
MATCHER_P(CausedBy, cause,
          internal::Says(negation, "have",
                         internal::Expected<std::string>("a last cause",
                                                         cause))) {
  return internal::MatchRefreshError(
      arg, [](const auto& error) { return error.cause; }, cause,
      result_listener);
}
// Matches an error or a Health with `count` failures.
MATCHER_P(AfterFailures, count,
          internal::Says(negation, "have",
                         internal::Expected<int>("a number of failures",
                                                 count))) {
  return internal::MatchRefreshError(
      arg, [](const auto& error) { return error.failures; }, count,
      result_listener);
}
// Matches an error or a Health whose next attempt may start at `time`.
MATCHER_P(NextAttemptAt, time,
          internal::Says(negation, "have",
                         internal::Expected<absl::Time>(
                             "a time of the next attempt", time))) {
  return internal::MatchRefreshError(
      arg, [](const auto& error) { return error.next_attempt; }, time,
      result_listener);
}

// Matches an error for which `refreshable::IsFatal` returns true.
MATCHER(IsFatalError, negation ? "is not fatal" : "is fatal") {
  const absl::Status& status = internal::StatusOf(arg);
  *result_listener << "which is " << status;
  return refreshable::IsFatal(status);
}

// Matches a Health or an Event whose Freshness is `freshness`.
MATCHER_P(HasFreshness, freshness,
          internal::Says(negation, "have",
                         internal::Expected<refreshable::Freshness>(
                             "a freshness", freshness))) {
  *result_listener << "whose freshness is " << arg.freshness;
  return testing::SafeMatcherCast<const refreshable::Freshness&>(freshness)
      .Matches(arg.freshness);
}

// Matches the Health of a Refreshable that holds a usable token and counts no
// failure. A rejected token still counts as usable.
MATCHER(IsHealthy, negation ? "is not healthy" : "is healthy") {
  const refreshable::Health& health = arg;
  const bool usable = health.freshness != refreshable::Freshness::kExpired;
  if (!usable) *result_listener << "which has no usable token";
  if (!usable && health.failures > 0) *result_listener << ", and ";
  if (health.failures > 0) {
    *result_listener << "whose last attempt failed: " << health.last_cause;
  }
  return usable && health.failures == 0;
}

// Matches a Health with a refresh in flight.
MATCHER(IsRefreshing, negation ? "is not refreshing" : "is refreshing") {
  const refreshable::Health& health = arg;
  return health.refreshing;
}

// Matches a Health without a usable token after too many failures in a row
// (`Health::exhausted`).
MATCHER(IsExhausted, negation ? "is not exhausted" : "is exhausted") {
  const refreshable::Health& health = arg;
  return health.exhausted;
}

// Matches the Health of a Refreshable that has given up
// (`OnExhausted::kFatal`).
MATCHER(HasGivenUp, negation ? "has not given up" : "has given up") {
  const refreshable::Health& health = arg;
  return health.fatal;
}

// Matches a Health with `count` waiting reads.
MATCHER_P(HasWaiters, count,
          internal::Says(negation, "have",
                         internal::Expected<int64_t>("a number of waiters",
                                                     count))) {
  const refreshable::Health& health = arg;
  *result_listener << "whose number of waiters is " << health.waiters;
  return testing::SafeMatcherCast<const int64_t&>(count).Matches(
      health.waiters);
}

}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_MATCHERS_H_
