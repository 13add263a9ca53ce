// SPDX-License-Identifier: Apache-2.0
//
// The default settings of ThreadSanitizer (TSan) for every program that is
// built with --config=tsan.

extern "C" {

// Makes TSan suppress two false reports.
//
// Abseil's Mutex hides its own memory from TSan, but TSan sees two events: the
// mmap() that allocates the memory of a thread's semaphore, and the first post
// to that semaphore. TSan sees no ordering between these events and reports a
// race in Abseil.
//
// Debian's cpp-httplib was built without TSan. TSan sees its memory accesses
// through memcmp() and similar functions, but not the synchronization that
// orders them.
const char* __tsan_default_suppressions() {
  return "race:AbslInternalPerThreadSemPost\n"
         "called_from_lib:libcpp-httplib.so\n";
}

// Returns TSan's options. Tests fork, and their child processes start threads.
// By default, TSan would end such a child process.
const char* __tsan_default_options() { return "die_after_fork=0"; }

}  // extern "C"
