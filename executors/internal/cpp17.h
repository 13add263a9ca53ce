// SPDX-License-Identifier: Apache-2.0
//
// Each public header includes this file, directly or through another header.
// Private.

#ifndef REFRESHABLE_EXECUTORS_INTERNAL_CPP17_H_
#define REFRESHABLE_EXECUTORS_INTERNAL_CPP17_H_

#if defined(_MSVC_LANG) ? _MSVC_LANG < 201703L : __cplusplus < 201703L
#error "refreshable requires C++17 or later: compile with -std=c++17"
#endif

#endif  // REFRESHABLE_EXECUTORS_INTERNAL_CPP17_H_
