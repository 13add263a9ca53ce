# SPDX-License-Identifier: Apache-2.0
"""The macro for this repository's own tests."""

load("@rules_cc//cc:defs.bzl", "cc_test")

_DEPS = [
    "@com_google_absl//absl/status",
    "@com_google_absl//absl/status:statusor",
    "@com_google_absl//absl/time",
    "@com_google_googletest//:gtest",
]

def refreshable_test(name, size = "small", srcs = None, deps = [], own_main = False, **kwargs):
    """Declares a cc_test with the dependencies of most tests.

    Args:
      name: the test's name.
      size: as cc_test's.
      srcs: as cc_test's; by default NAME.cc.
      deps: as cc_test's, in addition to GoogleTest and Abseil's status and time.
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
