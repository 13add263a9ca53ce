// SPDX-License-Identifier: Apache-2.0
//
// The tokens in these tests contain a mark. The mark must not appear in
// anything that is printed, not even in a dump of raw bytes.

#include <array>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/base/config.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "fmt/format.h"
#include "gtest/gtest.h"
#include "refreshable/call_with_token.h"
#include "refreshable/executors/manual_executor.h"
#include "refreshable/format.h"
#include "refreshable/http_error.h"
#include "refreshable/observers.h"
#include "refreshable/refreshable.h"
#include "refreshable/testing/scripted_source.h"

namespace refreshable {
namespace {

using ::refreshable_testing::ScriptedSource;

// GoogleTest prints raw bytes in hexadecimal, with separators: "74-6F 6B-2D
// ...".
constexpr absl::string_view kMark = "tok-7f3a9";
constexpr absl::string_view kHexMark = "746F6B2D3766336139";

bool IsMarked(absl::string_view printed) {
  return printed.find(kMark) != absl::string_view::npos ||
         absl::StrReplaceAll(printed, {{"-", ""}, {" ", ""}}).find(kHexMark) !=
             std::string::npos;
}

// A token that stores its bytes inline. It has no printer and no operator==.
struct BareToken {
  explicit BareToken(absl::string_view text) {
    text.copy(bytes.data(), bytes.size());
  }
  std::array<char, 16> bytes = {};
};

TEST(SecrecyTest, S3TheDetectorSeesAMark) {
  EXPECT_TRUE(IsMarked(testing::PrintToString(std::string(kMark))));
  EXPECT_TRUE(IsMarked(testing::PrintToString(BareToken("tok-7f3a9"))));
  EXPECT_TRUE(IsMarked(testing::PrintToString(BareToken("x tok-7f3a9"))));
  EXPECT_FALSE(IsMarked(testing::PrintToString(BareToken("tok-7f3a8"))));
}

// Expects that the mark does not appear when `value` is printed.
template <typename Value>
void LookAt(const Value& value) {
  std::ostringstream os;
  os << value;
  EXPECT_FALSE(IsMarked(os.str())) << os.str();
  EXPECT_FALSE(IsMarked(fmt::format("{}", value)));
  EXPECT_FALSE(IsMarked(testing::PrintToString(value)));
}

void LookAt(const absl::Status& status) {
  // The text that ToString returns includes the payloads.
  EXPECT_FALSE(IsMarked(status.ToString())) << status;
  EXPECT_FALSE(IsMarked(testing::PrintToString(status)));
  if (const auto error = GetRefreshError(status)) LookAt(*error);
}

template <typename Token>
void LookAt(const absl::StatusOr<Lease<Token>>& lease) {
  EXPECT_FALSE(IsMarked(testing::PrintToString(lease)));
  if (lease.ok()) {
    LookAt(*lease);
  } else {
    LookAt(lease.status());
  }
}

class LookingObserver final : public Observer {
 public:
  void OnEvent(const Event& event) override {
    LookAt(event);
    LookAt(event.status);
    lines_.OnEvent(event);
  }
  int lines() const { return written_; }

 private:
  int written_ = 0;
  LineObserver lines_{"name", [this](const std::string& line) {
                        ++written_;
                        EXPECT_FALSE(IsMarked(line)) << line;
                      }};
};

template <typename TokenType>
class SecrecyTest : public testing::Test {
 protected:
  using Token = TokenType;

  SecrecyTest() {
    options_.executor = &executor_;
    options_.observer = observer_;
    options_.policy.jitter = 0;
    options_.on_token_changed = [this](const Lease<Token>& lease) {
      ++changes_;
      LookAt(lease);
#ifdef ABSL_HAVE_EXCEPTIONS
      throw std::runtime_error(std::string(kMark));
#endif
    };
  }

  static Credential<Token> Marked(Expiry expiry = Expiry::In(absl::Hours(1))) {
    return Credential<Token>(Token(kMark), expiry);
  }
  // Returns a marked token that differs from all earlier tokens.
  Credential<Token> MarkedAnew() {
    return Credential<Token>(Token(absl::StrCat(kMark, "-", ++serial_)),
                             Expiry::In(absl::Hours(1)));
  }

  void Make() {
    token_ = *Refreshable<Token>::Create(source_.Share(), options_);
  }

  // Looks at the results of reads, and at everything else that can be printed.
  void LookAround() {
    LookAt(token_->Get(absl::ZeroDuration()));
    LookAt(token_->TryGet());
    bool called = false;
    token_->GetAsync(absl::ZeroDuration(),
                     [&](absl::StatusOr<Lease<Token>> lease) {
                       called = true;
                       LookAt(lease);
                     });
    executor_.RunUntilIdle();
    EXPECT_TRUE(called);
    LookAt(token_->health());
    LookAt(token_->health().last_cause);
    LookAt(token_->stats());
    EXPECT_FALSE(IsMarked(testing::PrintToString(*token_)));
    EXPECT_FALSE(IsMarked(testing::PrintToString(options_.policy)));
    for (const auto& call : source_.calls()) LookAt(call.context);
  }
  void Advance(absl::Duration d) {
    executor_.AdvanceBy(d);
    LookAround();
  }

  int serial_ = 0;
  int changes_ = 0;
  ManualExecutor executor_;
  ScriptedSource<Token> source_{&executor_.clock()};
  std::shared_ptr<LookingObserver> observer_ =
      std::make_shared<LookingObserver>();
  typename Refreshable<Token>::Options options_;
  std::shared_ptr<Refreshable<Token>> token_;
};

using TokenTypes = testing::Types<std::string, Secret, BareToken>;
TYPED_TEST_SUITE(SecrecyTest, TokenTypes);

TYPED_TEST(SecrecyTest, S3ValuesOnTheirOwn) {
  const auto credential = this->Marked();
  LookAt(credential);
  const absl::StatusOr<Credential<TypeParam>> result = this->Marked();
  EXPECT_FALSE(IsMarked(testing::PrintToString(result)));
  EXPECT_FALSE(IsMarked(testing::PrintToString(
      std::vector<Credential<TypeParam>>{this->Marked(), this->Marked()})));
}

TYPED_TEST(SecrecyTest, S3SuccessStaleAndExpiry) {
  this->Make();
  this->LookAround();
  this->source_.Release(0, this->Marked());
  this->LookAround();
  this->Advance(absl::Minutes(41));  // The token becomes stale.
  this->source_.Release(1, absl::UnavailableError("down"));
  this->LookAround();
  this->Advance(absl::Minutes(2));  // The cooldown ends.
  this->source_.Release(2, this->MarkedAnew());
  this->LookAround();
  this->source_.Always(absl::UnavailableError("down"));
  this->Advance(absl::Hours(2));
  this->Advance(absl::Hours(2));
  EXPECT_TRUE(this->token_->health().exhausted);
  this->source_.Always(HttpErrorToStatus(
      401, {{"Authorization", "Bearer tok-7f3a9"}}, absl::UnixEpoch(), kMark));
  this->Advance(absl::Minutes(2));
  this->source_.AlwaysHold();
  this->Advance(absl::Minutes(2));
  EXPECT_EQ(this->changes_, 2);
  EXPECT_GT(this->observer_->lines(), 10);
}

TYPED_TEST(SecrecyTest, S3ExpiredAnswersAndFatalExhaustion) {
  this->options_.policy.retry.on_exhausted = OnExhausted::kFatal;
  this->options_.policy.retry.max_retries = 1;
  this->options_.policy.retry.max_consecutive_failures = 2;
  this->Make();
  for (int i = 0; i < 2; ++i) {
    this->source_.Answer(this->Marked(Expiry::In(-absl::Seconds(1))));
  }
  LookAt(this->token_->Get());
  this->LookAround();
  EXPECT_TRUE(this->token_->health().fatal);
  LookAt(this->token_->Get());
  this->token_->Reset();
  this->LookAround();
}

TYPED_TEST(SecrecyTest, S3RejectionAndTheSameTokenAgain) {
  this->Make();
  this->source_.Answer(this->Marked());
  LookAt(this->token_->Get());
  this->Advance(absl::Minutes(1));
  this->source_.Answer(this->Marked());
  EXPECT_TRUE(this->token_->Invalidate(Generation(1)));
  this->LookAround();
  this->LookAround();
  this->source_.Answer(this->MarkedAnew());
  this->Advance(absl::Minutes(5));
  EXPECT_TRUE(this->token_->TryGet().ok());
}

TYPED_TEST(SecrecyTest, S3LateAnswersInstallAndCancel) {
  this->Make();
  this->LookAround();
  this->executor_.AdvanceBy(absl::Seconds(30));  // The attempt is abandoned.
  LookAt(this->token_->Install(this->Marked(Expiry::In(-absl::Seconds(1))))
             .status());
  EXPECT_TRUE(this->token_->Install(this->Marked()).ok());
  this->source_.Release(0, this->MarkedAnew());  // This answer is discarded.
  EXPECT_EQ(this->token_->stats().attempts_discarded, 1);
  this->LookAround();
  this->Advance(absl::Hours(1));
  const WaiterId id = this->token_->GetAsync(
      absl::InfiniteDuration(), [](absl::StatusOr<Lease<TypeParam>>) {
        ADD_FAILURE() << "was cancelled";
      });
  EXPECT_FALSE(IsMarked(testing::PrintToString(id)));
  EXPECT_TRUE(this->token_->Cancel(id));
  this->LookAround();
}

TYPED_TEST(SecrecyTest, S3Degraded) {
  this->options_.policy.max_stale_on_error = absl::Hours(1);
  this->Make();
  this->source_.Answer(this->Marked());
  this->source_.Always(absl::UnavailableError("down"));
  LookAt(this->token_->Get());
  this->Advance(absl::Hours(1));
  this->Advance(absl::Minutes(1));
  const auto lease = this->token_->Get();
  EXPECT_TRUE(lease.ok() && lease->degraded());
  LookAt(lease);
}

TYPED_TEST(SecrecyTest, S3CallWithToken) {
  this->Make();
  this->source_.Answer(this->Marked());
  const auto refuse = [](const Lease<TypeParam>& lease) {
    LookAt(lease);
    return absl::UnauthenticatedError("no");
  };
  LookAt(CallWithToken(*this->token_, {absl::Seconds(5)}, refuse,
                       absl::IsUnauthenticated));
  CallWithTokenAsync<absl::Status>(
      *this->token_, {absl::Seconds(5)},
      [](Lease<TypeParam> lease, auto) { LookAt(lease); },
      absl::IsUnauthenticated, [](absl::Status status) { LookAt(status); });
  this->LookAround();
}

TYPED_TEST(SecrecyTest, S3SourcesThatThrowOrDrop) {
  this->Make();
#ifdef ABSL_HAVE_EXCEPTIONS
  this->source_.AnswerWith(
      [](const FetchContext&) -> absl::StatusOr<Credential<TypeParam>> {
        throw std::runtime_error(std::string(kMark));
      });
  LookAt(this->token_->Get());
  this->LookAround();
#endif
  this->Advance(absl::Minutes(1));
  this->source_.Drop(this->source_.call_count() - 1);
  this->LookAround();
}

TYPED_TEST(SecrecyTest, S3Destruction) {
  this->Make();
  this->source_.Answer(this->Marked());
  LookAt(this->token_->Get());
  const auto lease = this->token_->Get();
  this->Advance(absl::Hours(1));
  bool called = false;
  this->token_->GetAsync(absl::InfiniteDuration(),
                         [&](absl::StatusOr<Lease<TypeParam>> outcome) {
                           called = true;
                           LookAt(outcome);
                         });
  this->token_ = nullptr;
  EXPECT_TRUE(called);
  LookAt(lease);
  this->source_.Release(1, this->Marked());
}

}  // namespace
}  // namespace refreshable
