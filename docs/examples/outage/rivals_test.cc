// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/rivals.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "refreshable/executors/manual_executor.h"

namespace refreshable_examples {
namespace {

using refreshable::Credential;
using refreshable::Expiry;

class RivalsTest : public testing::Test {
 protected:
  // The Mint counts its calls in `minted_`, and fails while `down_` is true.
  Mint CountingMint() {
    return [this]() -> absl::StatusOr<Credential<std::string>> {
      ++minted_;
      if (down_) return absl::UnavailableError("502");
      return Credential<std::string>("token", Expiry::In(absl::Seconds(80)));
    };
  }

  void Advance(int seconds) { executor_.AdvanceBy(absl::Seconds(seconds)); }

  refreshable::ManualExecutor executor_;
  int minted_ = 0;
  bool down_ = false;
};

TEST_F(RivalsTest, TheHammerMintsOnEveryFailedCall) {
  Hammer hammer(CountingMint(), &executor_.clock());
  absl::StatusOr<Bearer> bearer = hammer.Token();
  ASSERT_TRUE(bearer.ok());
  EXPECT_EQ(minted_, 1);
  EXPECT_EQ(bearer->expires_at,
            executor_.clock().Now().wall + absl::Seconds(80));
  Advance(100);
  // The token has expired, but a Hammer does not check the expiry.
  bearer = hammer.Token();
  EXPECT_TRUE(bearer.ok());
  EXPECT_EQ(minted_, 1);
  down_ = true;
  for (int call = 1; call <= 50; ++call) {
    EXPECT_FALSE(hammer.OnRejected(*bearer));
    EXPECT_EQ(minted_, 1 + call);
  }
  down_ = false;
  EXPECT_TRUE(hammer.OnRejected(*bearer));
  EXPECT_EQ(hammer.state().generation, 2u);
}

TEST_F(RivalsTest, TheHammerMintsForEveryCallWhileItHasNone) {
  down_ = true;
  Hammer hammer(CountingMint(), &executor_.clock());
  for (int call = 1; call <= 50; ++call) {
    EXPECT_FALSE(hammer.Token().ok());
    EXPECT_EQ(minted_, call);
  }
}

class LockoutTest : public RivalsTest {
 protected:
  Lockout lockout_{CountingMint(), &executor_.clock(), absl::Seconds(1), 5};
};

TEST_F(LockoutTest, RefreshesAnExpiredTokenBeforeTheCall) {
  ASSERT_TRUE(lockout_.Token().ok());
  Advance(79);
  ASSERT_TRUE(lockout_.Token().ok());
  EXPECT_EQ(minted_, 1);
  Advance(1);
  const auto bearer = lockout_.Token();
  ASSERT_TRUE(bearer.ok());
  EXPECT_EQ(minted_, 2);
  EXPECT_GT(bearer->expires_at, executor_.clock().Now().wall);
}

TEST_F(LockoutTest, OneRefreshForManyRejectionsOfOneToken) {
  const auto bearer = lockout_.Token();
  ASSERT_TRUE(bearer.ok());
  EXPECT_TRUE(lockout_.OnRejected(*bearer));
  EXPECT_TRUE(lockout_.OnRejected(*bearer));
  EXPECT_EQ(minted_, 2);
}

TEST_F(LockoutTest, WaitsTwoToTheNAndThenGivesUpForGood) {
  down_ = true;
  EXPECT_FALSE(lockout_.Token().ok());
  EXPECT_EQ(minted_, 1);
  for (const int wait : {2, 4, 8, 16}) {
    const int before = minted_;
    Advance(wait - 1);
    EXPECT_FALSE(lockout_.Token().ok());
    EXPECT_EQ(minted_, before);
    Advance(1);
    EXPECT_FALSE(lockout_.Token().ok());
    EXPECT_EQ(minted_, before + 1);
  }
  EXPECT_EQ(minted_, 5);
  EXPECT_EQ(lockout_.state().name, "locked out");
  down_ = false;
  Advance(24 * 60 * 60);
  EXPECT_FALSE(lockout_.Token().ok());
  EXPECT_EQ(minted_, 5);
}

TEST_F(LockoutTest, ASuccessResetsTheCount) {
  down_ = true;
  for (const int wait : {0, 2, 4, 8}) {
    Advance(wait);
    EXPECT_FALSE(lockout_.Token().ok());
  }
  down_ = false;
  Advance(16);
  EXPECT_TRUE(lockout_.Token().ok());
  down_ = true;
  Advance(80);
  EXPECT_FALSE(lockout_.Token().ok());
  EXPECT_EQ(lockout_.state().name, "backs off");
}

}  // namespace
}  // namespace refreshable_examples
