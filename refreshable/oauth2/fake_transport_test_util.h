// SPDX-License-Identifier: Apache-2.0
//
// FakeTransport: a transport whose answers the test decides; and helpers for
// tests of token sources.

#ifndef REFRESHABLE_OAUTH2_FAKE_TRANSPORT_TEST_UTIL_H_
#define REFRESHABLE_OAUTH2_FAKE_TRANSPORT_TEST_UTIL_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/oauth2/answer.h"
#include "refreshable/oauth2/refresh_tokens.h"
#include "refreshable/oauth2/request.h"
#include "refreshable/oauth2/source.h"
#include "refreshable/oauth2/transport.h"
#include "refreshable/secret.h"
#include "refreshable/token_source.h"

namespace refreshable {
namespace oauth2 {

// Reads a body like "access_token=t;expires_in=60". A value that has only
// digits becomes a number, any other value a string. If the body has another
// form, returns an error that quotes the body.
inline absl::StatusOr<AnswerFields> ReadFields(absl::string_view body) {
  AnswerFields fields;
  for (const absl::string_view member : absl::StrSplit(body, ';')) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(member, absl::MaxSplits('=', 1));
    if (!absl::StrContains(member, "=") || absl::StartsWith(body, "<")) {
      return absl::InvalidArgumentError("cannot parse " + std::string(body));
    }
    const bool digits =
        parts.second.find_first_not_of("0123456789") == std::string::npos;
    fields.Set(parts.first, digits ? AnswerField::Number(parts.second)
                                   : AnswerField::String(parts.second));
  }
  return fields;
}

inline HttpAnswer Answer(int status, absl::string_view body) {
  HttpAnswer answer;
  answer.status = status;
  answer.body = Secret(body);
  return answer;
}

// A transport whose requests wait until the test ends them. If there is an
// executor, a request also ends after its timeout, with DEADLINE_EXCEEDED. Used
// by one thread.
class FakeTransport final : public Transport {
 public:
  struct Call {
    TokenRequest request;
    SendOptions options;
    Done done;  // Null after it has been called or destroyed.

    std::string body() const { return std::string(request.body.reveal()); }
  };

  // If `executor` is not null, it must outlive the transport.
  explicit FakeTransport(ManualExecutor* executor = nullptr)
      : executor_(executor) {}

  void Send(TokenRequest request, SendOptions options, Done done) override {
    const size_t index = calls_.size();
    const absl::Duration timeout = options.timeout;
    calls_.push_back({std::move(request), std::move(options), std::move(done)});
    if (executor_ == nullptr) return;
    executor_->RunAfter(timeout, [this, index, alive = alive_] {
      if (*alive && calls_[index].done != nullptr) {
        End(index, absl::DeadlineExceededError("no answer in time"));
      }
    });
  }
  ~FakeTransport() override {
    *alive_ = false;
    // A transport's destructor must end all requests.
    for (size_t i = 0; i < calls_.size(); ++i) Take(i);
  }

  // Passes `answer` to the `done` of `calls()[index]`. Requires: this `done` is
  // not null.
  void End(size_t index, absl::StatusOr<HttpAnswer> answer) {
    Done done = Take(index);
    ASSERT_TRUE(done != nullptr) << index;
    done(std::move(answer));
  }
  // Destroys the `done` of `calls()[index]` without calling it.
  void Drop(size_t index) { Take(index); }

  const std::vector<Call>& calls() const { return calls_; }
  size_t outstanding() const {
    size_t count = 0;
    for (const Call& call : calls_) count += call.done != nullptr ? 1 : 0;
    return count;
  }

 private:
  Done Take(size_t index) { return std::exchange(calls_[index].done, nullptr); }

  ManualExecutor* const executor_;
  std::vector<Call> calls_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// A store in memory. While `status` is not OK, every call fails with it.
class FakeStore final : public RefreshTokenStore {
 public:
  absl::StatusOr<Secret> Load() override {
    ++loads;
    if (!status.ok()) return status;
    if (stored.empty()) return absl::NotFoundError("nothing is stored");
    return Secret(stored);
  }
  absl::Status Store(const Secret& token) override {
    ++stores;
    if (status.ok()) stored = std::string(token.reveal());
    return status;
  }

  absl::Status status;
  std::string stored;
  int loads = 0;
  int stores = 0;
};

struct FetchCall {
  std::shared_ptr<std::atomic<bool>> cancelled =
      std::make_shared<std::atomic<bool>>(false);
  std::optional<absl::StatusOr<Credential<std::string>>> answer;
  std::function<void()> on_answer;  // Called before `answer` is set.

  std::string result() const {
    if (!answer.has_value()) return "no answer";
    return answer->ok() ? (*answer)->token : answer->status().ToString();
  }
};

// Calls `source`. The `answer` of the returned call may be set later.
inline std::shared_ptr<FetchCall> Fetch(
    TokenSource<std::string>& source,
    absl::Duration timeout = absl::Seconds(30),
    std::function<void()> on_answer = nullptr) {
  auto call = std::make_shared<FetchCall>();
  call->on_answer = std::move(on_answer);
  source.Fetch(FetchContext(RefreshReason::kFirst, /*attempt=*/1, Generation(),
                            timeout, call->cancelled),
               FetchDone<std::string>([c = call](auto&& answer) {
                 if (c->on_answer) c->on_answer();
                 c->answer = std::move(answer);
               }));
  return call;
}

inline SourceOptions OptionsFor(std::shared_ptr<Transport> transport) {
  SourceOptions options;
  options.endpoint.url = "https://idp.example/token";
  options.client = BasicAuthentication("me", Secret("s3cret"));
  options.transport = std::move(transport);
  options.reader = ReadFields;
  return options;
}

}  // namespace oauth2
}  // namespace refreshable

#endif  // REFRESHABLE_OAUTH2_FAKE_TRANSPORT_TEST_UTIL_H_
