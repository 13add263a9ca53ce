// SPDX-License-Identifier: Apache-2.0
//
// The settings of ThreadSanitizer (TSan) for programs that are built with
// --config=tsan.

extern "C" {

// Makes TSan suppress two false reports.
//
// Abseil's Mutex hides its own memory from TSan. TSan sees the mmap() of a
// thread's semaphore and the first post to that semaphore, but nothing that
// orders them.
//
// Debian's cpp-httplib was built without TSan. TSan sees its memory accesses
// through memcmp() and similar functions, but not the synchronization that
// orders them.
const char* __tsan_default_suppressions() {
  return "race:AbslInternalPerThreadSemPost\n"
         "called_from_lib:libcpp-httplib.so\n";
}

// Tests fork, and their child processes start threads. By default, TSan would
// end such a child process.
const char* __tsan_default_options() { return "die_after_fork=0"; }

}  // extern "C"
