# SPDX-License-Identifier: Apache-2.0

"""Fuzz targets, and the replay of their corpora."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")

def fuzz_target(name, deps, random = 2000):
    """Declares what is made of NAME_fuzzer.cc and the files in corpus/NAME.

    NAME_fuzzer is the libFuzzer program: `bazel run --config=fuzz`, and nothing
    but that builds it. NAME_corpus_test runs the target, with any compiler, on
    each file of the corpus and on `random` inputs that are drawn from a seed.
    """
    corpus = native.glob(["corpus/" + name + "/*"])
    target = name + "_target"

    cc_library(
        name = target,
        testonly = True,
        srcs = [name + "_fuzzer.cc"],
        deps = [":fuzzing"] + deps,
        alwayslink = True,
    )

    cc_binary(
        name = name + "_fuzzer",
        testonly = True,
        linkopts = ["-fsanitize=fuzzer"],
        tags = ["manual"],
        deps = [":" + target],
    )

    cc_test(
        name = name + "_corpus_test",
        size = "small",
        srcs = ["replay_main.cc"],
        args = ["--random=%d" % random] + ["$(location %s)" % file for file in corpus],
        data = corpus,
        tags = ["one_thread"],
        deps = [":" + target],
    )
