// SPDX-License-Identifier: Apache-2.0
//
// What ThreadSanitizer is told by every program built with --config=tsan.

extern "C" {

// Abseil's Mutex hides its own memory from TSan, but for two places: the mmap()
// that brings the memory of a thread's semaphore, and the first post to it.
// TSan then sees no order between them, and reports Abseil to us.
//
// Debian's cpp-httplib is a library that was built without TSan, which sees
// what it reads and writes by memcmp() and the like, and not what it orders
// that by.
const char* __tsan_default_suppressions() {
  return "race:AbslInternalPerThreadSemPost\n"
         "called_from_lib:libcpp-httplib.so\n";
}

// Tests fork, and their children start threads.
const char* __tsan_default_options() { return "die_after_fork=0"; }

}  // extern "C"
