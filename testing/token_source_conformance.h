// SPDX-License-Identifier: Apache-2.0
//
// TokenSourceConformanceTest: tests your own TokenSource, clause by clause.

#ifndef REFRESHABLE_TESTING_TOKEN_SOURCE_CONFORMANCE_H_
#define REFRESHABLE_TESTING_TOKEN_SOURCE_CONFORMANCE_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "refreshable/credential.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/testing/conformance.h"
#include "refreshable/token_source.h"

namespace refreshable_testing {
namespace internal {

// The answer of a source to one call, for any type of token.
struct SourceAnswer {
  absl::Status status;
  // The other fields are meaningful only if `status` is OK.
  refreshable::Expiry expiry = refreshable::Expiry::Never();
  std::shared_ptr<const void> token;
  std::string bytes;  // What `TokenSourceRig::Bytes` returned for the token.
};

// A token source, for any type of token.
class AnySource {
 public:
  virtual ~AnySource() = default;
  virtual void Fetch(const refreshable::FetchContext& context,
                     std::function<void(SourceAnswer)> done) = 0;
  // Returns whether the tokens of `a` and `b` are equal, or false if tokens of
  // this type cannot be compared. Both statuses must be OK.
  virtual bool Same(const SourceAnswer& a, const SourceAnswer& b) const = 0;
};

}  // namespace internal

// A rig controls the server that the source asks, or a substitute for that
// server. The server works at first. If a test needs something that a rig
// cannot do, the test does not apply. The test's thread calls the methods,
// except `AwaitStalled` and `TokenSourceRig::Bytes`. Another thread calls
// `AwaitStalled`, while the test's thread waits for it.
class AnySourceRig {
 public:
  virtual ~AnySourceRig() = default;

  // Makes every request fail from now on. Returns false if the rig cannot do
  // this.
  virtual bool Fail() { return false; }

  // Makes every request hang from now on. Returns false if the rig cannot do
  // this.
  virtual bool Stall() { return false; }
  // Blocks until at least `calls` requests hang. Called only after `Stall` has
  // returned true.
  virtual void AwaitStalled(int /*calls*/) {}

  // Makes the server work again. The requests that hang may end in any way.
  virtual void Heal() {}

  // Returns the lifetime that the server states for each new token, or nullopt
  // if the server states a date or nothing.
  virtual std::optional<absl::Duration> Lifetime() { return std::nullopt; }

  // Returns the clock that absolute expiries refer to.
  virtual const refreshable::Clock& clock() {
    return refreshable::SystemClock::Get();
  }

  // Returns passwords, keys and other secrets, which no status may contain.
  // Tokens need not be listed; see `TokenSourceRig::Bytes`.
  virtual std::vector<std::string> Secrets() { return {}; }

  // Returns whether the server issues a new token for each request.
  virtual bool IssuesNewTokens() { return true; }

  // Returns whether the source soon ends a cancelled call, even if the server
  // hangs. A source need not do so.
  virtual bool HeedsCancellation() { return false; }
  // Like HeedsCancellation, but for a call whose timeout has passed.
  virtual bool HeedsTimeout() { return false; }

  // Returns a new source for the suite. TokenSourceRig implements this.
  virtual std::shared_ptr<internal::AnySource> MakeAny() = 0;
};

// Base class of a user's rig for a source of `Token`:
//
//   class MyRig : public refreshable_testing::TokenSourceRig<MyToken> {
//    public:
//     std::shared_ptr<refreshable::TokenSource<MyToken>> Make() override {
//       return std::make_shared<MySource>(&server_);
//     }
//    ...
//   };
//
//   using refreshable_testing::TokenSourceConformanceTest;
//   INSTANTIATE_TEST_SUITE_P(
//       Mine, TokenSourceConformanceTest,
//       testing::Values(refreshable_testing::TokenSourceSubject{
//           "MySource", [] { return std::make_unique<MyRig>(); }}),
//       refreshable_testing::SubjectName());
template <typename Token>
class TokenSourceRig : public AnySourceRig {
 public:
  // Returns a new source that asks the rig's server. The rig outlives the
  // source. The rig should not share ownership of the source, because one
  // clause destroys the source during a call.
  virtual std::shared_ptr<refreshable::TokenSource<Token>> Make() = 0;

  // Returns the bytes of `token`, which no status may contain. If the result is
  // empty, the suite does not look for the token. The default returns the bytes
  // if Token converts to absl::string_view, and an empty string otherwise.
  // Called on the threads on which the source answers, possibly on several at
  // the same time.
  virtual std::string Bytes(const Token& token) {
    if constexpr (std::is_convertible_v<const Token&, absl::string_view>) {
      return std::string(absl::string_view(token));
    } else {
      return "";
    }
  }

  std::shared_ptr<internal::AnySource> MakeAny() final {
    return std::make_shared<Erased>(this, Make());
  }

 private:
  class Erased final : public internal::AnySource {
   public:
    Erased(TokenSourceRig* rig,
           std::shared_ptr<refreshable::TokenSource<Token>> source)
        : rig_(rig), source_(std::move(source)) {}

    void Fetch(const refreshable::FetchContext& context,
               std::function<void(internal::SourceAnswer)> done) override {
      source_->Fetch(context,
                     refreshable::FetchDone<Token>(
                         [rig = rig_, done = std::move(done)](auto result) {
                           done(Erase(*rig, std::move(result)));
                         }));
    }

    bool Same(const internal::SourceAnswer& a,
              const internal::SourceAnswer& b) const override {
      if constexpr (refreshable::TokenHasEquality<Token>::value) {
        return *static_cast<const Token*>(a.token.get()) ==
               *static_cast<const Token*>(b.token.get());
      } else {
        return false;
      }
    }

   private:
    static internal::SourceAnswer Erase(
        TokenSourceRig& rig,
        absl::StatusOr<refreshable::Credential<Token>> result) {
      internal::SourceAnswer answer;
      answer.status = result.status();
      if (result.ok()) {
        auto token = std::make_shared<const Token>(std::move(result->token));
        answer.expiry = result->expiry;
        answer.bytes = rig.Bytes(*token);
        answer.token = std::move(token);
      }
      return answer;
    }

    TokenSourceRig* const rig_;
    const std::shared_ptr<refreshable::TokenSource<Token>> source_;
  };
};

using TokenSourceSubject = Subject<AnySourceRig>;

// The suite. Each test in token_source_conformance.cc is a clause, named after
// what it demands. No clause forbids a second answer, which has no effect (see
// `FetchDone`).
class TokenSourceConformanceTest
    : public ::testing::TestWithParam<TokenSourceSubject> {
 protected:
  // Declared first, because the rig must outlive its source.
  const std::unique_ptr<AnySourceRig> rig_ = GetParam().make();
  std::shared_ptr<internal::AnySource> source_ = rig_->MakeAny();
};

}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_TOKEN_SOURCE_CONFORMANCE_H_
