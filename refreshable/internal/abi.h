// SPDX-License-Identifier: Apache-2.0
//
// The namespace that names the library's ABI.

#ifndef REFRESHABLE_INTERNAL_ABI_H_
#define REFRESHABLE_INTERNAL_ABI_H_

// Define REFRESHABLE_NO_THREAD_LOCAL if the platform has no `thread_local`, or
// only a slow one. (With Bazel, use --define=refreshable_no_thread_local=1.) A
// read then costs one or two compare-and-swaps. A program does not link if only
// some of its translation units define this macro.
//
//   #define REFRESHABLE_NO_THREAD_LOCAL

// The name of this inline namespace contains the number of the ABI, so that
// code of one ABI never links with code of another. The number must rise if a
// type that is declared there changes its layout, the order of its virtual
// methods, or what its methods require of each other.
#ifdef REFRESHABLE_NO_THREAD_LOCAL
#define REFRESHABLE_ABI_NAMESPACE_BEGIN inline namespace abi_2_no_thread_local {
#else
#define REFRESHABLE_ABI_NAMESPACE_BEGIN inline namespace abi_2 {
#endif
#define REFRESHABLE_ABI_NAMESPACE_END }

#endif  // REFRESHABLE_INTERNAL_ABI_H_
