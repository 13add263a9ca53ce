// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/fault_injection/server_process.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace refreshable_examples {
namespace {

// The path at which Bazel's tests and `bazel run` find the program.
constexpr char kProgram[] = "docs/examples/fault_injection/fault_server_main";

constexpr absl::Duration kAnswerTimeout = absl::Minutes(1);

int64_t Number(absl::string_view text) {
  int64_t number = -1;
  return absl::SimpleAtoi(text, &number) ? number : -1;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServerProcess>> ServerProcess::Start() {
  absl::StatusOr<FreePort> port = FreePort::Get();
  if (!port.ok()) return port.status();
  std::unique_ptr<ServerProcess> server(new ServerProcess(*std::move(port)));
  const absl::Status started = server->StartAgain();
  if (!started.ok()) return started;
  return server;
}

ServerProcess::ServerProcess(FreePort port) : port_(std::move(port)) {}

absl::Status ServerProcess::StartAgain() {
  auto child =
      ChildProcess::Start(kProgram, {absl::StrCat(port_.number())},
                          [this](absl::string_view line) { Hear(line); });
  if (!child.ok()) return child.status();
  child_ = *std::move(child);
  AwaitAnswer("ready");
  return absl::OkStatus();
}

void ServerProcess::SetFault(Fault fault) {
  const std::string command = absl::StrCat("fault ", FaultName(fault));
  Ask(command, command);
}

void ServerProcess::Revoke(absl::string_view token) {
  Ask(absl::StrCat("revoke ", token), "revoked");
}

ServerProcess::ApiCounts ServerProcess::CountApi() {
  const std::vector<std::string> counts =
      absl::StrSplit(Ask("counts", "counts "), ' ');
  if (counts.size() != 4) return {};
  return {Number(counts[0]), Number(counts[1]), Number(counts[2]),
          Number(counts[3])};
}

std::string ServerProcess::origin() const {
  return absl::StrCat("http://127.0.0.1:", port_.number());
}

void ServerProcess::Hear(absl::string_view line) {
  absl::MutexLock lock(&mu_);
  if (absl::ConsumePrefix(&line, "token ")) {
    ++token_requests_[Number(line)];
  } else if (absl::ConsumePrefix(&line, "sent ")) {
    const std::vector<absl::string_view> parts = absl::StrSplit(line, ' ');
    most_sent_ = std::max(most_sent_, Number(parts.back()));
    ++huge_answers_;
  } else {
    said_ = std::string(line);
  }
}

std::string ServerProcess::Ask(absl::string_view command,
                               absl::string_view answer) {
  child_->Tell(command);
  return AwaitAnswer(answer);
}

std::string ServerProcess::AwaitAnswer(absl::string_view answer) {
  const auto answered = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return absl::StartsWith(said_, answer);
  };
  absl::MutexLock lock(&mu_);
  if (!mu_.AwaitWithTimeout(absl::Condition(&answered), kAnswerTimeout)) {
    std::fprintf(stderr, "%s does not say \"%s\"\n", kProgram,
                 std::string(answer).c_str());
    std::abort();
  }
  return std::exchange(said_, "").substr(answer.size());
}

std::map<int64_t, int> ServerProcess::token_requests() const {
  absl::MutexLock lock(&mu_);
  return token_requests_;
}

bool ServerProcess::AwaitTokenRequest(int64_t number,
                                      absl::Duration timeout) const {
  const auto arrived = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return token_requests_.count(number) > 0;
  };
  absl::MutexLock lock(&mu_);
  return mu_.AwaitWithTimeout(absl::Condition(&arrived), timeout);
}

std::optional<int64_t> ServerProcess::AwaitMostSent(
    int64_t count, absl::Duration timeout) const {
  const auto ended = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return huge_answers_ >= count;
  };
  absl::MutexLock lock(&mu_);
  if (!mu_.AwaitWithTimeout(absl::Condition(&ended), timeout)) {
    return std::nullopt;
  }
  return most_sent_;
}

}  // namespace refreshable_examples
