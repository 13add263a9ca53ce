// SPDX-License-Identifier: Apache-2.0
//
// Runs the conformance suite for token sources.

#include "notes/session_source.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "notes/transport.h"
#include "refreshable/testing/conformance.h"
#include "refreshable/testing/token_source_conformance.h"

namespace notes {
namespace {

// [rig]
// A login server that issues a new session for each request. While `failing` is
// true, the server answers 401. The body of this answer is the authorization, a
// secret that no status may contain.
class FakeLogin : public Transport {
 public:
  absl::StatusOr<Response> Send(const std::string&, const std::string&,
                                const std::string& authorization) override {
    if (failing) return Response{401, authorization};
    return Response{200, absl::StrCat("key", ++last, " eu 3600")};
  }

  std::atomic<bool> failing{false};
  std::atomic<int> last{0};
};

class SessionRig : public refreshable_testing::TokenSourceRig<Session> {
 public:
  std::shared_ptr<refreshable::TokenSource<Session>> Make() override {
    return std::make_shared<SessionSource>(login_, "api-key");
  }
  std::string Bytes(const Session& session) override { return session.key; }

  bool Fail() override { return login_->failing = true; }
  void Heal() override { login_->failing = false; }
  std::optional<absl::Duration> Lifetime() override { return absl::Hours(1); }
  std::vector<std::string> Secrets() override { return {"api-key"}; }

 private:
  const std::shared_ptr<FakeLogin> login_ = std::make_shared<FakeLogin>();
};

using refreshable_testing::TokenSourceConformanceTest;
using refreshable_testing::TokenSourceSubject;

INSTANTIATE_TEST_SUITE_P(Notes, TokenSourceConformanceTest,
                         testing::Values(TokenSourceSubject{
                             "SessionSource",
                             [] { return std::make_unique<SessionRig>(); }}),
                         refreshable_testing::SubjectName());
// [/rig]

}  // namespace
}  // namespace notes
