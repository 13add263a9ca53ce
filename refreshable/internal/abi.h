// SPDX-License-Identifier: Apache-2.0
//
// The number of the library's ABI.

#ifndef REFRESHABLE_INTERNAL_ABI_H_
#define REFRESHABLE_INTERNAL_ABI_H_

// Defined where the platform has no `thread_local`, or none that is cheap
// (`--define=refreshable_no_thread_local=1` under Bazel): slots are then shared
// between threads, and a read costs one compare-and-swap. It must be the same
// in every translation unit of a program, or that program does not link.
// #define REFRESHABLE_NO_THREAD_LOCAL

// What is declared between these two is in an inline namespace that names the
// ABI, so that code of one version of the library never links with another's.
// To be raised by each version that changes the layout of such a type, the
// order of its virtual methods, or what they promise each other.
#ifdef REFRESHABLE_NO_THREAD_LOCAL
#define REFRESHABLE_ABI_NAMESPACE_BEGIN inline namespace abi_1_no_thread_local {
#else
#define REFRESHABLE_ABI_NAMESPACE_BEGIN inline namespace abi_1 {
#endif
#define REFRESHABLE_ABI_NAMESPACE_END }

#endif  // REFRESHABLE_INTERNAL_ABI_H_
