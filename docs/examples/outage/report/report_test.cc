// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/report/report.h"

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "docs/examples/outage/report/picture.h"
#include "docs/examples/outage/report/timeline.h"
#include "gtest/gtest.h"

namespace refreshable_examples {
namespace {

Sample At(int seconds, int64_t calls) {
  Tally tally;
  tally.calls = calls;
  tally.failed = calls / 10;
  tally.expired_sent = 3;
  tally.expired_in_transit = 4;
  tally.revoked = 5;
  Sample sample;
  sample.at = absl::Seconds(seconds);
  sample.endpoint = "502";
  sample.clients = {{"ours", {"fresh", 7}, tally, calls / 100},
                    {"other", {"locked out", 0}, tally, calls / 10}};
  return sample;
}

TEST(ReportTest, ProgressLinesShowWhatCameSinceTheLast) {
  EXPECT_EQ(ProgressLine(At(8, 1000), At(9, 1300)),
            "    9 s  502        | fresh       7    300      30       3"
            " |   300      30      30\n");
  const std::string header = ProgressHeader(At(0, 0));
  EXPECT_TRUE(absl::StrContains(header, "| ours"));
  EXPECT_TRUE(absl::StrContains(header, "| other\n"));
  EXPECT_TRUE(
      absl::StrContains(header, "state     gen  calls  failed  tokens"));
}

TEST(ReportTest, TheTableHasARowForEachAndWhatIsAllowed) {
  Tally healed = At(0, 1000).clients[0].tally;
  healed.healed_after = absl::Milliseconds(470);
  const std::string table =
      Table({{"ours", 9, healed}, {"other", 4752, Tally()}},
            {10, absl::Seconds(4.5)});
  EXPECT_TRUE(absl::StrContains(
      table,
      "  ours                      9           0.47 s     1000      100"
      "        3          4        5\n"))
      << table;
  EXPECT_TRUE(absl::StrContains(
      table,
      "  other                  4752            never        0        0"
      "        0          0        0\n"))
      << table;
  EXPECT_TRUE(absl::StrContains(
      table, "  allowed                  10           4.50 s"))
      << table;
}

TEST(TimelineTest, CsvRowsHaveTheColumnsOfTheHeader) {
  const Sample sample = At(9, 1000);
  EXPECT_EQ(CsvHeader(sample),
            "seconds,endpoint,ours_state,ours_generation,ours_calls,"
            "ours_failed,ours_token_requests,ours_expired_sent,"
            "ours_expired_in_transit,ours_revoked,other_state,"
            "other_generation,other_calls,other_failed,other_token_requests,"
            "other_expired_sent,other_expired_in_transit,other_revoked\n");
  EXPECT_EQ(CsvRow(sample),
            "9.000,502,fresh,7,1000,100,10,3,4,5,locked out,0,1000,100,100,3,"
            "4,5\n");
}

TEST(TimelineTest, TheCsvFileSaysWhatItCannotWrite) {
  EXPECT_FALSE(CsvFile::Open("").ok());
  const auto csv = CsvFile::Open("/no/such/folder/x.csv");
  ASSERT_FALSE(csv.ok());
  EXPECT_EQ(csv.status().message(),
            "cannot write /no/such/folder/x.csv: No such file or directory");
}

TEST(PictureTest, TheScriptNamesFilesColumnsAndSpans) {
  const std::string script =
      GnuplotScript("/tmp/it's.csv", "/tmp/out.png", {"ours", "other"},
                    {{"healthy", false, absl::ZeroDuration(), absl::Seconds(2)},
                     {"502", true, absl::Seconds(2), absl::Seconds(5)}});
  EXPECT_TRUE(absl::StrContains(script, "set output '/tmp/out.png'\n"));
  // ours_token_requests is the 7th column, other_token_requests the 15th.
  EXPECT_TRUE(
      absl::StrContains(script, "'/tmp/it''s.csv' skip 1 using 1:7 with"));
  EXPECT_TRUE(
      absl::StrContains(script, "'/tmp/it''s.csv' skip 1 using 1:15 with"));
  EXPECT_TRUE(absl::StrContains(script, "rate(1, $1, $5 - $6)"));
  EXPECT_TRUE(absl::StrContains(script, "rate(2, $1, $13 - $14)"));
  EXPECT_TRUE(absl::StrContains(script, "from first 2.000"));
  EXPECT_FALSE(absl::StrContains(script, "from first 0.000"));
  EXPECT_TRUE(absl::StrContains(script, "label 1 'healthy' at first 1.000"));
  EXPECT_TRUE(absl::StrContains(script, "set xrange [0:5.000]"));
}

}  // namespace
}  // namespace refreshable_examples
