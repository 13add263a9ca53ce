// SPDX-License-Identifier: Apache-2.0
//
// Fuzzes the refresh machine. The bytes choose a policy and a series of steps.
// CheckedMachine checks each step against the contract.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "refreshable/fuzz/fuzzing.h"
#include "refreshable/machine/checked_machine_test_util.h"
#include "refreshable/machine/reference_model_test_util.h"
#include "refreshable/policy.h"

namespace refreshable {
namespace internal {
namespace {

using Input = MachineInput;

constexpr int kMaxSteps = 200;

absl::Duration Seconds(FuzzInput& in, int most) {
  return absl::Seconds(in.Below(most + 1));
}

RefreshPolicy ChoosePolicy(FuzzInput& in) {
  RefreshPolicy policy;
  policy.jitter = 0;
  if (in.Below(2) == 0) return policy;  // The defaults, without jitter.
  policy.expiry_margin = Seconds(in, 40);
  if (in.Below(2) == 0) policy.stale_window = Seconds(in, 20);
  policy.max_stale_window = Seconds(in, 20);
  policy.background_refresh = in.Below(4) != 0;
  policy.refresh_ahead = policy.background_refresh && in.Below(2) == 0;
  const absl::Duration cooldown = Seconds(in, 10);
  if (cooldown < absl::Seconds(10)) policy.background_cooldown = cooldown;
  policy.min_interval = Seconds(in, 3);
  policy.attempt_timeout = absl::Seconds(1) + Seconds(in, 6);
  policy.max_abandoned_calls = 1 + in.Below(3);
  policy.young_token_age = Seconds(in, 30);
  policy.max_stale_on_error = Seconds(in, 10);
  policy.retry.initial_backoff = absl::Seconds(1) + Seconds(in, 3);
  policy.retry.multiplier = 1 + in.Below(3);
  policy.retry.max_backoff = policy.retry.initial_backoff + Seconds(in, 60);
  if (in.Below(2) == 0) {
    policy.max_rejection_backoff =
        policy.retry.initial_backoff + Seconds(in, 60);
  }
  policy.retry.max_retries = in.Below(4);
  policy.retry.max_consecutive_failures =
      policy.retry.max_retries + 1 + in.Below(4);
  policy.retry.probe_interval = absl::Seconds(1) + Seconds(in, 60);
  policy.retry.max_retry_after = Seconds(in, 60);
  policy.retry.on_exhausted =
      in.OneOf({OnExhausted::kSelfHeal, OnExhausted::kFatal});
  if (policy.retry.on_exhausted == OnExhausted::kSelfHeal) {
    policy.retry.probe_interval =
        std::max(policy.retry.probe_interval, policy.retry.max_backoff);
  }
  return policy;
}

// Returns the id of an attempt or, in one case of four, any number below 256.
AttemptId ChooseCall(FuzzInput& in, const ReferenceModel& f) {
  const int n = in.Below(4);
  if (n == 3) return AttemptId{static_cast<uint64_t>(in.Below(256))};
  if (n > 0 && !f.abandoned.empty()) {
    return f.abandoned[std::min<size_t>(n, f.abandoned.size()) - 1].id;
  }
  return f.running.has_value() ? f.running->id : f.last_submitted;
}

// Returns how long the call of attempt `id` has been in progress, or 0.
Ms Elapsed(const ReferenceModel& f, AttemptId id) {
  if (f.running.has_value() && f.running->id == id) {
    return f.t - f.running->started;
  }
  for (const ReferenceModel::Call& call : f.abandoned) {
    if (call.id == id) return f.t - call.started;
  }
  return 0;
}

// Returns kNever or whole seconds, which may be negative.
Ms ChooseLife(FuzzInput& in) {
  return in.Below(16) == 0 ? kNever : 1000 * (in.Below(128) - 3);
}

Input ChooseInput(FuzzInput& in, const ReferenceModel& f) {
  Input input;
  switch (in.Below(16)) {
    case 0:
      input.kind = Input::kTime;
      input.ms = 250 * in.Below(32);
      break;
    case 1: {
      // Time passes until a moment that matters, or until 1 ms before it.
      input.kind = Input::kTime;
      const Ms at = in.OneOf({f.WakeAt(), f.NotBefore(), f.CheckAt().boot});
      if (at > f.t && at < kNever) input.ms = at - f.t - in.Below(2);
      break;
    }
    case 2:
      // Up to two hours pass at once, as in a suspend, or the wall clock is
      // set.
      input.kind = in.OneOf({Input::kTime, Input::kWallStep});
      input.ms = 1000 * 60 * (in.Below(240) - 120);
      if (input.kind == Input::kTime) input.ms = std::max<Ms>(input.ms, 0);
      break;
    case 3:
      input.kind = Input::kWallStep;
      input.ms = 1000 * (in.Below(64) - 32);
      break;
    case 4:
    case 5:
    case 6:
      input.kind = Input::kRead;
      input.ms = in.Below(2) == 0 ? kNever : 1000 * in.Below(64);
      input.number = in.Below(6) - 1;
      if (in.Below(2) == 1) input.rejects = in.Below(4) - 2;
      break;
    case 7:
    case 8:
      input.kind = Input::kStart;
      input.id = in.Below(8) == 0 ? ChooseCall(in, f) : f.queued;
      break;
    case 9:
    case 10:
      input.kind = Input::kSucceed;
      input.id = ChooseCall(in, f);
      input.ms = ChooseLife(in);
      input.relative = in.Below(2) == 1;
      // A relative lifetime counts from the start of the call. The time since
      // then is added, so that the remaining life is whole seconds. The model
      // counts in milliseconds, and uses a quarter of the remaining life (F4).
      if (input.relative && input.ms < kNever) {
        input.ms += Elapsed(f, input.id);
      }
      input.same_as = in.Below(4) == 3;
      if (in.Below(4) == 3) input.refresh_in = 1000 * in.Below(128);
      break;
    case 11:
    case 12:
      input.kind = Input::kFail;
      input.id = ChooseCall(in, f);
      input.number = in.Below(3);
      input.ms = in.Below(2) == 0 ? -1 : 1000 * in.Below(90);
      break;
    case 13:
      input.kind = in.OneOf({Input::kWake, Input::kWakeLost});
      break;
    case 14:
      input.kind = in.Below(2) == 0 ? Input::kInvalidate : Input::kReport;
      input.number = in.Below(4) == 3 ? 1 : 0;
      break;
    default:
      input.kind = in.OneOf(
          {Input::kInstall, Input::kReset, Input::kFork, Input::kLost});
      if (input.kind == Input::kInstall) {
        input.ms = ChooseLife(in);
        if (in.Below(4) == 3) input.refresh_in = 1000 * in.Below(128);
      }
      if (input.kind == Input::kLost) {
        input.id = in.Below(4) == 0 ? ChooseCall(in, f) : f.queued;
      }
  }
  return input;
}

}  // namespace
}  // namespace internal
}  // namespace refreshable

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace refreshable;            // NOLINT
  using namespace refreshable::internal;  // NOLINT
  FuzzInput in(data, size);
  const RefreshPolicy policy = ChoosePolicy(in);
  Require(Validate(policy).ok(), "the policy is valid");
  const ModelPolicy rules(policy);
  CheckedMachine machine(&rules, /*counts=*/nullptr);
  std::string story;
  const auto check = [&](const std::string& broken) {
    if (broken.empty()) return;
    std::ostringstream with;
    with << policy;
    Require(false,
            absl::StrCat(broken, "\nafter: ", story, "\nwith: ", with.str()));
  };
  for (int i = 0; i < kMaxSteps && !in.AtEnd(); ++i) {
    const MachineInput input = ChooseInput(in, machine.facts());
    absl::StrAppend(&story, ToString(input), "; ");
    check(machine.Apply(input));
  }
  check(machine.CheckRecovers());
  return 0;
}
