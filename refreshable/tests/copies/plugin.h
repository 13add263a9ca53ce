// SPDX-License-Identifier: Apache-2.0
//
// The interface of the plug-ins that two_copies_test loads. Each plug-in
// contains and uses a copy of the whole library, or of its hazard domain only.

#ifndef REFRESHABLE_TESTS_COPIES_PLUGIN_H_
#define REFRESHABLE_TESTS_COPIES_PLUGIN_H_

// Exports the function that it precedes, even with -fvisibility=hidden.
#define REFRESHABLE_PLUGIN extern "C" __attribute__((visibility("default")))

namespace refreshable {

struct PluginApi {
  // Makes the copy behave as on a system without membarrier(2). May be called
  // only before all other functions. The pointer is null if the plug-in uses
  // the whole library.
  void (*force_symmetric)();
  void (*publish)();
  // Returns a lease of the published token. Another plug-in that uses the same
  // part of the library may release the lease.
  void* (*read)();
  void (*release)(void* lease);
  // Returns how many tokens made by this copy are alive.
  int (*alive)();
  // Returns whether a read on this thread takes the inlined fast path. The
  // thread must have read before.
  bool (*reads_are_fast)();
  // Ends the plug-in's threads. Must be called before the shared object is
  // unloaded. After `end`, `GetPlugin` must be called again before any of these
  // functions.
  void (*end)();
};

}  // namespace refreshable

REFRESHABLE_PLUGIN const refreshable::PluginApi* GetPlugin();

#endif  // REFRESHABLE_TESTS_COPIES_PLUGIN_H_
