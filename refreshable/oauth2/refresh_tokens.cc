// SPDX-License-Identifier: Apache-2.0

#include "refreshable/oauth2/refresh_tokens.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <iterator>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace refreshable {
namespace oauth2 {
namespace {

using Fate = PresentedToken::Fate;

constexpr absl::string_view kLoginNeededUrl = "refreshable/oauth2/login-needed";

}  // namespace

bool IsLoginNeeded(const absl::Status& status) {
  return status.GetPayload(kLoginNeededUrl).has_value();
}

absl::Status LoginNeeded(const absl::Status& cause, absl::string_view why) {
  absl::Status status = absl::UnauthenticatedError(
      absl::StrCat(cause.message(), cause.message().empty() ? "" : "; ", why,
                   ": a new login is needed, and RefreshTokens::Install() with "
                   "its refresh token"));
  cause.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    status.SetPayload(url, payload);
  });
  status.SetPayload(kLoginNeededUrl, absl::Cord());
  return status;
}

// The right to call the store. The constructor waits until no other StoreCall
// exists.
class RefreshTokens::StoreCall {
 public:
  explicit StoreCall(RefreshTokens* tokens) : tokens_(tokens) {
    absl::MutexLock lock(&tokens_->mu_);
    while (tokens_->store_in_use_) tokens_->store_free_.Wait(&tokens_->mu_);
    tokens_->store_in_use_ = true;
  }
  StoreCall(const StoreCall&) = delete;
  StoreCall& operator=(const StoreCall&) = delete;
  ~StoreCall() {
    absl::MutexLock lock(&tokens_->mu_);
    tokens_->store_in_use_ = false;
    tokens_->store_free_.SignalAll();
  }

 private:
  RefreshTokens* const tokens_;
};

// While a Continuing exists, its thread is in `continuing_`.
class RefreshTokens::Continuing {
 public:
  explicit Continuing(RefreshTokens* tokens) : tokens_(tokens) {
    absl::MutexLock lock(&tokens_->mu_);
    tokens_->continuing_.push_back(std::this_thread::get_id());
  }
  Continuing(const Continuing&) = delete;
  Continuing& operator=(const Continuing&) = delete;
  ~Continuing() {
    absl::MutexLock lock(&tokens_->mu_);
    auto& all = tokens_->continuing_;
    all.erase(std::find(all.begin(), all.end(), std::this_thread::get_id()));
  }

 private:
  RefreshTokens* const tokens_;
};

RefreshTokens::Turn::~Turn() {
  if (owner_ == nullptr) return;
  if (presented_) {
    End({Fate::kLost, std::nullopt});
  } else {
    EndNotSent();
  }
}

void RefreshTokens::Turn::End(PresentedToken answer) {
  const auto owner = std::exchange(owner_, nullptr);
  if (owner != nullptr) owner->End(id_, std::move(answer));
}

void RefreshTokens::Turn::EndNotSent() {
  const auto owner = std::exchange(owner_, nullptr);
  if (owner != nullptr) owner->Free(id_);
}

absl::StatusOr<std::shared_ptr<RefreshTokens>> RefreshTokens::Create() {
  return Create(Options());
}

absl::StatusOr<std::shared_ptr<RefreshTokens>> RefreshTokens::Create(
    Options options) {
  if (options.late_answer < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("RefreshTokens: late_answer is negative (",
                     absl::FormatDuration(options.late_answer), ")"));
  }
  return std::shared_ptr<RefreshTokens>(new RefreshTokens(std::move(options)));
}

RefreshTokens::~RefreshTokens() = default;

absl::Status RefreshTokens::Install(Secret refresh_token) {
  if (refresh_token.empty()) {
    return absl::InvalidArgumentError("RefreshTokens: the token is empty");
  }
  {
    absl::MutexLock lock(&mu_);
    token_ = std::move(refresh_token);
    ++version_;
    lost_answers_ = 0;
    // A turn of the old login must not block turns of the new login.
    turn_ = 0;
  }
  return Save();
}

void RefreshTokens::Await(std::function<absl::Status()> wanted,
                          Granted granted) {
  Sweep();
  {
    absl::MutexLock lock(&mu_);
    waiters_.push_back({std::move(wanted), std::move(granted)});
  }
  Continue();
}

void RefreshTokens::Sweep() {
  std::deque<Waiter> all;
  {
    absl::MutexLock lock(&mu_);
    std::swap(all, waiters_);
  }
  std::deque<Waiter> wanted;
  std::deque<std::pair<Waiter, absl::Status>> unwanted;
  for (Waiter& waiter : all) {
    absl::Status status = waiter.wanted();
    if (status.ok()) {
      wanted.push_back(std::move(waiter));
    } else {
      unwanted.emplace_back(std::move(waiter), std::move(status));
    }
  }
  {
    absl::MutexLock lock(&mu_);
    waiters_.insert(waiters_.begin(), std::make_move_iterator(wanted.begin()),
                    std::make_move_iterator(wanted.end()));
  }
  // While `waiters_` was empty, a turn may have ended, and Continue may have
  // found no attempt for the next turn.
  if (!wanted.empty()) Continue();
  for (auto& [waiter, status] : unwanted) waiter.granted(std::move(status));
}

void RefreshTokens::ContinueAfterAnswer() {
  {
    absl::MutexLock lock(&mu_);
    // If this thread is inside Continue, that call goes on with the next
    // attempt. With nested calls, a long queue would overflow the stack.
    if (std::find(continuing_.begin(), continuing_.end(),
                  std::this_thread::get_id()) != continuing_.end()) {
      return;
    }
  }
  Continue();
}

void RefreshTokens::Continue() {
  const Continuing continuing(this);
  while (true) {
    Waiter waiter;
    uint64_t id = 0;
    {
      absl::MutexLock lock(&mu_);
      if (turn_ != 0 || waiters_.empty()) return;
      waiter = std::move(waiters_.front());
      waiters_.pop_front();
      id = turn_ = ++last_turn_;
    }
    absl::Status wanted = waiter.wanted();
    absl::StatusOr<Turn> turn =
        wanted.ok() ? Begin(id) : absl::StatusOr<Turn>(std::move(wanted));
    if (!turn.ok()) Free(id);
    waiter.granted(std::move(turn));
  }
}

absl::StatusOr<RefreshTokens::Turn> RefreshTokens::Begin(uint64_t id) {
  // If saving fails, the token in the store is probably older than the token in
  // memory.
  if (Save().ok()) Load();
  absl::MutexLock lock(&mu_);
  if (turn_ != id) {
    return absl::AbortedError("another refresh token was installed meanwhile");
  }
  if (token_.empty()) {
    if (!load_status_.ok() && !absl::IsNotFound(load_status_)) {
      return absl::Status(load_status_.code(),
                          absl::StrCat("cannot load the refresh token: ",
                                       load_status_.message()));
    }
    return LoginNeeded(absl::OkStatus(), "there is no refresh token");
  }
  if (!MayPresent()) {
    return LoginNeeded(absl::OkStatus(),
                       "the server may have replaced the refresh token, but "
                       "its answer was lost");
  }
  return Turn(shared_from_this(), id, token_);
}

bool RefreshTokens::MayPresent() const {
  switch (options_.after_lost_answer) {
    case AfterLostAnswer::kPresentOnceMore:
      return lost_answers_ <= 1;
    case AfterLostAnswer::kNeverPresent:
      return lost_answers_ == 0;
    case AfterLostAnswer::kPresentUntilAnswered:
      break;
  }
  return true;
}

void RefreshTokens::Load() {
  if (options_.store == nullptr) return;
  absl::Status status;
  {
    const StoreCall call(this);
    absl::StatusOr<Secret> loaded = options_.store->Load();
    status = loaded.status();
    if (loaded.ok() && loaded->empty()) {
      status = absl::NotFoundError("the stored refresh token is empty");
    }
    absl::MutexLock lock(&mu_);
    load_status_ = status;
    // If the versions differ, the stored token is probably older than the token
    // in memory.
    if (version_ == stored_version_) {
      if (status.ok() && *loaded != token_) {
        token_ = *std::move(loaded);
        lost_answers_ = 0;
      } else if (absl::IsNotFound(status)) {
        token_ = Secret();
      }
    }
  }
  if (!absl::IsNotFound(status)) ReportStore(status);
}

absl::Status RefreshTokens::Save() {
  if (options_.store == nullptr) return absl::OkStatus();
  absl::Status status;
  {
    const StoreCall call(this);
    Secret token;
    uint64_t version = 0;
    {
      absl::MutexLock lock(&mu_);
      if (version_ == stored_version_) return absl::OkStatus();
      token = token_;
      version = version_;
    }
    status = options_.store->Store(token);
    absl::MutexLock lock(&mu_);
    if (status.ok()) stored_version_ = version;
  }
  ReportStore(status);
  return status;
}

void RefreshTokens::ReportStore(const absl::Status& status) {
  if (!status.ok() && options_.on_store_failed) {
    options_.on_store_failed(status);
  }
}

void RefreshTokens::End(uint64_t id, PresentedToken answer) {
  {
    absl::MutexLock lock(&mu_);
    if (turn_ != id) return;
    if (answer.fate == Fate::kLost) ++lost_answers_;
    if (answer.fate == Fate::kAccepted) lost_answers_ = 0;
    if (answer.next.has_value() && *answer.next != token_) {
      token_ = *std::move(answer.next);
      ++version_;
    }
  }
  // Save itself reports a failure to `on_store_failed`.
  static_cast<void>(Save());
  Free(id);
}

void RefreshTokens::Free(uint64_t id) {
  absl::MutexLock lock(&mu_);
  if (turn_ == id) turn_ = 0;
}

}  // namespace oauth2
}  // namespace refreshable
