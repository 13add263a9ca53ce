// SPDX-License-Identifier: Apache-2.0
//
// RejectionRow: whether the present token was rejected, and how soon a
// rejection may start another attempt.

#ifndef REFRESHABLE_MACHINE_REJECTION_ROW_H_
#define REFRESHABLE_MACHINE_REJECTION_ROW_H_

#include <algorithm>
#include <memory>

#include "absl/time/time.h"
#include "refreshable/executors/clock.h"
#include "refreshable/generation.h"
#include "refreshable/internal/copied_ptr.h"

namespace refreshable {
namespace internal {

// Records the latest generation that was rejected or invalidated, and the
// present *row*: the sequence of attempts that rejections started. Each attempt
// of a row makes the wait before the next attempt longer, up to a limit. So a
// server that rejects every token does not cause a fetch per call.
class RejectionRow {
 public:
  // `same_token` says whether the token is known to equal the previous token.
  // If so, rejections of the previous token apply to `generation` too.
  void OnPublish(Generation generation, bool same_token) {
    if (!same_token) first_ = generation;
    last_ = generation;
  }

  // Whether generation `rejected` is known to have the same token as the
  // generation last published. False for 0 and for later generations.
  bool Covers(Generation rejected) const {
    return rejected != Generation() && first_ <= rejected && rejected <= last_;
  }

  // If `Covers(rejected)`, records that generation `rejected` was rejected or
  // invalidated. Returns whether the token last published counts as rejected
  // now and did not before.
  bool Note(Generation rejected) {
    if (!Covers(rejected)) return false;
    const bool news = !current_rejected();
    row().noted = std::max(row().noted, rejected);
    return news;
  }

  // The generation last published; 0 before the first publication.
  Generation last() const { return last_; }

  // The generation since which all published tokens are known to be equal.
  Generation same_since() const { return first_; }

  // Whether the token last published counts as rejected.
  bool current_rejected() const {
    return row_ != nullptr && Covers(row_->noted);
  }

  int attempts() const { return row_ != nullptr ? row_->attempts : 0; }

  // Returns when a rejection may start an attempt. `last_start` is the start of
  // the last attempt of any kind.
  BootTime NextStart(BootTime last_start) const {
    return row_ != nullptr ? last_start + row_->wait : last_start;
  }

  // Called when an attempt of the row starts. `wait` is the wait before the
  // next attempt.
  void OnStart(absl::Duration wait) {
    ++row().attempts;
    row_->previous_wait = row_->wait;
    row_->wait = wait;
  }

  // Replaces the wait before the next attempt. Requires: attempts() > 0.
  void SetWait(absl::Duration wait) { row_->wait = wait; }

  // Called in the child of a fork() if a rejection started the running attempt.
  // Undoes the OnStart of that attempt, which belongs to the parent. Does
  // nothing if the row has ended since that attempt started.
  void OnFork() {
    if (attempts() == 0) return;
    --row_->attempts;
    row_->wait = row_->previous_wait;
  }

  // Forgets the attempts and what was rejected.
  void End() { row_ = nullptr; }

 private:
  struct Row {
    // The latest generation that was rejected or invalidated; 0 if none.
    Generation noted;
    int attempts = 0;
    absl::Duration wait;  // The wait before the next attempt.
    // The value of `wait` before the last OnStart.
    absl::Duration previous_wait;
  };

  Row& row() {
    if (row_ == nullptr) row_ = std::make_unique<Row>();
    return *row_;
  }

  Generation first_;    // See `same_since`.
  Generation last_;     // See `last`.
  CopiedPtr<Row> row_;  // Null if nothing was recorded since the last End.
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_MACHINE_REJECTION_ROW_H_
