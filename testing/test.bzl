# SPDX-License-Identifier: Apache-2.0
"""The rule for this repository's own tests."""

load("@rules_cc//cc:defs.bzl", "cc_test")

_DEPS = [
    "@com_google_absl//absl/status",
    "@com_google_absl//absl/status:statusor",
    "@com_google_absl//absl/time",
    "@com_google_googletest//:gtest",
]

def refreshable_test(name, size = "small", srcs = None, deps = [], own_main = False, **kwargs):
    """A cc_test with what most tests here depend on.

    Args:
      name: the test's name.
      size: as cc_test's.
      srcs: as cc_test's; by default the file that is called as the test.
      deps: as cc_test's, beside GoogleTest and Abseil's status and time.
      own_main: whether the test has a main function of its own.
      **kwargs: cc_test's.
    """
    cc_test(
        name = name,
        size = size,
        srcs = srcs or [name + ".cc"],
        deps = deps + _DEPS + ([] if own_main else ["@com_google_googletest//:gtest_main"]),
        **kwargs
    )
