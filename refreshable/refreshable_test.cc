// SPDX-License-Identifier: Apache-2.0

#include "refreshable/refreshable.h"

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "executors/manual_executor.h"
#include "gtest/gtest.h"

namespace refreshable {
namespace {

TEST(RefreshableTest, FirstReadFetches) {
  ManualExecutor executor;
  auto token = Refreshable<std::string>::Create(
      BlockingSource<std::string>(
          []() -> absl::StatusOr<Credential<std::string>> {
            return Credential<std::string>{"t1", Expiry::In(absl::Hours(1))};
          }),
      {&executor});
  ASSERT_TRUE(token.ok());
  auto lease = (*token)->Get(absl::Seconds(5));
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_EQ(lease->token(), "t1");
  EXPECT_EQ(lease->generation(), Generation(1));
}

}  // namespace
}  // namespace refreshable
