// SPDX-License-Identifier: Apache-2.0
//
// ChainSource: asks several sources in order, until one has a token.

#ifndef REFRESHABLE_SOURCES_CHAIN_SOURCE_H_
#define REFRESHABLE_SOURCES_CHAIN_SOURCE_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/config.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "refreshable/credential.h"
#include "refreshable/executors/clock.h"
#include "refreshable/executors/internal/cpp17.h"  // IWYU pragma: keep
#include "refreshable/token_source.h"

namespace refreshable {
namespace internal {

// The failure of one member in one call.
struct ChainFailure {
  std::string member;
  absl::Status status;
};

// Returns the error of a chain whose members have all failed (see ChainSource).
// Requires: `failures` is not empty.
absl::Status ChainError(const std::vector<ChainFailure>& failures);

absl::Status ValidateChainMember(size_t index, const std::string& name,
                                 bool has_source, absl::Duration timeout);

// Returns whether a token with `expiry` has expired at `wall`.
bool HasExpired(const Expiry& expiry, absl::Time wall);

// A thread has an InAnswer while it runs the `done` that a chain gave to a
// member.
class InAnswer {
 public:
  InAnswer();
  InAnswer(const InAnswer&) = delete;
  InAnswer& operator=(const InAnswer&) = delete;
  ~InAnswer();
};

// Calls `destroy`, which destroys sources. Inside a member's answer
// (`InAnswer`), a new thread calls it, because a source's destructor may join
// the thread that answers. If no thread can be started, the sources are leaked.
void DestroyOutsideAnswers(absl::AnyInvocable<void() &&> destroy);

}  // namespace internal

// A source that asks other sources, its members, in order, until one of them
// has a token. The chain remembers that member and asks it first in later
// calls. If the remembered member fails, the chain forgets it and asks the
// other members from the start of the chain. An answer with an expired token is
// a failure.
//
//   using Chain = refreshable::ChainSource<std::string>;
//   absl::StatusOr<std::shared_ptr<refreshable::TokenSource<std::string>>>
//       source = Chain::Create({{{"file", file}, {"command", command}}});
//
// Each member gets the context that the chain got, with another timeout: the
// time that the chain has left, but at most `Member::timeout`. Set
// `Member::timeout` so that a slow member leaves time for the members after it.
// The chain does not interrupt a member whose timeout has passed.
//
// If a member fails and the attempt has been cancelled, the chain asks no other
// member, forgets none, and fails with CANCELLED. If a member fails and no time
// is left, the remaining members are not asked. They count as failed with
// DEADLINE_EXCEEDED.
//
// If all members have failed, the message of the chain's error contains each
// member's name and error. The code and the payloads are those of the first
// error that is
//
//   1. transient by `ClassifyFailure`. If there is none:
//   2. throttled by `ClassifyFailure`. If there is none:
//   3. not permanent by `ClassifyHttpFailure`. If there is none:
//   4. any error.
//
// So `ClassifyFailure` calls the chain's error permanent only if it calls every
// member's error permanent. The same holds for `ClassifyHttpFailure`. The
// Retry-After of the chain's error is the longest of its members' errors.
//
// A member that throws has failed with UNKNOWN. But if the member has called
// `done` or still keeps it, the chain ignores the exception. A member that
// drops `done` has failed with INTERNAL.
//
// Thread-safe. `Fetch` blocks as long as the `Fetch` of its members does. If a
// member fails after its `Fetch` has returned, the next member is asked on the
// thread that reports the failure. So if any member blocks, every member must
// report failures on threads that may block.
template <typename Token>
class ChainSource final : public TokenSource<Token> {
 public:
  struct Member {
    // The member's name in errors. Not empty; unique in the chain.
    std::string name;
    // Not null.
    std::shared_ptr<TokenSource<Token>> source;
    // The longest time that the member is given for one call; positive.
    absl::Duration timeout = absl::InfiniteDuration();
  };
  struct Options {
    // Not empty.
    std::vector<Member> members;
    // The clock for the time that a call has left, and for the expiry of
    // tokens. Not owned: it must outlive the source. If null, the SystemClock
    // is used.
    const Clock* clock = nullptr;
  };

  // Fails with INVALID_ARGUMENT if an option is invalid.
  static absl::StatusOr<std::shared_ptr<TokenSource<Token>>> Create(
      Options options) {
    if (options.members.empty()) {
      return absl::InvalidArgumentError("ChainSource: there is no member");
    }
    std::vector<absl::string_view> names;
    for (const Member& member : options.members) {
      absl::Status status = internal::ValidateChainMember(
          names.size(), member.name, member.source != nullptr, member.timeout);
      if (!status.ok()) return status;
      names.push_back(member.name);
    }
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) {
      return absl::InvalidArgumentError("ChainSource: two members are named " +
                                        std::string(*twice));
    }
    return std::shared_ptr<TokenSource<Token>>(
        new ChainSource(std::move(options)));
  }

  void Fetch(const FetchContext& context, FetchDone<Token> done) override {
    auto run = std::make_shared<Run>(core_, context, std::move(done));
    run->Advance(*core_);
  }

 private:
  static constexpr int kNone = -1;

  // What all calls of the chain share. Its owners are the chain and any thread
  // inside OnAnswer. A call that waits for an answer has only a weak pointer.
  // So the call does not keep the members alive.
  struct Core {
    explicit Core(Options o)
        : members(std::move(o.members)),
          clock(o.clock != nullptr ? *o.clock : SystemClock::Get()) {}

    const std::vector<Member> members;
    const Clock& clock;
    // The index of the remembered member, or kNone.
    std::atomic<int> remembered{kNone};
  };

  // One call of the chain. Used by one thread at a time, except for `joined_`.
  class Run : public std::enable_shared_from_this<Run> {
   public:
    Run(const std::shared_ptr<Core>& core, const FetchContext& context,
        FetchDone<Token> done)
        : core_(core),
          context_(context),
          start_(core->clock.Now().boot),
          done_(std::move(done)),
          remembered_(core->remembered.load(std::memory_order_relaxed)) {}

    // Asks one member after another. Returns when the call has ended, or when a
    // member's `Fetch` has returned without a failure. If the member fails
    // later, OnAnswer calls Advance again.
    void Advance(Core& core) {
      for (;;) {
        const int index = Next(core);
        if (index == kNone) return;
        joined_.store(false, std::memory_order_relaxed);
        AskMember(core, index);
        if (!SecondToJoin()) return;
      }
    }

   private:
    // Called twice for each member that fails: when it reports its failure, and
    // when its `Fetch` has returned. Either may come first. The second call
    // returns true, and its caller asks the next member.
    bool SecondToJoin() {
      return joined_.exchange(true, std::memory_order_acq_rel);
    }

    // Returns the member to ask now. If there is none, ends the call with an
    // error and returns kNone.
    int Next(Core& core) {
      const absl::Duration left = TimeLeft(core);
      if (!failures_.empty() && context_.cancelled()) {
        done_(absl::CancelledError("the attempt was cancelled"));
        return kNone;
      }
      for (;;) {
        const int index = Following(core);
        if (index == kNone) {
          done_(internal::ChainError(failures_));
          return kNone;
        }
        if (failures_.empty() || left > absl::ZeroDuration()) return index;
        failures_.push_back(
            {core.members[index].name,
             absl::DeadlineExceededError("not asked, as no time was left")});
      }
    }

    // Returns the next member in the order of this call: the remembered member,
    // then the others. Returns kNone after the last.
    int Following(Core& core) {
      if (!begun_) {
        begun_ = true;
        if (remembered_ != kNone) return remembered_;
      }
      if (position_ == remembered_) ++position_;
      const int size = static_cast<int>(core.members.size());
      return position_ < size ? position_++ : kNone;
    }

    absl::Duration TimeLeft(Core& core) const {
      return context_.timeout() - (core.clock.Now().boot - start_);
    }

    void AskMember(Core& core, int index) {
      const Member& member = core.members[index];
      const FetchContext context =
          context_.WithTimeout(std::min(TimeLeft(core), member.timeout));
      FetchDone<Token> done([run = this->shared_from_this(), index](
                                typename FetchDone<Token>::Result&& result) {
        run->OnAnswer(index, std::move(result));
      });
#ifdef ABSL_HAVE_EXCEPTIONS
      try {
        member.source->Fetch(context, std::move(done));
      } catch (...) {  // NOLINT(bugprone-empty-catch)
        // If the member has not called `done`, the destruction of `done`
        // reports a failure.
      }
#else
      member.source->Fetch(context, std::move(done));
#endif
    }

    void OnAnswer(int index, typename FetchDone<Token>::Result&& result) {
      const internal::InAnswer in_answer;
      const std::shared_ptr<Core> core = core_.lock();
      if (core == nullptr) return;  // The chain was destroyed.
      if (result.ok() &&
          !internal::HasExpired(result->expiry, core->clock.Now().wall)) {
        core->remembered.store(index, std::memory_order_relaxed);
        return done_(std::move(result));
      }
      Forget(*core, index);
      failures_.push_back(
          {core->members[index].name,
           result.ok() ? absl::UnavailableError("answered an expired token")
                       : result.status()});
      if (SecondToJoin()) Advance(*core);
    }

    // Forgets the member at `index`, which has failed. If the call was
    // cancelled, the member may have failed only for that reason, so it stays
    // remembered.
    void Forget(Core& core, int index) {
      if (!context_.cancelled()) {
        core.remembered.compare_exchange_strong(index, kNone,
                                                std::memory_order_relaxed);
      }
    }

    const std::weak_ptr<Core> core_;
    const FetchContext context_;
    const BootTime start_;
    FetchDone<Token> done_;
    const int remembered_;  // `Core::remembered` when the call began.
    bool begun_ = false;    // Whether a member was asked.
    int position_ = 0;      // The next index in the order of the chain.
    std::vector<internal::ChainFailure> failures_;
    // Whether SecondToJoin was called for the member that is being asked.
    std::atomic<bool> joined_{false};
  };

  explicit ChainSource(Options options)
      : core_(new Core(std::move(options)), [](Core* core) {
          internal::DestroyOutsideAnswers([core] { delete core; });
        }) {}

  const std::shared_ptr<Core> core_;
};

}  // namespace refreshable

#endif  // REFRESHABLE_SOURCES_CHAIN_SOURCE_H_
