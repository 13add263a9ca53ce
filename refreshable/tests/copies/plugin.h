// SPDX-License-Identifier: Apache-2.0
//
// The interface of the shared objects that two_copies_test loads. A copy of the
// library is linked into each of them.

#ifndef REFRESHABLE_TESTS_COPIES_PLUGIN_H_
#define REFRESHABLE_TESTS_COPIES_PLUGIN_H_

// Exports the function that it precedes, even with -fvisibility=hidden.
#define REFRESHABLE_PLUGIN extern "C" __attribute__((visibility("default")))

namespace refreshable {

struct PluginApi {
  // Makes the copy behave as on a system without membarrier(2). If this
  // function is called at all, it must be called before the others. The pointer
  // is null if the plug-in uses the whole library.
  void (*force_symmetric)();
  // Replaces the published token.
  void (*publish)();
  // Returns a lease of the published token. Another plug-in may release it if
  // both use the same part of the library (the hazard domain or the whole).
  void* (*read)();
  void (*release)(void* lease);
  // Returns how many tokens made by this copy are alive.
  int (*alive)();
  // Returns whether a read on this thread takes the fast path, which is inlined
  // into the caller. The thread must have read through this copy before.
  bool (*reads_are_fast)();
  // Ends the threads and destroys the objects of a plug-in that uses the whole
  // library. Does nothing in one that uses the hazard domain alone. Must be
  // called before the shared object is unloaded. Afterwards `GetPlugin` must be
  // called before any of these functions.
  void (*end)();
};

}  // namespace refreshable

REFRESHABLE_PLUGIN const refreshable::PluginApi* GetPlugin();

#endif  // REFRESHABLE_TESTS_COPIES_PLUGIN_H_
