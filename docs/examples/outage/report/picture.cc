// SPDX-License-Identifier: Apache-2.0

#include "docs/examples/outage/report/picture.h"

#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "docs/examples/outage/report/timeline.h"

namespace refreshable_examples {
namespace {

// Inside single quotes, gnuplot treats only the quote itself as special.
std::string Quote(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "''"}}), "'");
}

// gnuplot counts columns from 1.
int Column(size_t client, CsvColumn column) {
  return 3 + static_cast<int>(client) * kCsvColumns + column;
}

}  // namespace

std::string GnuplotScript(const std::string& csv, const std::string& png,
                          const std::vector<std::string>& clients,
                          const std::vector<Span>& spans) {
  std::string script =
      absl::StrCat("set terminal pngcairo size 1200,800 font 'sans,11'\n",
                   "set output ", Quote(png), "\n",
                   "set datafile separator ','\n"
                   "set grid ytics lc rgb '#dddddd'\n"
                   "set border 3\n"
                   "set tics nomirror\n"
                   "set key outside right top\n"
                   "set lmargin 10\n"
                   "set style line 1 lc rgb '#1a7f37' lw 3\n"
                   "set style line 2 lc rgb '#cf222e' lw 2\n"
                   "set style line 3 lc rgb '#8250df' lw 2\n");
  for (size_t i = 0; i < spans.size(); ++i) {
    const double start = absl::ToDoubleSeconds(spans[i].start);
    const double end = absl::ToDoubleSeconds(spans[i].end);
    if (spans[i].outage) {
      absl::StrAppendFormat(
          &script,
          "set object %d rectangle from first %.3f, graph 0 to first %.3f, "
          "graph 1 behind fillcolor rgb '%s' fillstyle solid noborder\n",
          i + 1, start, end, i % 2 == 0 ? "#fff0e0" : "#ffe3d0");
    }
    absl::StrAppendFormat(&script,
                          "set label %d %s at first %.3f, graph 1.04 center\n",
                          i + 1, Quote(spans[i].label), (start + end) / 2);
  }
  if (!spans.empty()) {
    absl::StrAppendFormat(&script, "set xrange [0:%.3f]\n",
                          absl::ToDoubleSeconds(spans.back().end));
  }
  absl::StrAppend(&script,
                  "set multiplot layout 2,1\n"
                  "set title 'Requests to the token endpoint, since the start' "
                  "offset 0,1.2\n"
                  "set logscale y\n"
                  "set yrange [0.8:*]\n"
                  "plot ");
  for (size_t i = 0; i < clients.size(); ++i) {
    absl::StrAppendFormat(
        &script, "%s%s skip 1 using 1:%d with steps ls %d title %s",
        i == 0 ? "" : ", ", Quote(csv), Column(i, kCsvTokenRequests), i + 1,
        Quote(clients[i]));
  }
  // The rate of successful calls is computed from two consecutive rows. For
  // each client, T keeps the time of the previous row, and G the number of
  // calls that had succeeded by then.
  absl::StrAppendFormat(&script,
                        "\narray T[%d]\narray G[%d]\n"
                        "do for [i=1:%d] { T[i] = 0; G[i] = 0 }",
                        clients.size(), clients.size(), clients.size());
  absl::StrAppend(&script,
                  "\nunset logscale y\n"
                  "set yrange [0:*]\n"
                  "set title 'Calls that succeeded, per second' offset 0,1.2\n"
                  "set xlabel 'seconds'\n"
                  "rate(i, t, g) = (dt = t - T[i], dg = g - G[i], T[i] = t, "
                  "G[i] = g, dt > 0 ? dg / dt : NaN)\n"
                  "plot ");
  for (size_t i = 0; i < clients.size(); ++i) {
    absl::StrAppendFormat(
        &script,
        "%s%s skip 1 using 1:(rate(%d, $1, $%d - $%d)) with lines ls %d "
        "title %s",
        i == 0 ? "" : ", ", Quote(csv), i + 1, Column(i, kCsvCalls),
        Column(i, kCsvFailed), i + 1, Quote(clients[i]));
  }
  absl::StrAppend(&script, "\nunset multiplot\n");
  return script;
}

absl::Status RunGnuplot(const std::string& script) {
  if (std::system("command -v gnuplot >/dev/null 2>&1") != 0) {
    return absl::NotFoundError("gnuplot is not installed");
  }
  std::FILE* gnuplot = popen("gnuplot 2>/dev/null", "w");
  if (gnuplot == nullptr) {
    return absl::UnavailableError("gnuplot cannot be started");
  }
  std::fputs(script.c_str(), gnuplot);
  if (pclose(gnuplot) != 0) {
    return absl::UnavailableError("gnuplot failed");
  }
  return absl::OkStatus();
}

}  // namespace refreshable_examples
