// SPDX-License-Identifier: Apache-2.0
//
// TokenSourceConformanceTest: what a Refreshable relies on in every
// TokenSource, clause by clause, to be held against your own.

#ifndef REFRESHABLE_TESTING_TOKEN_SOURCE_CONFORMANCE_H_
#define REFRESHABLE_TESTING_TOKEN_SOURCE_CONFORMANCE_H_

#include "refreshable/executors/cpp17.h"  // IWYU pragma: keep

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
#include "refreshable/testing/conformance.h"
#include "refreshable/token_source.h"

namespace refreshable_testing {
namespace internal {

// What the suite knows of an answer, whatever the type of the token.
struct SourceAnswer {
  absl::Status status;
  // The rest is meaningful if `status` is OK.
  refreshable::Expiry expiry = refreshable::Expiry::Never();
  std::shared_ptr<const void> token;
  std::string bytes;  // Of the token; empty if they are not known.
};

// A source whose tokens are of whatever type.
class AnySource {
 public:
  virtual ~AnySource() = default;
  virtual void Fetch(const refreshable::FetchContext& context,
                     std::function<void(SourceAnswer)> done) = 0;
  // Whether it is the same token; false if tokens cannot be compared.
  virtual bool Same(const SourceAnswer& a, const SourceAnswer& b) const = 0;
};

}  // namespace internal

// What the suite can do to the server that a source asks, or to whatever stands
// in for it. A clause that needs what a rig cannot do does not apply to its
// source. A rig starts with a server that works. Its methods are called one at
// a time (but for `TokenSourceRig::Bytes`), `AwaitStalled` in a thread of its
// own.
class AnySourceRig {
 public:
  virtual ~AnySourceRig() = default;

  // From now on every request fails. False: cannot be done.
  virtual bool Fail() { return false; }

  // From now on every request hangs; `AwaitStalled` returns when `calls` of
  // them do. False: cannot be done.
  virtual bool Stall() { return false; }
  virtual void AwaitStalled(int /*calls*/) {}

  // The server works again; requests that hang end somehow.
  virtual void Heal() {}

  // How long the server says that its tokens live, where it says so in seconds
  // from now.
  virtual std::optional<absl::Duration> Lifetime() { return std::nullopt; }

  // The clock that absolute expiries are by.
  virtual const refreshable::Clock& clock() {
    return refreshable::SystemClock::Get();
  }

  // Passwords, keys and the like, which no status may hold. Tokens are found
  // out by the suite.
  virtual std::vector<std::string> Secrets() { return {}; }

  // Whether the server issues another token each time that it is asked.
  virtual bool IssuesNewTokens() { return true; }

  // Whether the source ends a call, while the server hangs, as soon as it is
  // cancelled; or when its timeout has passed. Neither is asked of a source,
  // but one that claims it shall do it.
  virtual bool HeedsCancellation() { return false; }
  virtual bool HeedsTimeout() { return false; }

  // For the suite.
  virtual std::shared_ptr<internal::AnySource> MakeAny() = 0;
};

// What a user derives from, for a source of `Token`:
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
  // A new source that asks the rig's server. The rig keeps no reference to it,
  // and outlives it.
  virtual std::shared_ptr<refreshable::TokenSource<Token>> Make() = 0;

  // The bytes of a token that no status may hold; empty if there are none to
  // look for. Called wherever the source answers, by several threads at once.
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

// The clauses are in token_source_conformance.cc; the name of each says what it
// demands. That a source answers at most once need not be tested: of a second
// answer nothing is seen (see `FetchDone`).
class TokenSourceConformanceTest
    : public ::testing::TestWithParam<TokenSourceSubject> {
 protected:
  // The rig first: it outlives what it makes.
  const std::unique_ptr<AnySourceRig> rig_ = GetParam().make();
  std::shared_ptr<internal::AnySource> source_ = rig_->MakeAny();
};

}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_TOKEN_SOURCE_CONFORMANCE_H_
