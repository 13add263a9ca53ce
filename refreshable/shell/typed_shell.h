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
#include "refreshable/credential.h"
#include "refreshable/executors/internal/fork_mutex.h"
#include "refreshable/generation.h"
#include "refreshable/hazard/hazard_domain.h"
#include "refreshable/internal/ref_ptr.h"
#include "refreshable/lease.h"
#include "refreshable/shell/shell.h"
#include "refreshable/shell/snapshot_cell.h"
#include "refreshable/shell/source_release.h"
#include "refreshable/shell/waiters.h"
#include "refreshable/token_source.h"

namespace refreshable {
namespace internal {

template <typename Token>
struct RefCount<TypedShell<Token>> : RefCount<Shell> {};

// A Shell that knows the type of its tokens. Owns the source until Close.
template <typename Token>
class TypedShell final : public Shell {
 public:
  using Callback = absl::AnyInvocable<void(absl::StatusOr<Lease<Token>>)>;
  using SameToken = std::function<bool(const Token&, const Token&)>;

  // `on_token_changed` and `same_token` may be null.
  TypedShell(ShellConfig config, std::shared_ptr<TokenSource<Token>> source,
             std::function<void(const Lease<Token>&)> on_token_changed,
             SameToken same_token)
      : Shell(WithHooks(std::move(config), std::move(on_token_changed),
                        std::move(same_token))),
        source_(std::move(source)) {
    // Shell's constructor must not call Register. Another thread could then
    // fork while the vtable pointer changes, and the child would call
    // AfterForkInChild, a virtual method.
    Register();
  }
  ~TypedShell() override { Unregister(); }

  // Does the work of the Refreshable's destructor (E1), and drops the source. A
  // running call of `Fetch` owns the source until it returns. The callback
  // given to `Fetch` keeps this object alive, but not the source.
  void Close() noexcept {
    Shell::Close();
    std::shared_ptr<TokenSource<Token>> source;
    {
      ForkMutexLock lock(&mutex_);
      source = std::exchange(source_, nullptr);
    }
    ReleaseSource(std::move(source), executor());
  }

  static std::shared_ptr<AsyncRead> MakeAsyncRead(
      Callback&& callback) noexcept {
    return std::make_shared<CallbackRead>(std::move(callback));
  }

  absl::StatusOr<Generation> Install(Credential<Token> credential) {
    return InstallToken(credential.expiry, std::make_shared<const Token>(
                                               std::move(credential.token)));
  }

  static absl::StatusOr<Lease<Token>> ToLease(
      absl::StatusOr<HazardHolder>&& result) {
    if (!result.ok()) return std::move(result).status();
    return Lease<Token>(*std::move(result));
  }

 private:
  class CallbackRead final : public AsyncRead {
   public:
    explicit CallbackRead(Callback&& callback)
        : callback_(std::move(callback)) {}

   private:
    void Deliver(absl::StatusOr<HazardHolder> outcome) override {
      Callback once = std::move(callback_);
      once(ToLease(std::move(outcome)));
    }
    void Discard() override { callback_ = nullptr; }

    Callback callback_;
  };

  static ShellConfig WithHooks(ShellConfig config,
                               std::function<void(const Lease<Token>&)> changed,
                               SameToken same) {
    if (changed) {
      config.hooks.on_published = [hook =
                                       std::move(changed)](HazardHolder hold) {
        hook(Lease<Token>(std::move(hold)));
      };
    }
    if (same) {
      config.hooks.same_token = [same = std::move(same)](const void* a,
                                                         const void* b) {
        return same(*static_cast<const Token*>(a),
                    *static_cast<const Token*>(b));
      };
    }
    return config;
  }

  void Fetch(const FetchContext& context, AttemptId id) noexcept override {
    std::shared_ptr<TokenSource<Token>> source;
    {
      ForkMutexLock lock(&mutex_);
      source = source_;
    }
    if (source == nullptr) return;  // After Close.
    // If the source throws, the exception may destroy `done`, which then
    // reports `SourceThrew()`. That report is not passed on: only the catch
    // block below knows the exception.
    struct Inside {
      const std::thread::id thread = std::this_thread::get_id();
      bool now = true;
      bool threw = false;
    };
    const auto inside = std::make_shared<Inside>();
    FetchDone<Token> done([self = RefPtr<TypedShell>(this), id,
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
    // `threw` is true if an exception destroyed `done`. If the source caught
    // that exception, the catch block above did not run, and the attempt has
    // not failed yet.
    if (inside->threw) FailIfRunning(id, SourceThrew());
    {
      ForkMutexLock lock(&mutex_);
      if (source_ != nullptr) source = nullptr;  // `source_` owns it too.
    }
    // Passes no executor: the executor may have been destroyed after Close.
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
    Succeed(id, result->expiry, same_as, std::move(token));
  }

  // Returns the generation of LastToken() if `token` equals that token;
  // otherwise nullopt.
  std::optional<Generation> SameAsLast(const Token& token) {
    const InAttempt in_attempt(this);
    const Snapshot last = LastToken();
    if (last.token == nullptr) return std::nullopt;
    const Token& last_token = *static_cast<const Token*>(last.token.get());
#ifdef ABSL_HAVE_EXCEPTIONS
    try {
      if (Same(last_token, token)) return last.generation;
    } catch (...) {  // A token that cannot be compared counts as new.
    }
#else
    if (Same(last_token, token)) return last.generation;
#endif
    return std::nullopt;
  }

  bool Same(const Token& a, const Token& b) const {
    const auto hooks = this->hooks();
    if (hooks != nullptr && hooks->same_token) {
      return hooks->same_token(&a, &b);
    }
    if constexpr (TokenHasEquality<Token>::value) return a == b;
    return false;
  }

  std::shared_ptr<TokenSource<Token>> source_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_SHELL_TYPED_SHELL_H_
