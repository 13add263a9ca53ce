// SPDX-License-Identifier: Apache-2.0
//
// TypedShell: the part of `Refreshable<Token>` that depends on Token.

#ifndef REFRESHABLE_SHELL_TYPED_SHELL_H_
#define REFRESHABLE_SHELL_TYPED_SHELL_H_

#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/config.h"
#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "refreshable/executors/internal/fork_mutex.h"
#include "refreshable/lease.h"
#include "refreshable/shell/shell.h"
#include "refreshable/shell/snapshot_cell.h"
#include "refreshable/shell/source_release.h"
#include "refreshable/token_source.h"

namespace refreshable {
namespace internal {

// Holds the tokens and, until it is closed, the source. Everything else is the
// Shell's.
template <typename Token>
class TypedShell final : public Shell {
 public:
  using Callback = absl::AnyInvocable<void(absl::StatusOr<Lease<Token>>)>;
  using SameToken = std::function<bool(const Token&, const Token&)>;

  TypedShell(ShellConfig config, std::shared_ptr<TokenSource<Token>> source,
             std::function<void(const Lease<Token>&)> on_token_changed,
             SameToken same_token)
      : Shell(std::move(config)),
        source_(std::move(source)),
        on_token_changed_(std::move(on_token_changed)),
        same_token_(std::move(same_token)),
        published_(clock().CoarseWall()) {
    if constexpr (TokenHasEquality<Token>::value) {
      if (!same_token_) {
        same_token_ = [](const Token& a, const Token& b) { return a == b; };
      }
    }
    Register();
  }

  ~TypedShell() override { Unregister(); }

  const SnapshotCell<Token>& published() const { return published_; }
  std::optional<Lease<Token>> Load() const { return published_.Load(); }
  std::optional<Lease<Token>> Load(absl::Time now) const {
    return published_.Load(now);
  }
  // Ends everything and drops the source. Calls that have not answered own this
  // object, but not the source.
  void Close() noexcept {
    Shell::Close();
    std::shared_ptr<TokenSource<Token>> source;
    {
      ForkMutexLock lock(&mutex_);
      source = std::exchange(source_, nullptr);
    }
    ReleaseSource(std::move(source), executor());
  }

  // Called under the lock.
  std::optional<Lease<Token>> Take() const { return published_.Take(); }

  std::unique_ptr<AsyncRead> MakeAsyncRead(Callback callback) noexcept {
    return std::make_unique<Reader>(this, std::move(callback));
  }

  absl::StatusOr<Generation> Install(Credential<Token> credential) {
    auto token = std::make_shared<const Token>(std::move(credential.token));
    Generation installed;
    const absl::Status status = InstallToken(
        credential.expiry,
        [&](const Edition& edition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
          installed = edition.generation;
          return Publish(std::move(token), edition);
        });
    if (!status.ok()) return status;
    return installed;
  }

 private:
  class Reader final : public AsyncRead {
   public:
    Reader(const TypedShell* state, Callback callback)
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
    const TypedShell* const state_;
    Callback callback_;
    std::optional<Lease<Token>> lease_;
  };

  void Fetch(const FetchContext& context, AttemptId id) noexcept override {
    std::shared_ptr<TokenSource<Token>> source;
    {
      ForkMutexLock lock(&mutex_);
      source = source_;
    }
    if (source == nullptr) return;  // Closed meanwhile.
    // An exception that leaves the source destroys `done` first. Its type is
    // known only once it has been caught below.
    struct Inside {
      const std::thread::id thread = std::this_thread::get_id();
      bool now = true;
      bool threw = false;
    };
    const auto inside = std::make_shared<Inside>();
    FetchDone<Token> done(
        [self = std::static_pointer_cast<TypedShell>(shared_from_this()), id,
         inside](absl::StatusOr<Credential<Token>>&& result) {
          const InDone in_done;
          if (inside->thread == std::this_thread::get_id() && inside->now &&
              result.status() == SourceThrew()) {
            inside->threw = true;
          } else {
            self->Complete(id, std::move(result));
          }
        });
#ifdef ABSL_HAVE_EXCEPTIONS
    try {
      source->Fetch(context, std::move(done));
    } catch (...) {
      inside->now = false;
      FailIfRunning(id, DescribeThrown());
    }
#else
    source->Fetch(context, std::move(done));
#endif
    inside->now = false;
    // An exception destroyed `done`, but the source caught it itself.
    if (inside->threw) FailIfRunning(id, SourceThrew());
    {
      ForkMutexLock lock(&mutex_);
      if (source_ != nullptr) source = nullptr;  // Not the last reference.
    }
    // No executor is given, since it may have been destroyed.
    if (source != nullptr) ReleaseSource(std::move(source), nullptr);
  }

  void Complete(AttemptId id,
                absl::StatusOr<Credential<Token>>&& result) noexcept {
    if (!result.ok()) {
      Fail(id, result.status());
      return;
    }
    std::shared_ptr<const Token> token;
#ifdef ABSL_HAVE_EXCEPTIONS
    try {
      token = std::make_shared<const Token>(std::move(result->token));
    } catch (...) {
      Fail(id, absl::UnknownError("keeping the token threw"));
      return;
    }
#else
    token = std::make_shared<const Token>(std::move(result->token));
#endif
    const std::optional<Generation> same_as = SameAsLast(*token);
    Succeed(id, result->expiry, same_as,
            [&](const Edition& edition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
              return Publish(std::move(token), edition);
            });
  }

  // If `token` equals the token that is published or was last withdrawn,
  // returns that token's generation.
  std::optional<Generation> SameAsLast(const Token& token) {
    const InAttempt in_attempt(this);
    Snapshot<Token> last;
    {
      ForkMutexLock lock(&mutex_);
      last = current_.token != nullptr ? current_ : rejected_;
    }
    if (last.token == nullptr || !same_token_) return std::nullopt;
#ifdef ABSL_HAVE_EXCEPTIONS
    try {
      if (same_token_(*last.token, token)) return last.generation;
    } catch (...) {  // Unknown, and so not the same.
    }
#else
    if (same_token_(*last.token, token)) return last.generation;
#endif
    return std::nullopt;
  }

  Publication Publish(std::shared_ptr<const Token> token,
                      const Edition& edition)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Publication publication;
    publication.superseded =
        Replace({std::move(token), edition.generation, edition.expires_at,
                 /*degraded=*/false, edition.same_since},
                {}, edition.check_at);
    if (on_token_changed_) {
      publication.hook =
          [self = std::static_pointer_cast<TypedShell>(shared_from_this()),
           lease = std::move(*Take())] { self->on_token_changed_(lease); };
    }
    return publication;
  }

  Garbage Withdraw() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return Replace({}, current_, absl::InfinitePast());
  }
  Garbage LetGo() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return Replace({}, rejected_, absl::InfinitePast());
  }
  Garbage Clear() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return Replace({}, {}, absl::InfinitePast());
  }

  Garbage RepublishDegraded(absl::Time check_at) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Snapshot<Token> snapshot = current_;
    snapshot.degraded = true;
    return Replace(std::move(snapshot), rejected_, check_at);
  }

  Garbage RepublishExtended(absl::Time expires_at, absl::Time check_at) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Snapshot<Token> snapshot = current_;
    snapshot.expires_at = expires_at;
    snapshot.degraded = false;
    return Replace(std::move(snapshot), rejected_, check_at);
  }

  void SetCheckAt(absl::Time check_at) override {
    published_.SetCheckAt(check_at);
  }

  // Destroying the result may run a token's destructor.
  Garbage Replace(Snapshot<Token> current, Snapshot<Token> rejected,
                  absl::Time check_at) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    struct Superseded {
      Garbage published;
      Snapshot<Token> current;
      Snapshot<Token> rejected;
    };
    auto garbage = std::make_shared<Superseded>();
    garbage->published = published_.Publish(current, check_at);
    garbage->current = std::exchange(current_, std::move(current));
    garbage->rejected = std::exchange(rejected_, std::move(rejected));
    return garbage;
  }

  std::shared_ptr<TokenSource<Token>> source_ ABSL_GUARDED_BY(mutex_);
  const std::function<void(const Lease<Token>&)> on_token_changed_;
  SameToken same_token_;

  SnapshotCell<Token> published_;
  // The published token, and the withdrawn token that has not been replaced
  // since.
  Snapshot<Token> current_ ABSL_GUARDED_BY(mutex_);
  Snapshot<Token> rejected_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SHELL_TYPED_SHELL_H_
