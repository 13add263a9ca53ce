// SPDX-License-Identifier: Apache-2.0
//
// RefreshTokens: keeps the refresh token that a server may replace each time it
// is presented ("rotation", RFC 6749, section 6).

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

// Where a refresh token survives the end of the program: a file, a keychain, a
// database. The user implements it; file_refresh_token_store.h has an
// implementation.
//
// One RefreshTokens makes one call at a time, from any thread: the threads that
// refresh, those of the transport, and the caller of `Install`. A call may
// block, but not for long, because a refresh waits for it. It must not call the
// RefreshTokens, and must not throw. A status contains no byte of a token.
class RefreshTokenStore {
 public:
  virtual ~RefreshTokenStore() = default;

  // Returns what was stored last, by this or another process. Returns NOT_FOUND
  // if nothing was.
  virtual absl::StatusOr<Secret> Load() = 0;

  // Replaces the stored token. Atomic: whatever happens, `Load` returns either
  // the old token or the new one. The token must be safe when this returns OK.
  virtual absl::Status Store(const Secret& refresh_token) = 0;
};

// Returns whether `status` says that the refresh token cannot be used any
// longer, so that the user must log in again. Works for statuses of a token
// source, of an event, and for `Health::last_cause`. The code of a status that
// says so is UNAUTHENTICATED.
bool IsLoginNeeded(const absl::Status& status);

// The refresh token of one login, shared by the program and the token sources
// that present it. A server that replaces a refresh token whenever it is
// presented punishes two mistakes by ending the login: losing the new token,
// and presenting the old one again. Therefore:
//
//   - A new refresh token is stored before the access token that came with it
//     is used. This also holds if the answer comes late, after the attempt was
//     abandoned, superseded, or its Refreshable was destroyed.
//   - Attempts present the token one after another. The next waits, without
//     blocking a thread, until the answer has come or the transport has given
//     up. A transport gives up `Options::late_answer` after the attempt's
//     timeout.
//   - If an answer is lost, the server may have replaced the token.
//     `Options::after_lost_answer` says what is done then.
//   - The token is loaded from the store before each presentation. If another
//     process has stored another token meanwhile, that token is presented; if
//     the token has been removed, a new login is needed.
//
// After the user has logged in again, call `Install` with the new refresh token
// and then `Refreshable::Reset()`, or `Refreshable::Install()` with the new
// access token. The user may also log in again in another process that has the
// same store.
//
// If the store fails, the new token is kept in memory and used, and storing it
// is tried again before the next presentation.
//
// Thread-safe. After a fork() only one of the two processes may present the
// token. Objects that it owns (the store, the function) may be destroyed on a
// thread of a transport.
class RefreshTokens : public std::enable_shared_from_this<RefreshTokens> {
 public:
  // What happens to a refresh token after an answer to its presentation was
  // lost: the transport failed after the server may have received the request
  // (see `NotSent`), or a success could not be read. An error with an HTTP
  // status (502, say) is no lost answer. The count of lost answers starts anew
  // when the server accepts a token, and with `Install`.
  enum class AfterLostAnswer {
    // The token is presented once more. If the server has replaced the token,
    // it refuses the old one, and may end the login. If the second answer is
    // lost too, a new login is needed.
    kPresentOnceMore,
    // The token is never presented again: a new login is needed.
    kNeverPresent,
    // The token is presented on the schedule of the refresh policy until there
    // is an answer. The best choice for servers that keep the old token valid
    // for a while, or do not replace tokens at all.
    kPresentUntilAnswered,
  };

  struct Options {
    // If null, the refresh token is only kept in memory.
    std::shared_ptr<RefreshTokenStore> store;
    AfterLostAnswer after_lost_answer = AfterLostAnswer::kPresentOnceMore;
    // For how long after the attempt's timeout a transport waits for the
    // answer. Not negative.
    absl::Duration late_answer = absl::Seconds(30);
    // Called with the status of each call of the store that failed. NOT_FOUND
    // of `Load` is no failure. No lock is held during the call. May be empty.
    std::function<void(const absl::Status&)> on_store_failed;
  };

  // Returns INVALID_ARGUMENT if an option is not valid. Does not call the
  // store.
  static absl::StatusOr<std::shared_ptr<RefreshTokens>> Create(Options options);
  static absl::StatusOr<std::shared_ptr<RefreshTokens>> Create();

  RefreshTokens(const RefreshTokens&) = delete;
  RefreshTokens& operator=(const RefreshTokens&) = delete;
  ~RefreshTokens();

  // Stores the refresh token of a new login, and presents it from now on. If a
  // presentation of the old token is outstanding, the answer to it no longer
  // changes anything. Returns INVALID_ARGUMENT if the token is empty, or the
  // status of the store; if the store has failed, the token is used
  // nevertheless. Blocks while the store does.
  absl::Status Install(Secret refresh_token);

  // The rest is for token sources (source.h).

  // The permission to present the token, which one attempt has at a time. If a
  // turn is destroyed before it has ended, it ends: with a lost answer if the
  // token was presented, and otherwise without consequences. Move-only.
  class Turn {
   public:
    Turn(Turn&& other) noexcept = default;
    Turn& operator=(Turn&& other) = delete;
    ~Turn();

    const Secret& token() const { return token_; }
    // Must be called before the token is given to a transport.
    void WillPresent() { presented_ = true; }
    // Ends the turn with what the server's answer says about the refresh token.
    // Stores the new refresh token if the answer contains one. Call at most one
    // of End and EndNotSent, once.
    void End(PresentedToken answer);
    // Ends the turn of a token that the server has not received.
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

  // Calls `granted` with a turn, inside `Await` or when earlier turns have
  // ended, or with the status of a failure. If `wanted()` returns a status that
  // is not OK, `granted` gets that instead. Both are called without a lock.
  using Granted = absl::AnyInvocable<void(absl::StatusOr<Turn>)>;
  void Await(std::function<absl::Status()> wanted, Granted granted);
  // Gives turns to the attempts that wait. Must be called by an attempt whose
  // turn has ended, after its answer has been used.
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
  // The threads that are inside Continue.
  std::vector<std::thread::id> continuing_ ABSL_GUARDED_BY(mu_);
  uint64_t last_turn_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t turn_ ABSL_GUARDED_BY(mu_) = 0;  // The turn that runs, or 0.
  Secret token_ ABSL_GUARDED_BY(mu_);
  // Rises with each change of token_ that the store may not have.
  uint64_t version_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t stored_version_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status load_status_ ABSL_GUARDED_BY(mu_);  // Of the last Load.
  int lost_answers_ ABSL_GUARDED_BY(mu_) = 0;
};

// Returns a status for which IsLoginNeeded is true. It has the payloads of
// `cause` and begins with its message.
absl::Status LoginNeeded(const absl::Status& cause, absl::string_view why);

}  // namespace oauth2
}  // namespace refreshable

#endif  // REFRESHABLE_OAUTH2_REFRESH_TOKENS_H_
