// SPDX-License-Identifier: Apache-2.0
//
// What each of the shared objects exports that two_copies_test loads. A copy of
// the library is linked into each of them.

#ifndef REFRESHABLE_TESTS_COPIES_PLUGIN_H_
#define REFRESHABLE_TESTS_COPIES_PLUGIN_H_

// Exported although the rest is compiled with -fvisibility=hidden.
#define REFRESHABLE_PLUGIN extern "C" __attribute__((visibility("default")))

namespace refreshable {

struct PluginApi {
  // Makes the copy work as it does without membarrier(2). Called before all
  // others, or not at all. May be null.
  void (*force_symmetric)();
  // Replaces the published token.
  void (*publish)();
  // A lease on the published token, which any copy may release.
  void* (*read)();
  void (*release)(void* lease);
  // How many tokens that this copy made are alive.
  int (*alive)();
  // Whether a read needs no call. Only after the calling thread has read.
  bool (*reads_are_fast)();
  // Ends the copy's threads and destroys what it holds. Called last, before the
  // shared object is unloaded. `GetPlugin` makes everything anew.
  void (*end)();
};

}  // namespace refreshable

REFRESHABLE_PLUGIN const refreshable::PluginApi* GetPlugin();

#endif  // REFRESHABLE_TESTS_COPIES_PLUGIN_H_
