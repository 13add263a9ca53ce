// SPDX-License-Identifier: Apache-2.0
//
// The version number of the library's ABI.

#ifndef REFRESHABLE_INTERNAL_ABI_H_
#define REFRESHABLE_INTERNAL_ABI_H_

// Define this if the platform has no `thread_local`, or only a slow one
// (`--define=refreshable_no_thread_local=1` under Bazel). All threads then
// share the hazard slots, and a read costs one compare-and-swap. A program does
// not link if only some of its translation units define this.
//
//   #define REFRESHABLE_NO_THREAD_LOCAL

// Declarations between these two macros are in an inline namespace that names
// the ABI, so that code of one ABI never links with code of another. Raise the
// number whenever a version changes the layout of a type declared there, the
// order of its virtual methods, or what these methods require of each other.
#ifdef REFRESHABLE_NO_THREAD_LOCAL
#define REFRESHABLE_ABI_NAMESPACE_BEGIN inline namespace abi_2_no_thread_local {
#else
#define REFRESHABLE_ABI_NAMESPACE_BEGIN inline namespace abi_2 {
#endif
#define REFRESHABLE_ABI_NAMESPACE_END }

#endif  // REFRESHABLE_INTERNAL_ABI_H_
