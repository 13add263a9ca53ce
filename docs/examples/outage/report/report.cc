// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/report/report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"

namespace refreshable_examples {
namespace {

std::string TableRow(const Row& row) {
  const Tally& tally = row.tally;
  const std::string healed =
      tally.healed_after.has_value()
          ? absl::StrFormat("%.2f s",
                            absl::ToDoubleSeconds(*tally.healed_after))
          : "never";
  return absl::StrFormat("  %-12s%15d%17s%9d%9d%9d%11d%9d\n", row.name,
                         row.outage_requests, healed, tally.calls, tally.failed,
                         tally.expired_sent, tally.expired_in_transit,
                         tally.revoked);
}

}  // namespace

std::string ProgressHeader(const Sample& sample) {
  std::string names = "   time  endpoint  ";
  std::string columns = names;
  names.assign(names.size(), ' ');
  bool first = true;
  for (const ClientSample& client : sample.clients) {
    if (first) {
      absl::StrAppendFormat(&names, " | %-38s", client.name);
      absl::StrAppend(&columns, " | state     gen  calls  failed  tokens");
    } else {
      absl::StrAppendFormat(&names, " | %-21s", client.name);
      absl::StrAppend(&columns, " | calls  failed  tokens");
    }
    first = false;
  }
  while (names.back() == ' ') names.pop_back();
  return absl::StrCat(names, "\n", columns, "\n");
}

std::string ProgressLine(const Sample& before, const Sample& now) {
  std::string line = absl::StrFormat(
      "%5.0f s  %-10s", absl::ToDoubleSeconds(now.at), now.endpoint);
  for (size_t i = 0; i < now.clients.size(); ++i) {
    const ClientSample& client = now.clients[i];
    const ClientSample& old = before.clients[i];
    absl::StrAppend(&line, " | ");
    if (i == 0) {
      absl::StrAppendFormat(&line, "%-8s %4d  ", client.state.name,
                            client.state.generation);
    }
    absl::StrAppendFormat(&line, "%5d%8d%8d",
                          client.tally.calls - old.tally.calls,
                          client.tally.failed - old.tally.failed,
                          client.token_requests - old.token_requests);
  }
  return line + "\n";
}

std::string Table(const std::vector<Row>& rows, const Promise& promise) {
  std::string table =
      "               token requests      recovery to    calls    calls  "
      "expired    expired  revoked\n"
      "                in the outage  first good call     made   failed     "
      "sent in transit    (401)\n";
  for (const Row& row : rows) absl::StrAppend(&table, TableRow(row));
  absl::StrAppendFormat(
      &table, "  %-12s%15d%17s%9s%9s%9d\n", "allowed", promise.requests,
      absl::StrFormat("%.2f s", absl::ToDoubleSeconds(promise.recovery)), "",
      "", 0);
  return table;
}

}  // namespace refreshable_examples
