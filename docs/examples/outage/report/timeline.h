// SPDX-License-Identifier: Apache-2.0
//
// The timeline: samples of the state of the clients, and the CSV file of the
// samples.

#ifndef REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REPORT_TIMELINE_H_
#define REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REPORT_TIMELINE_H_

#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "docs/examples/outage/client.h"
#include "docs/examples/outage/workload.h"

namespace refreshable_examples {

// Counts begin at the start of the run.
struct ClientSample {
  std::string name;
  ClientState state;
  Tally tally;
  int64_t token_requests = 0;
};

struct Sample {
  absl::Duration at;     // The time since the start.
  std::string endpoint;  // Phase of the outage, or "real" for a real server.
  std::vector<ClientSample> clients;
};

// The columns of one client in the CSV file, named "<client>_<column>". The
// first two columns of the file, `seconds` and `endpoint`, belong to no client.
enum CsvColumn {
  kCsvState,
  kCsvGeneration,
  kCsvCalls,
  kCsvFailed,
  kCsvTokenRequests,
  kCsvExpiredSent,
  kCsvExpiredInTransit,
  kCsvRevoked,
  kCsvColumns,
};

// These functions return a line of the CSV file, with a line feed at its end.
std::string CsvHeader(const Sample& sample);
std::string CsvRow(const Sample& sample);

// The header is written together with the first row.
class CsvFile {
 public:
  // Overwrites an existing file. Returns UNAVAILABLE, with the reason, if
  // `path` cannot be written.
  static absl::StatusOr<std::unique_ptr<CsvFile>> Open(const std::string& path);

  void Write(const Sample& sample);

  // Returns UNAVAILABLE if a `Write` has failed.
  absl::Status status();

  const std::string& path() const { return path_; }

 private:
  explicit CsvFile(const std::string& path) : path_(path), file_(path) {}

  const std::string path_;
  std::ofstream file_;
  bool has_header_ = false;
};

// Makes a new folder under $TMPDIR or, if $TMPDIR is unset or empty, under
// /tmp. Returns the path of a CSV file in this folder, or UNAVAILABLE if the
// folder cannot be made.
absl::StatusOr<std::string> DefaultCsvPath();

}  // namespace refreshable_examples

#endif  // REFRESHABLE_DOCS_EXAMPLES_OUTAGE_REPORT_TIMELINE_H_
