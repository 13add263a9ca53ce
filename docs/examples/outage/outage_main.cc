// SPDX-License-Identifier: Apache-2.0
//
// A token endpoint fails, and three clients have to cope with it:
//
//   bazel run //docs/examples:outage
//
// To write an SDK, start from copies of `client.h`, `http_transport.*`,
// `oauth_source.*`, `refreshable_client.h` and `url.*`.
//
// With --token_url, the program instead keeps a token of a real OAuth 2.0
// server valid.

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "docs/examples/outage/keep_token.h"
#include "docs/examples/outage/outage_run.h"
#include "docs/examples/outage/report/timeline.h"
#include "docs/examples/outage/url.h"
#include "refreshable/secret.h"

ABSL_FLAG(std::string, csv, "",
          "file for the timeline; unset: a new one under $TMPDIR or /tmp");
ABSL_FLAG(std::string, token_url, "",
          "token endpoint of a real OAuth 2.0 server, to be used instead");
ABSL_FLAG(std::string, client_id, "", "client id there");
ABSL_FLAG(std::string, client_secret_file, "",
          "file that holds the client's secret");
ABSL_FLAG(std::string, scope, "", "scope to ask for; unset: none");
ABSL_FLAG(std::string, api_url, "",
          "API to call once a second with the token; unset: none");

namespace refreshable_examples {
namespace {

volatile std::sig_atomic_t interrupted = 0;

// If `bazel run` started this program, a relative `path` counts from the folder
// in which `bazel run` was called.
std::string FromWorkingDirectory(const std::string& path) {
  const char* folder = std::getenv("BUILD_WORKING_DIRECTORY");
  if (folder == nullptr || absl::StartsWith(path, "/")) return path;
  return absl::StrCat(folder, "/", path);
}

absl::StatusOr<std::string> CsvPath() {
  const std::string path = absl::GetFlag(FLAGS_csv);
  return path.empty() ? DefaultCsvPath() : FromWorkingDirectory(path);
}

absl::StatusOr<Url> UrlFlag(const absl::Flag<std::string>& flag) {
  absl::StatusOr<Url> url = ParseUrl(absl::GetFlag(flag));
  if (url.ok()) return url;
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag.Name(), ": ", url.status().message()));
}

absl::StatusOr<KeepTokenOptions> KeepTokenFlags() {
  KeepTokenOptions options;
  absl::StatusOr<Url> token_url = UrlFlag(FLAGS_token_url);
  if (!token_url.ok()) return token_url.status();
  options.oauth.token_url = *std::move(token_url);
  for (const auto* flag : {&FLAGS_client_id, &FLAGS_client_secret_file}) {
    if (absl::GetFlag(*flag).empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--token_url needs --", flag->Name()));
    }
  }
  options.oauth.client_id = absl::GetFlag(FLAGS_client_id);
  options.oauth.scope = absl::GetFlag(FLAGS_scope);
  absl::StatusOr<refreshable::Secret> secret = ReadSecretFile(
      FromWorkingDirectory(absl::GetFlag(FLAGS_client_secret_file)));
  if (!secret.ok()) return secret.status();
  options.oauth.client_secret = *std::move(secret);
  if (!absl::GetFlag(FLAGS_api_url).empty()) {
    absl::StatusOr<Url> api_url = UrlFlag(FLAGS_api_url);
    if (!api_url.ok()) return api_url.status();
    options.api_url = *std::move(api_url);
  }
  return options;
}

absl::Status KeepRealToken() {
  absl::StatusOr<KeepTokenOptions> options = KeepTokenFlags();
  if (!options.ok()) return options.status();
  const absl::StatusOr<std::string> csv_path = CsvPath();
  if (!csv_path.ok()) return csv_path.status();
  absl::StatusOr<std::unique_ptr<CsvFile>> csv = CsvFile::Open(*csv_path);
  if (!csv.ok()) return csv.status();
  std::signal(SIGINT, [](int) { interrupted = 1; });
  std::signal(SIGTERM, [](int) { interrupted = 1; });
  return KeepToken(*options, **csv, [] { return interrupted != 0; });
}

absl::Status Main(const std::vector<char*>& arguments) {
  if (arguments.size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("unexpected argument: ", arguments[1]));
  }
  if (!absl::GetFlag(FLAGS_token_url).empty()) return KeepRealToken();
  for (const auto* flag : {&FLAGS_client_id, &FLAGS_client_secret_file,
                           &FLAGS_scope, &FLAGS_api_url}) {
    if (!absl::GetFlag(*flag).empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--", flag->Name(), " needs --token_url"));
    }
  }
  const absl::StatusOr<std::string> csv_path = CsvPath();
  if (!csv_path.ok()) return csv_path.status();
  return RunOutage(*csv_path);
}

}  // namespace
}  // namespace refreshable_examples

int main(int argc, char** argv) {
  // A write to a closed connection must not end the program.
  std::signal(SIGPIPE, SIG_IGN);
  absl::SetProgramUsageMessage(
      "breaks a token endpoint on loopback and shows how three clients live "
      "through it; or, with --token_url, keeps a token of a real server "
      "valid.");
  const absl::Status status =
      refreshable_examples::Main(absl::ParseCommandLine(argc, argv));
  if (status.ok()) return 0;
  std::fprintf(stderr, "outage: %s\n", std::string(status.message()).c_str());
  return 1;
}
