// SPDX-License-Identifier: Apache-2.0
//
// The interface that each shared object loaded by two_copies_test exports. A
// copy of the library is linked into each of them.

#ifndef REFRESHABLE_TESTS_COPIES_PLUGIN_H_
#define REFRESHABLE_TESTS_COPIES_PLUGIN_H_

// Exports a function even if the rest is compiled with -fvisibility=hidden.
#define REFRESHABLE_PLUGIN extern "C" __attribute__((visibility("default")))

namespace refreshable {

struct PluginApi {
  // Makes the copy behave as it does without membarrier(2). If called at all,
  // it must be called before the other functions. May be null.
  void (*force_symmetric)();
  // Replaces the published token.
  void (*publish)();
  // Returns a lease on the published token. Any copy may release it.
  void* (*read)();
  void (*release)(void* lease);
  // Returns how many tokens made by this copy are alive.
  int (*alive)();
  // Returns whether a read needs no call. The calling thread must have read
  // before.
  bool (*reads_are_fast)();
  // Ends the copy's threads and destroys its objects. Must be the last call
  // before the shared object is unloaded. `GetPlugin` creates everything anew.
  void (*end)();
};

}  // namespace refreshable

REFRESHABLE_PLUGIN const refreshable::PluginApi* GetPlugin();

#endif  // REFRESHABLE_TESTS_COPIES_PLUGIN_H_
