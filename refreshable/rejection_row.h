// SPDX-License-Identifier: Apache-2.0
//
// RejectionRow: which generations servers have rejected, and how soon a
// rejection may start another attempt.

#ifndef REFRESHABLE_REJECTION_ROW_H_
#define REFRESHABLE_REJECTION_ROW_H_

#include <algorithm>

#include "absl/time/time.h"
#include "refreshable/generation.h"

namespace refreshable {
namespace internal {

// A *row* is a succession of attempts that rejections started. Each of them
// makes the wait before the next one longer, until the row ends: a single
// server that rejects every token cannot make its client fetch one per call.
//
// A value without clock or thread; times since boot are passed in.
class RejectionRow {
 public:
  // A token was published as `generation`. `same_token` says that its bytes
  // are those of the generation before it, which it then shares all rejections
  // with.
  void OnPublish(Generation generation, bool same_token) {
    if (!same_token) first_ = generation;
    last_ = generation;
  }

  // Whether the token last published must not be handed to a read that
  // rejected `rejected`. False for 0, and for a generation above the last.
  bool Covers(Generation rejected) const {
    return rejected != Generation() && first_ <= rejected && rejected <= last_;
  }

  // A server rejected `rejected`. Returns whether the token last published
  // counts as rejected by this and did not before.
  bool Note(Generation rejected) {
    if (!Covers(rejected)) return false;
    const bool news = !current_rejected();
    noted_ = std::max(noted_, rejected);
    return news;
  }

  // The earliest generation with the bytes of the last one published.
  Generation same_since() const { return first_; }

  // Whether the token last published counts as rejected.
  bool current_rejected() const { return Covers(noted_); }

  // The attempts of this row.
  int attempts() const { return attempts_; }

  // The earliest moment at which a rejection may start another attempt, if the
  // last attempt of any kind started at `last_start`.
  absl::Duration NextStart(absl::Duration last_start) const {
    return last_start + wait_;
  }

  // An attempt that a rejection asked for has started. `wait` is the wait
  // before the next one.
  void OnStart(absl::Duration wait) {
    ++attempts_;
    wait_before_ = wait_;
    wait_ = wait;
  }

  // Replaces the wait before the next attempt.
  void SetWait(absl::Duration wait) { wait_ = wait; }

  // The last attempt turns out not to have started: it is another process's.
  void OnLost() {
    if (attempts_ == 0) return;
    --attempts_;
    wait_ = wait_before_;
  }

  // Forgets the attempts and what was rejected.
  void End() {
    attempts_ = 0;
    wait_ = wait_before_ = absl::ZeroDuration();
    noted_ = Generation();
  }

 private:
  // The generations whose bytes are those of the last one published.
  Generation first_;
  Generation last_;
  Generation noted_;  // The latest of them that was rejected, if in range.

  int attempts_ = 0;
  absl::Duration wait_ = absl::ZeroDuration();
  absl::Duration wait_before_ = absl::ZeroDuration();
};

}  // namespace internal
}  // namespace refreshable

#endif  // REFRESHABLE_REJECTION_ROW_H_
