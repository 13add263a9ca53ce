// SPDX-License-Identifier: Apache-2.0
//
// GoogleMock matchers for leases and for the statuses of reads.
//
// Those of a lease match a `Lease` and a `StatusOr<Lease>`; those of a status
// match a `Status` and any `StatusOr`. An argument that is a value may be a
// matcher of it too, but for FailsWith's.

#ifndef REFRESHABLE_TESTING_MATCHERS_H_
#define REFRESHABLE_TESTING_MATCHERS_H_

#include "refreshable/executors/cpp17.h"  // IWYU pragma: keep

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "refreshable/generation.h"
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

inline const absl::Status& StatusOf(const absl::Status& status) {
  return status;
}
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// The number of a generation; any other value or matcher as it is.
inline uint64_t NumberOf(refreshable::Generation generation) {
  return generation.value();
}
template <typename T>
const T& NumberOf(const T& value) {
  return value;
}

// "holds it", or negated "does not hold it".
inline std::string Says(bool negation, const std::string& verb,
                        const std::string& rest) {
  if (negation) return "does not " + verb + " " + rest;
  return (verb == "have" ? "has " : verb + "s ") + rest;
}

// Matches one part of a lease. The part is not printed: it may be a token.
template <typename Arg, typename Part, typename Inner>
bool MatchLease(const Arg& arg, Part part, const Inner& inner,
                testing::MatchResultListener* listener) {
  const auto* lease = LeaseOf(arg, listener);
  if (lease == nullptr) return false;
  *listener << "of generation " << lease->generation();
  using Value = std::decay_t<decltype(part(*lease))>;
  return testing::SafeMatcherCast<const Value&>(inner).Matches(part(*lease));
}

template <typename Arg, typename Part, typename Inner>
bool MatchRefreshError(const Arg& arg, Part part, const Inner& inner,
                       testing::MatchResultListener* listener) {
  const absl::Status& status = StatusOf(arg);
  *listener << "which is " << status;
  const std::optional<refreshable::RefreshError> error =
      refreshable::GetRefreshError(status);
  if (!error.has_value()) return false;
  using Value = std::decay_t<decltype(part(*error))>;
  return testing::SafeMatcherCast<const Value&>(inner).Matches(part(*error));
}

}  // namespace internal

// A lease of this token.
MATCHER_P(HoldsToken, token,
          internal::Says(negation, "hold", "the expected token")) {
  return internal::MatchLease(
      arg, [](const auto& lease) -> const auto& { return lease.token(); },
      token, result_listener);
}

// A lease of this generation, given as a number.
MATCHER_P(HasGeneration, generation,
          internal::Says(negation, "have", "the expected generation")) {
  return internal::MatchLease(
      arg, [](const auto& lease) { return lease.generation().value(); },
      internal::NumberOf(generation), result_listener);
}

// A lease of a token that expires at this time.
MATCHER_P(ExpiresAt, time,
          internal::Says(negation, "have", "the expected expiry")) {
  return internal::MatchLease(
      arg, [](const auto& lease) { return lease.expires_at(); }, time,
      result_listener);
}

// A lease of a token that is served beyond its expiry.
MATCHER(IsDegraded, negation ? "is not degraded" : "is degraded") {
  return internal::MatchLease(
      arg, [](const auto& lease) { return lease.degraded(); }, true,
      result_listener);
}

// An error of this code.
MATCHER_P(FailsWith, code,
          internal::Says(negation, "fail",
                         "with " + absl::StatusCodeToString(code))) {
  const absl::Status& status = internal::StatusOf(arg);
  *result_listener << "which is " << status;
  return status.code() == code;
}

// An error whose message matches; `MessageIs(HasSubstr("502"))`.
MATCHER_P(MessageIs, message,
          internal::Says(negation, "have", "the expected message")) {
  const absl::Status& status = internal::StatusOf(arg);
  *result_listener << "which is " << status;
  return testing::SafeMatcherCast<const std::string&>(message).Matches(
      std::string(status.message()));
}

// The error of a read whose refresh failed, by `refreshable::RefreshError`: its
// last cause, failures in a row, and the time before which nothing is tried.
MATCHER_P(CausedBy, cause,
          internal::Says(negation, "have", "the expected last cause")) {
  return internal::MatchRefreshError(
      arg, [](const auto& error) { return error.cause; }, cause,
      result_listener);
}
MATCHER_P(AfterFailures, count,
          internal::Says(negation, "name", "the expected number of failures")) {
  return internal::MatchRefreshError(
      arg, [](const auto& error) { return error.failures; }, count,
      result_listener);
}
MATCHER_P(NextAttemptAt, time,
          internal::Says(negation, "name",
                         "the expected time of the next attempt")) {
  return internal::MatchRefreshError(
      arg, [](const auto& error) { return error.next_attempt; }, time,
      result_listener);
}

// The error of a Refreshable that has given up.
MATCHER(IsFatalError, negation ? "is not fatal" : "is fatal") {
  const absl::Status& status = internal::StatusOf(arg);
  *result_listener << "which is " << status;
  return refreshable::IsFatal(status);
}

}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_MATCHERS_H_
