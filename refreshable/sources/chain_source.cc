// SPDX-License-Identifier: Apache-2.0

#include "refreshable/sources/chain_source.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "refreshable/executors/internal/os_thread.h"
#include "refreshable/failure_class.h"
#include "refreshable/http_error.h"
#include "refreshable/refresh_error.h"

namespace refreshable {
namespace internal {
namespace {

thread_local int answer_depth = 0;

// A chain's error has the code of the member's error whose rank is lowest.
int Rank(const absl::Status& status) {
  switch (ClassifyFailure(status)) {
    case FailureClass::kTransient:
      return 0;
    case FailureClass::kThrottled:
      return 1;
    case FailureClass::kPermanent:
      break;
  }
  return ClassifyHttpFailure(status) == FailureClass::kPermanent ? 3 : 2;
}

}  // namespace

absl::Status ChainError(const std::vector<ChainFailure>& failures) {
  std::string message = "no member of the chain has a token";
  absl::Duration retry_after;
  for (const ChainFailure& failure : failures) {
    absl::StrAppend(&message, "; ", failure.member, ": ",
                    absl::StatusCodeToString(failure.status.code()), ": ",
                    failure.status.message());
    retry_after =
        std::max(retry_after,
                 GetRetryAfter(failure.status).value_or(absl::ZeroDuration()));
  }
  const absl::Status& first =
      std::min_element(failures.begin(), failures.end(),
                       [](const ChainFailure& a, const ChainFailure& b) {
                         return Rank(a.status) < Rank(b.status);
                       })
          ->status;
  absl::Status status(first.code(), message);
  first.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    status.SetPayload(url, payload);
  });
  if (retry_after > absl::ZeroDuration()) SetRetryAfter(retry_after, status);
  return status;
}

absl::Status ValidateChainMember(size_t index, const std::string& name,
                                 bool has_source, absl::Duration timeout) {
  if (name.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("ChainSource: member ", index, " has no name"));
  }
  if (!has_source) {
    return absl::InvalidArgumentError(
        absl::StrCat("ChainSource: the source of ", name, " is null"));
  }
  if (timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ChainSource: the timeout of ", name, " must be positive, but is ",
        absl::FormatDuration(timeout)));
  }
  return absl::OkStatus();
}

bool HasExpired(const Expiry& expiry, absl::Time wall) {
  return expiry.is_relative() ? expiry.lifetime() <= absl::ZeroDuration()
                              : expiry.time() <= wall;
}

InAnswer::InAnswer() { ++answer_depth; }
InAnswer::~InAnswer() { --answer_depth; }

void DestroyOutsideAnswers(absl::AnyInvocable<void() &&> destroy) {
  if (answer_depth == 0) return std::move(destroy)();
  executors_internal::OsThread thread;
  if (thread.Start(std::move(destroy))) thread.Detach();
}

}  // namespace internal
}  // namespace refreshable
