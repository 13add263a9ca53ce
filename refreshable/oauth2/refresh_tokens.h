// SPDX-License-Identifier: Apache-2.0
//
// RefreshTokens: keeps a refresh token, which a server may replace each time
// the token is presented ("rotation", RFC 6749, section 6).

#ifndef REFRESHABLE_OAUTH2_REFRESH_TOKENS_H_
#define REFRESHABLE_OAUTH2_REFRESH_TOKENS_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/oauth2/answer.h"
#include "refreshable/secret.h"

namespace refreshable {
namespace oauth2 {

// A place where a refresh token survives the end of the program: a file, a
// keychain, a database. Implement this interface for your program, or use
// FileRefreshTokenStore (file_refresh_token_store.h).
//
// A RefreshTokens calls its store on one thread at a time: a thread that
// refreshes, a thread of the transport, or the thread that calls `Install`. A
// method may block, but not for long, because a refresh waits for it. It must
// not call the RefreshTokens, must not throw, and must put no byte of a token
// into a status.
class RefreshTokenStore {
 public:
  virtual ~RefreshTokenStore() = default;

  // Returns the token that was stored last, by this process or another. Returns
  // NOT_FOUND if there is none.
  virtual absl::StatusOr<Secret> Load() = 0;

  // Replaces the stored token. Atomic: whatever happens, `Load` returns either
  // the old token or the new token. After `Store` has returned OK, a crash must
  // not lose the new token.
  virtual absl::Status Store(const Secret& refresh_token) = 0;
};

// Returns whether `status` says that the user must log in again, because there
// is no usable refresh token. `status` may be a status from a token source,
// `Event::status` or `Health::last_cause`. Returns false for the status of a
// read, which does not carry this information. If the result is true, the code
// of `status` is UNAUTHENTICATED.
bool IsLoginNeeded(const absl::Status& status);

// The refresh token of one login, shared by the program and the token sources
// that present the token. If a server replaces each refresh token that is
// presented, two mistakes may end the login: losing the new token, and
// presenting the old token again. Therefore:
//
//   - A new refresh token is stored before the access token of its answer is
//     used. It is stored even if the attempt was abandoned or its source was
//     destroyed (see `CreateSource`).
//   - Attempts present the token one after another. Each attempt waits, without
//     blocking a thread, until the previous attempt has its answer or has
//     failed. A request goes on even if the Refreshable abandons its attempt:
//     after the attempt's timeout, the transport waits `Options::late_answer`
//     longer for the answer.
//   - If an answer is lost, the server may have replaced the token.
//     `Options::after_lost_answer` says whether the old token is presented
//     again.
//   - Each attempt first loads the token from the store. If another process has
//     stored another token, the attempt presents that one. If the store is
//     empty, a new login is needed.
//
// After the user has logged in again, call `Install` with the new refresh
// token. Then call `Refreshable::Reset()`, or `Refreshable::Install()` with the
// new access token. The user may also log in again in another process that has
// the same store.
//
// If the server refuses the token (`invalid_grant`), `IsLoginNeeded` is true
// for the attempt's failure. The next attempt presents the same token again,
// because the server may have been wrong.
//
// If a new token cannot be stored, it is kept in memory and used. The next
// attempt tries again to store the token before presenting it. Until the token
// has been stored, no attempt loads a token, because the stored token is
// probably older.
//
// If `RefreshTokenStore::Load` fails with an error other than NOT_FOUND, the
// attempt presents the token in memory. If there is no token in memory, the
// attempt fails with the code of the store's status.
//
// Thread-safe. After a fork(), the parent or the child may present the token,
// but not both. The child may do so only if the fork() found this object idle:
// no attempt had a turn, and no thread was inside a call. Otherwise an attempt
// in the child may wait forever. The store and `on_store_failed` may be
// destroyed on a thread of a transport.
class RefreshTokens : public std::enable_shared_from_this<RefreshTokens> {
 public:
  // Whether a refresh token is presented again after an answer was lost. An
  // answer is *lost* if the transport failed and the server may have received
  // the request (see `NotSent` in transport.h). A 2xx answer is also lost if it
  // could not be read, or had neither a token nor an error. An answer with any
  // other HTTP status is not lost. The count of lost answers returns to zero
  // when the server accepts a token, when `Install` is called, and when another
  // token is loaded from the store.
  enum class AfterLostAnswer {
    // The token is presented again until a second answer is lost; then a new
    // login is needed. A server that has replaced the token refuses the old
    // token, and may end the login.
    kPresentOnceMore,
    // The token is never presented again: a new login is needed.
    kNeverPresent,
    // The token is presented again, however many answers are lost. Use this for
    // servers that keep the old token valid for a while, or never replace
    // tokens.
    kPresentUntilAnswered,
  };

  struct Options {
    // The store of the token. If null, the token is kept in memory only.
    std::shared_ptr<RefreshTokenStore> store;
    AfterLostAnswer after_lost_answer = AfterLostAnswer::kPresentOnceMore;
    // How long a transport waits for the answer after the attempt's timeout.
    // Not negative.
    absl::Duration late_answer = absl::Seconds(30);
    // Called with the status of each failed call of the store, perhaps on
    // several threads at the same time. A NOT_FOUND from `Load` is not a
    // failure. Called without a lock. May be empty.
    std::function<void(const absl::Status&)> on_store_failed;
  };

  // Returns a new object, or INVALID_ARGUMENT if an option is not valid. Does
  // not call the store.
  static absl::StatusOr<std::shared_ptr<RefreshTokens>> Create(Options options);
  static absl::StatusOr<std::shared_ptr<RefreshTokens>> Create();

  RefreshTokens(const RefreshTokens&) = delete;
  RefreshTokens& operator=(const RefreshTokens&) = delete;
  ~RefreshTokens();

  // Stores the refresh token of a new login. Later attempts present this token.
  // An attempt that has been given the old token may still present it. Of the
  // answer to that attempt, only the access token is used. Returns
  // INVALID_ARGUMENT if `refresh_token` is empty; otherwise the status of the
  // store, or OK if there is no store. The new token is used even if the store
  // has failed. Blocks while the store does.
  absl::Status Install(Secret refresh_token);

  // The rest of this class is for token sources (source.h).

  // The permission to present the token. One attempt at a time has a turn. But
  // after `Install`, a new turn may begin before an older turn has ended. If
  // neither End nor EndNotSent ends the turn, the destructor does. The answer
  // then counts as lost if WillPresent was called. Move-only.
  class Turn {
   public:
    Turn(Turn&& other) noexcept = default;
    Turn& operator=(Turn&& other) = delete;
    ~Turn();

    const Secret& token() const { return token_; }
    // Must be called before the token is given to a transport.
    void WillPresent() { presented_ = true; }
    // End and EndNotSent do nothing if the turn has ended already, or if
    // `Install` has been called since the turn began.

    // Ends the turn. If `answer` has a new refresh token, End stores that
    // token.
    void End(PresentedToken answer);
    // Ends the turn of an attempt whose token the server has certainly not
    // received.
    void EndNotSent();

   private:
    friend class RefreshTokens;
    Turn(std::shared_ptr<RefreshTokens> owner, uint64_t id, Secret token)
        : owner_(std::move(owner)), id_(id), token_(std::move(token)) {}

    std::shared_ptr<RefreshTokens> owner_;  // Null if the turn has ended.
    uint64_t id_;
    Secret token_;
    bool presented_ = false;
  };

  // Waits for a turn without blocking. Then calls `granted`, inside Await or
  // later on any thread. `granted` gets the turn, or an error if no token may
  // be presented. `wanted` must return OK as long as the attempt should go on.
  // If `wanted` returns an error, the wait ends, and `granted` gets that error.
  // `wanted` is called when the turn comes, in Sweep, and in every Await of
  // another attempt. Both functions are called without a lock.
  using Granted = absl::AnyInvocable<void(absl::StatusOr<Turn>)>;
  void Await(std::function<absl::Status()> wanted, Granted granted);
  // Gives turns to the attempts that wait. An attempt must call this after it
  // has ended its turn and has passed on its access token or its failure.
  void ContinueAfterAnswer();
  // Ends the waiting attempts whose `wanted` returns a status that is not OK.
  void Sweep();

  absl::Duration late_answer() const { return options_.late_answer; }

 private:
  class Continuing;
  class StoreCall;
  struct Waiter {
    std::function<absl::Status()> wanted;
    Granted granted;
  };

  explicit RefreshTokens(Options options) : options_(std::move(options)) {}

  void Continue();
  absl::StatusOr<Turn> Begin(uint64_t id);
  void Load();
  absl::Status Save();
  bool MayPresent() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void End(uint64_t id, PresentedToken answer);
  void Free(uint64_t id);
  void ReportStore(const absl::Status& status);

  const Options options_;

  absl::Mutex mu_;
  absl::CondVar store_free_;
  bool store_in_use_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<Waiter> waiters_ ABSL_GUARDED_BY(mu_);
  // The threads that are inside Continue; a thread may occur several times.
  std::vector<std::thread::id> continuing_ ABSL_GUARDED_BY(mu_);
  uint64_t last_turn_ ABSL_GUARDED_BY(mu_) = 0;
  // The id of the turn that the next attempt must wait for; 0 if there is none.
  uint64_t turn_ ABSL_GUARDED_BY(mu_) = 0;
  Secret token_ ABSL_GUARDED_BY(mu_);
  // `version_` rises when `token_` is set to a token that the store may not
  // have. `stored_version_` is the version of the token that was stored last.
  uint64_t version_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t stored_version_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status load_status_ ABSL_GUARDED_BY(mu_);  // Of the last Load.
  int lost_answers_ ABSL_GUARDED_BY(mu_) = 0;
};

// Returns a status for which IsLoginNeeded is true, with the payloads of
// `cause`. Its message names `cause`, `why`, and what the user must do.
absl::Status LoginNeeded(const absl::Status& cause, absl::string_view why);

}  // namespace oauth2
}  // namespace refreshable

#endif  // REFRESHABLE_OAUTH2_REFRESH_TOKENS_H_
