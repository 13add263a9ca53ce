// SPDX-License-Identifier: Apache-2.0
//
// CrashReport: prints the schedule that was running when the program was
// aborted or hung. Private.

#ifndef REFRESHABLE_TESTING_EXPLORER_CRASH_REPORT_H_
#define REFRESHABLE_TESTING_EXPLORER_CRASH_REPORT_H_

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace refreshable_testing {
namespace schedule {

// Records the steps of the running schedule, and writes them to stderr if the
// program is aborted. At most one CrashReport may exist at a time, and only one
// thread may use it.
class CrashReport {
 public:
  // Aborts the program if a schedule takes longer than `timeout`. If `timeout`
  // is 0, or 24 hours or more, there is no limit.
  explicit CrashReport(absl::Duration timeout)
      : seconds_(timeout < absl::Hours(24)
                     ? static_cast<unsigned>(absl::ToInt64Seconds(
                           absl::Ceil(timeout, absl::Seconds(1))))
                     : 0) {
    on_abort_ = std::signal(SIGABRT, OnSignal);
    if (seconds_ > 0) on_alarm_ = std::signal(SIGALRM, OnSignal);
    NewSchedule();
  }
  CrashReport(const CrashReport&) = delete;
  CrashReport& operator=(const CrashReport&) = delete;
  ~CrashReport() {
    std::signal(SIGABRT, on_abort_);
    if (seconds_ == 0) return;
    alarm(0);
    std::signal(SIGALRM, on_alarm_);
  }

  void NewSchedule() {
    size_ = 0;
    recovery_ = false;
    if (seconds_ > 0) alarm(seconds_);
  }
  void Step(absl::string_view name) {
    Append(size_ == 0 ? "\"" : ", \"");
    Append(name);
    Append("\"");
  }

  void Recovery() { recovery_ = true; }

 private:
  using Handler = void (*)(int);

  void Append(absl::string_view text) {
    const size_t n = std::min(text.size(), sizeof(order_) - size_);
    std::memcpy(order_ + size_, text.data(), n);
    size_ += n;
  }

  // Calls only async-signal-safe functions.
  static void OnSignal(int signal) {
    std::signal(SIGABRT, on_abort_);
    Write(signal == SIGALRM ? "the explorer: a step does not end, in {"
                            : "the explorer: the program ends in {");
    Write({order_, size_});
    Write(recovery_ ? "} and its recovery\n" : "}\n");
    std::abort();
  }
  static void Write(absl::string_view text) {
    if (write(STDERR_FILENO, text.data(), text.size()) < 0) return;
  }

  static inline char order_[4096];
  static inline size_t size_ = 0;
  static inline bool recovery_ = false;
  static inline Handler on_abort_ = SIG_DFL;
  static inline Handler on_alarm_ = SIG_DFL;

  const unsigned seconds_;  // 0 if there is no limit.
};

}  // namespace schedule
}  // namespace refreshable_testing

#endif  // REFRESHABLE_TESTING_EXPLORER_CRASH_REPORT_H_
