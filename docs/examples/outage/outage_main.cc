// SPDX-License-Identifier: Apache-2.0
//
// A token endpoint breaks, and three clients live through it:
//
//   bazel run //docs/examples:outage

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "docs/examples/outage/outage_run.h"
#include "docs/examples/outage/timeline.h"

ABSL_FLAG(std::string, csv, "",
          "file for the timeline; unset: a new one under $TMPDIR or /tmp");

namespace refreshable_examples {
namespace {

// The file that --csv names, seen from where `bazel run` was typed.
absl::StatusOr<std::string> CsvPath() {
  const std::string path = absl::GetFlag(FLAGS_csv);
  if (path.empty()) return DefaultCsvPath();
  const char* folder = std::getenv("BUILD_WORKING_DIRECTORY");
  if (folder == nullptr || absl::StartsWith(path, "/")) return path;
  return absl::StrCat(folder, "/", path);
}

absl::Status Main(const std::vector<char*>& arguments) {
  if (arguments.size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("unexpected argument: ", arguments[1]));
  }
  const absl::StatusOr<std::string> csv_path = CsvPath();
  if (!csv_path.ok()) return csv_path.status();
  return RunOutage(*csv_path);
}

}  // namespace
}  // namespace refreshable_examples

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // A peer that has gone is an error, no end.
  absl::SetProgramUsageMessage(
      "Breaks a token endpoint on loopback and shows how three clients live "
      "through it.");
  const absl::Status status =
      refreshable_examples::Main(absl::ParseCommandLine(argc, argv));
  if (status.ok()) return 0;
  std::fprintf(stderr, "outage: %s\n", std::string(status.message()).c_str());
  return 1;
}
