# SPDX-License-Identifier: Apache-2.0

"""Declares fuzz targets and tests that replay their corpora."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")

def fuzz_target(name, deps, random = 2000):
    """Declares the targets for NAME_fuzzer.cc and the files in corpus/NAME.

    NAME_fuzzer is the libFuzzer program, which needs `--config=fuzz`. By
    contrast, any compiler can build NAME_corpus_test. It runs the fuzz target
    on each file of the corpus and on `random` random inputs, the same each
    time.
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
