// SPDX-License-Identifier: Apache-2.0
//
// The steps and answers of which scenarios consist.

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "refreshable/credential.h"
#include "refreshable/refresh_error.h"
#include "refreshable/testing/schedule_explorer.h"

namespace refreshable_testing {
namespace schedule {

Step::Step(std::string name, std::function<void(World&)> run) {
  actions_.push_back({std::move(name), std::move(run), nullptr});
}

Step Step::When(std::function<bool(const World&)> ready) && {
  auto& first = actions_.front().ready;
  first = first == nullptr
              ? std::move(ready)
              : [first, ready = std::move(ready)](const World& world) {
                  return first(world) && ready(world);
                };
  return std::move(*this);
}

Step Step::Then(Step next) && {
  for (Action& action : next.actions_) actions_.push_back(std::move(action));
  return std::move(*this);
}

Step Step::Times(int n) && {
  const std::vector<Action> once = actions_;
  for (int i = 1; i < n; ++i) {
    actions_.insert(actions_.end(), once.begin(), once.end());
  }
  return std::move(*this);
}

namespace {

std::string Named(absl::string_view name, absl::Duration d) {
  if (d == absl::InfiniteDuration()) return std::string(name);
  return absl::StrCat(name, " ", absl::FormatDuration(d));
}

std::string Rejecting(absl::string_view name, Rejects rejects) {
  return absl::StrCat(name, rejects == Rejects::kOld    ? " old"
                            : rejects == Rejects::kNext ? " next"
                                                        : "");
}

// Returns a step that can happen only while the Refreshable exists.
Step Alive(std::string name, std::function<void(World&)> run) {
  return Step(std::move(name), std::move(run)).When([](const World& world) {
    return !world.destroyed();
  });
}

}  // namespace

Step ReadAsync(absl::Duration timeout, std::optional<int> max_retries) {
  std::string name = Named("read", timeout);
  if (max_retries) absl::StrAppend(&name, " retries ", *max_retries);
  return Alive(std::move(name),
               [=](World& world) { world.ReadAsync(timeout, max_retries); });
}
Step ReadBlocking(absl::Duration timeout) {
  return Alive(Named("block", timeout),
               [=](World& world) { world.ReadBlocking(timeout); });
}
Step ReadNow() {
  return Alive("read now", [](World& world) { world.ReadNow(); });
}
Step RejectAsync(Rejects rejects, absl::Duration timeout) {
  return Alive(Named(Rejecting("reject", rejects), timeout), [=](World& world) {
    world.ReadAsync(timeout, std::nullopt, rejects);
  });
}
Step RejectBlocking(absl::Duration timeout, Rejects rejects) {
  return Alive(Named(Rejecting("block rejecting", rejects), timeout),
               [=](World& world) { world.ReadBlocking(timeout, rejects); });
}
Step ReportRejected() {
  return Alive("report", [](World& world) { world.ReportRejected(); });
}
Step CancelRead(size_t index) {
  return Step(absl::StrCat("cancel ", index),
              [=](World& world) { world.CancelRead(index); })
      .When([=](const World& world) { return world.cancellable(index); });
}
Step Invalidate() {
  return Alive("invalidate", [](World& world) { world.Invalidate(); });
}
Step InvalidateOld() {
  return Alive("invalidate old", [](World& world) { world.InvalidateOld(); });
}
Step Install(absl::Duration lifetime) {
  return Alive("install", [=](World& world) { world.Install(lifetime); });
}
Step Reset() {
  return Alive("reset", [](World& world) { world.Reset(); });
}
Step Destroy() {
  return Alive("destroy", [](World& world) { world.Destroy(); });
}
Step RefuseTasks() {
  return Do("refuse tasks", [](World& world) { world.TakeTasks(false); })
      .Then(Do("take tasks", [](World& world) { world.TakeTasks(true); }));
}
Step RefuseTimers() {
  return Do("refuse timers", [](World& world) { world.TakeTimers(false); })
      .Then(Do("take timers", [](World& world) { world.TakeTimers(true); }));
}
Step AnswerInside(const Answer& answer) {
  return Do(absl::StrCat("inside: ", answer.name),
            [=](World& world) { world.AnswerInside(answer); })
      .Then(Do("inside no more",
               [](World& world) { world.AnswerInside(std::nullopt); }));
}
Step Pass(absl::Duration d) {
  return Do(Named("pass", d), [=](World& world) { world.Pass(d); });
}
Step StepWall(absl::Duration d) {
  return Do(Named("wall", d), [=](World& world) { world.StepWall(d); });
}
Step Do(std::string name, std::function<void(World&)> run) {
  return Step(std::move(name), std::move(run));
}

Answer Fail(const absl::Status& status) {
  return {absl::IsUnavailable(status)
              ? "fail"
              : absl::StrCat("fail ", absl::StatusCodeToString(status.code())),
          [=](World&) { return status; }};
}
Answer FailFor(absl::Duration retry_after) {
  absl::Status status = absl::ResourceExhaustedError("busy");
  refreshable::SetRetryAfter(retry_after, status);
  return {Named("fail for", retry_after), [=](World&) { return status; }};
}
Answer BringInvalidated() {
  return {"bring invalidated", [](World& world) {
            const std::string& invalidated = world.oracle().invalidated();
            return refreshable::Credential<std::string>(
                invalidated.empty() ? world.NewToken() : invalidated,
                refreshable::Expiry::In(absl::Seconds(400)));
          }};
}
Answer BringSame(absl::Duration lifetime) {
  return {lifetime == absl::Seconds(400) ? "bring same"
                                         : Named("bring same for", lifetime),
          [=](World& world) {
            const Oracle& oracle = world.oracle();
            const bool same = !oracle.token().empty() && !oracle.LetGo();
            return refreshable::Credential<std::string>(
                same ? oracle.token() : world.NewToken(),
                refreshable::Expiry::In(lifetime));
          }};
}
Answer Drop() { return {"drop", nullptr}; }

}  // namespace schedule
}  // namespace refreshable_testing
