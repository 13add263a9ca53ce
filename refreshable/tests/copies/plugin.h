// SPDX-License-Identifier: Apache-2.0
//
// The interface of the plug-ins, the shared objects that two_copies_test loads.
// Each plug-in contains a copy of the library. Some plug-ins use only the
// hazard domain of their copy, others use the whole library.

#ifndef REFRESHABLE_TESTS_COPIES_PLUGIN_H_
#define REFRESHABLE_TESTS_COPIES_PLUGIN_H_

// Exports the function that it precedes, even with -fvisibility=hidden.
#define REFRESHABLE_PLUGIN extern "C" __attribute__((visibility("default")))

namespace refreshable {

struct PluginApi {
  // Makes the copy behave as on a system without membarrier(2). Must be called
  // before all other functions. The pointer is null if the plug-in uses the
  // whole library.
  void (*force_symmetric)();
  // Replaces the published token.
  void (*publish)();
  // Returns a lease of the published token. Another plug-in may release the
  // lease if both plug-ins use the whole library, or if neither does.
  void* (*read)();
  void (*release)(void* lease);
  // Returns how many tokens made by this copy are alive.
  int (*alive)();
  // Returns whether a read on this thread takes the fast path, which is inlined
  // into the caller. The thread must have read through this copy before.
  bool (*reads_are_fast)();
  // If the plug-in uses the whole library, ends its threads and destroys its
  // objects. Must be called before the shared object is unloaded. After `end`,
  // `GetPlugin` must be called again before any of these functions.
  void (*end)();
};

}  // namespace refreshable

REFRESHABLE_PLUGIN const refreshable::PluginApi* GetPlugin();

#endif  // REFRESHABLE_TESTS_COPIES_PLUGIN_H_
