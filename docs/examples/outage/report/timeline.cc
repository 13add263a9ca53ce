// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/report/timeline.h"

#include <stdlib.h>

#include <cerrno>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace refreshable_examples {

std::string CsvHeader(const Sample& sample) {
  std::string line = "seconds,endpoint";
  for (const ClientSample& client : sample.clients) {
    for (const char* column :
         {"state", "generation", "calls", "failed", "token_requests",
          "expired_sent", "expired_in_transit", "revoked"}) {
      absl::StrAppend(&line, ",", client.name, "_", column);
    }
  }
  return line + "\n";
}

std::string CsvRow(const Sample& sample) {
  std::string line = absl::StrFormat(
      "%.3f,%s", absl::ToDoubleSeconds(sample.at), sample.endpoint);
  for (const ClientSample& client : sample.clients) {
    const Tally& tally = client.tally;
    absl::StrAppend(&line, ",", client.state.name, ",", client.state.generation,
                    ",", tally.calls, ",", tally.failed);
    absl::StrAppend(&line, ",", client.token_requests, ",", tally.expired_sent,
                    ",", tally.expired_in_transit, ",", tally.revoked);
  }
  return line + "\n";
}

absl::StatusOr<std::unique_ptr<CsvFile>> CsvFile::Open(
    const std::string& path) {
  errno = 0;
  std::unique_ptr<CsvFile> csv(new CsvFile(path));
  if (!csv->file_) {
    return absl::UnavailableError(
        absl::StrCat("cannot write ", path, ": ",
                     errno != 0 ? std::generic_category().message(errno)
                                : "it cannot be opened"));
  }
  return csv;
}

void CsvFile::Write(const Sample& sample) {
  if (!has_header_) file_ << CsvHeader(sample);
  has_header_ = true;
  file_ << CsvRow(sample) << std::flush;
}

absl::Status CsvFile::status() {
  if (file_) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("not all of ", path_, " could be written"));
}

absl::StatusOr<std::string> DefaultCsvPath() {
  const char* temporary = std::getenv("TMPDIR");
  std::string folder = absl::StrCat(
      temporary != nullptr && *temporary != '\0' ? temporary : "/tmp",
      "/outage-XXXXXX");
  if (mkdtemp(folder.data()) == nullptr) {
    return absl::UnavailableError(absl::StrCat(
        "cannot make a folder like ", folder, ": ",
        std::generic_category().message(errno), "; name a file with --csv"));
  }
  return folder + "/outage.csv";
}

}  // namespace refreshable_examples
