// SPDX-License-Identifier: Apache-2.0
//
// State: the part of `Refreshable<Token>` that depends on Token.

#ifndef REFRESHABLE_INTERNAL_STATE_H_
#define REFRESHABLE_INTERNAL_STATE_H_

#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>

#include "absl/base/config.h"
#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "refreshable/executors/fork_mutex.h"
#include "refreshable/internal/published.h"
#include "refreshable/internal/shell.h"
#include "refreshable/lease.h"
#include "refreshable/token_source.h"

namespace refreshable {
namespace internal {

template <typename T, typename = void>
struct HasEquality : std::false_type {};
template <typename T>
struct HasEquality<T,
                   std::void_t<decltype(static_cast<bool>(
                       std::declval<const T&>() == std::declval<const T&>()))>>
    : std::true_type {};

// Holds the tokens and the source; everything else is the Shell's.
template <typename Token>
class State final : public Shell {
 public:
  using Callback = absl::AnyInvocable<void(absl::StatusOr<Lease<Token>>)>;
  using SameToken = std::function<bool(const Token&, const Token&)>;

  State(ShellConfig config, std::shared_ptr<TokenSource<Token>> source,
        std::function<void(const Lease<Token>&)> on_token_changed,
        SameToken same_token)
      : Shell(std::move(config)),
        source_(std::move(source)),
        on_token_changed_(std::move(on_token_changed)),
        same_token_(std::move(same_token)),
        published_(clock().CoarseWall()) {
    if constexpr (HasEquality<Token>::value) {
      if (!same_token_) {
        same_token_ = [](const Token& a, const Token& b) { return a == b; };
      }
    }
    Register();
  }

  ~State() override { Unregister(); }

  const Published<Token>& published() const { return published_; }
  std::optional<Lease<Token>> Load() const { return published_.Load(); }
  std::optional<Lease<Token>> Load(absl::Time now) const {
    return published_.Load(now);
  }
  // Called under the lock.
  std::optional<Lease<Token>> Take() const { return published_.Take(); }

  std::unique_ptr<AsyncRead> MakeAsyncRead(Callback callback) {
    return std::make_unique<Reader>(this, std::move(callback));
  }

  absl::StatusOr<Generation> Install(Credential<Token> credential) {
    auto token = std::make_shared<const Token>(std::move(credential.token));
    Generation installed;
    const absl::Status status = InstallToken(
        credential.expiry,
        [&](Generation generation, absl::Time expires_at)
            ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
              installed = generation;
              return Publish(std::move(token), generation, expires_at);
            });
    if (!status.ok()) return status;
    return installed;
  }

 private:
  class Reader final : public AsyncRead {
   public:
    Reader(const State* state, Callback callback)
        : state_(state), callback_(std::move(callback)) {}
    void TakeLease() override { lease_ = state_->Take(); }
    void Finish(absl::Status status) override {
      Callback callback = std::move(callback_);
      if (status.ok()) {
        callback(*std::move(lease_));
      } else {
        callback(std::move(status));
      }
    }

   private:
    const State* const state_;
    Callback callback_;
    std::optional<Lease<Token>> lease_;
  };

  void Fetch(const FetchContext& context, AttemptId id) override {
    // An exception drops `done` on its way out of the source. What it is can be
    // told only once it has been caught here.
    struct Inside {
      const std::thread::id thread = std::this_thread::get_id();
      bool now = true;
      bool threw = false;
    };
    const auto inside = std::make_shared<Inside>();
    FetchDone<Token> done(
        [self = std::static_pointer_cast<State>(shared_from_this()), id,
         inside](absl::StatusOr<Credential<Token>> result) {
          if (inside->thread == std::this_thread::get_id() && inside->now &&
              result.status() == SourceThrew()) {
            inside->threw = true;
          } else {
            self->Complete(id, std::move(result));
          }
        });
#ifdef ABSL_HAVE_EXCEPTIONS
    try {
      source_->Fetch(context, std::move(done));
    } catch (...) {
      inside->now = false;
      FailIfRunning(id, DescribeThrown());
    }
#else
    source_->Fetch(context, std::move(done));
#endif
    inside->now = false;
    // The source has caught it itself.
    if (inside->threw) FailIfRunning(id, SourceThrew());
  }

  void Complete(AttemptId id, absl::StatusOr<Credential<Token>> result) {
    if (!result.ok()) {
      Fail(id, result.status());
      return;
    }
    auto token = std::make_shared<const Token>(std::move(result->token));
    const std::optional<Generation> same_as = SameAsRejected(*token);
    Succeed(id, result->expiry, same_as,
            [&](Generation generation, absl::Time expires_at)
                ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                  return Publish(std::move(token), generation, expires_at);
                });
  }

  std::optional<Generation> SameAsRejected(const Token& token) {
    const InAttempt in_attempt(this);
    Snapshot<Token> rejected;
    {
      ForkMutexLock lock(&mutex_);
      rejected = rejected_;
    }
    if (rejected.token == nullptr || !same_token_) return std::nullopt;
#ifdef ABSL_HAVE_EXCEPTIONS
    try {
      if (same_token_(*rejected.token, token)) return rejected.generation;
    } catch (...) {  // Unknown, and so not the same.
    }
#else
    if (same_token_(*rejected.token, token)) return rejected.generation;
#endif
    return std::nullopt;
  }

  Publication Publish(std::shared_ptr<const Token> token, Generation generation,
                      absl::Time expires_at)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Publication publication;
    publication.superseded =
        Replace({std::move(token), generation, expires_at, false}, {});
    if (on_token_changed_) {
      publication.hook =
          [self = std::static_pointer_cast<State>(shared_from_this()),
           lease = std::move(*Take())] { self->on_token_changed_(lease); };
    }
    return publication;
  }

  Garbage Withdraw() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return Replace({}, current_);
  }
  Garbage Clear() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return Replace({}, {});
  }

  Garbage RepublishDegraded() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Snapshot<Token> snapshot = current_;
    snapshot.degraded = true;
    return Replace(std::move(snapshot), rejected_);
  }

  void SetCheckAt(absl::Time check_at) override {
    published_.SetCheckAt(check_at);
  }

  // What is returned may run a token's destructor.
  Garbage Replace(Snapshot<Token> current, Snapshot<Token> rejected)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    struct Superseded {
      Garbage published;
      Snapshot<Token> current;
      Snapshot<Token> rejected;
    };
    auto garbage = std::make_shared<Superseded>();
    garbage->published = published_.Publish(current);
    garbage->current = std::exchange(current_, std::move(current));
    garbage->rejected = std::exchange(rejected_, std::move(rejected));
    return garbage;
  }

  const std::shared_ptr<TokenSource<Token>> source_;
  const std::function<void(const Lease<Token>&)> on_token_changed_;
  SameToken same_token_;

  Published<Token> published_;
  // What is published, and what was rejected and not replaced since.
  Snapshot<Token> current_ ABSL_GUARDED_BY(mutex_);
  Snapshot<Token> rejected_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_INTERNAL_STATE_H_
