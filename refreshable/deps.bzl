# SPDX-License-Identifier: Apache-2.0
"""The dependencies of refreshable under WORKSPACE, pinned in this one place.

A dependency that the caller's WORKSPACE has already defined is not changed.
"""

load("@bazel_tools//tools/build_defs/repo:http.bzl", "http_archive")
load("@bazel_tools//tools/build_defs/repo:utils.bzl", "maybe")

def refreshable_deps():
    """Declares what a program that depends on refreshable needs."""
    maybe(
        http_archive,
        name = "com_google_absl",
        sha256 = "b396401fd29e2e679cace77867481d388c807671dc2acc602a0259eeb79b7811",
        strip_prefix = "abseil-cpp-20250127.1",
        urls = ["https://github.com/abseil/abseil-cpp/releases/download/20250127.1/abseil-cpp-20250127.1.tar.gz"],
    )
    maybe(
        http_archive,
        name = "com_google_googletest",
        sha256 = "78c676fc63881529bf97bf9d45948d905a66833fbfa5318ea2cd7478cb98f399",
        strip_prefix = "googletest-1.16.0",
        urls = ["https://github.com/google/googletest/releases/download/v1.16.0/googletest-1.16.0.tar.gz"],
    )
    maybe(
        http_archive,
        name = "fmt",
        build_file_content = _FMT_BUILD,
        sha256 = "49b039601196e1a765e81c5c9a05a61ed3d33f23b3961323d7322e4fe213d3e6",
        strip_prefix = "fmt-11.1.4",
        urls = ["https://github.com/fmtlib/fmt/releases/download/11.1.4/fmt-11.1.4.zip"],
    )
    maybe(
        http_archive,
        name = "rules_cc",
        sha256 = "abc605dd850f813bb37004b77db20106a19311a96b2da1c92b789da529d28fe1",
        strip_prefix = "rules_cc-0.0.17",
        urls = ["https://github.com/bazelbuild/rules_cc/releases/download/0.0.17/rules_cc-0.0.17.tar.gz"],
    )
    maybe(
        http_archive,
        name = "bazel_skylib",
        sha256 = "bc283cdfcd526a52c3201279cda4bc298652efa898b10b4db0837dc51652756f",
        urls = ["https://github.com/bazelbuild/bazel-skylib/releases/download/1.7.1/bazel-skylib-1.7.1.tar.gz"],
    )
    maybe(
        http_archive,
        name = "platforms",
        sha256 = "29742e87275809b5e598dc2f04d86960cc7a55b3067d97221c9abbc9926bff0f",
        urls = ["https://github.com/bazelbuild/platforms/releases/download/0.0.11/platforms-0.0.11.tar.gz"],
    )

def refreshable_oauth2_json_deps():
    """Declares what refreshable/integrations/oauth2_json also needs."""
    maybe(
        http_archive,
        name = "nlohmann_json",
        build_file_content = _JSON_BUILD,
        sha256 = "a22461d13119ac5c78f205d3df1db13403e58ce1bb1794edc9313677313f4a9d",
        urls = ["https://github.com/nlohmann/json/releases/download/v3.11.3/include.zip"],
    )

def refreshable_curl_deps():
    """Declares what refreshable/integrations/curl also needs."""
    maybe(_system_curl, name = "curl")

def refreshable_dev_deps():
    """Declares what refreshable's own tests, examples and benchmarks also need."""
    refreshable_oauth2_json_deps()
    maybe(_native_shell, name = "rules_shell")
    maybe(
        http_archive,
        name = "com_github_google_benchmark",
        sha256 = "32131c08ee31eeff2c8968d7e874f3cb648034377dfc32a4c377fa8796d84981",
        strip_prefix = "benchmark-1.9.1",
        urls = ["https://github.com/google/benchmark/archive/refs/tags/v1.9.1.tar.gz"],
    )
    maybe(
        http_archive,
        name = "asio",
        build_file_content = _ASIO_BUILD,
        sha256 = "f3bac015305fbb700545bd2959fbc52d75a1ec2e05f9c7f695801273ceb78cf5",
        strip_prefix = "asio-asio-1-34-2/asio",
        urls = ["https://github.com/chriskohlhoff/asio/archive/refs/tags/asio-1-34-2.tar.gz"],
    )
    maybe(
        http_archive,
        name = "cpp-httplib",
        build_file_content = _HTTPLIB_BUILD,
        sha256 = "fcfea48c8f2c386e7085ef8545c8a4875efa30fa6d5cf9dd31f03c6ad038da9d",
        strip_prefix = "cpp-httplib-0.22.0",
        urls = ["https://github.com/yhirose/cpp-httplib/archive/refs/tags/v0.22.0.tar.gz"],
    )

def _native_shell_impl(repository_ctx):
    repository_ctx.file("shell/BUILD")
    repository_ctx.file("shell/sh_test.bzl", "sh_test = native.sh_test\n")

# Every Bazel version that reads WORKSPACE has a built-in sh_test, and some of
# them are too old for rules_shell.
_native_shell = repository_rule(_native_shell_impl)

# libcurl is taken from the system, with its headers.
_CURL_BUILD = """
load("@rules_cc//cc:defs.bzl", "cc_library")

cc_library(
    name = "curl",
    linkopts = ["-lcurl"],
    visibility = ["//visibility:public"],
)
"""

def _system_curl_impl(repository_ctx):
    repository_ctx.file("BUILD", _CURL_BUILD)

_system_curl = repository_rule(_system_curl_impl)

_FMT_BUILD = """
load("@rules_cc//cc:defs.bzl", "cc_library")

cc_library(
    name = "fmt",
    srcs = [
        "src/format.cc",
        "src/os.cc",
    ],
    hdrs = glob(["include/fmt/*.h"]),
    includes = ["include"],
    visibility = ["//visibility:public"],
)
"""

_JSON_BUILD = """
load("@rules_cc//cc:defs.bzl", "cc_library")

cc_library(
    name = "json",
    hdrs = glob(["include/nlohmann/**/*.hpp"]),
    includes = ["include"],
    visibility = ["//visibility:public"],
)
"""

_ASIO_BUILD = """
load("@rules_cc//cc:defs.bzl", "cc_library")

cc_library(
    name = "asio",
    hdrs = glob([
        "include/**/*.hpp",
        "include/**/*.ipp",
    ]),
    includes = ["include"],
    linkopts = ["-lpthread"],
    visibility = ["//visibility:public"],
)
"""

# OpenSSL is taken from the system.
_HTTPLIB_BUILD = """
load("@rules_cc//cc:defs.bzl", "cc_library")

cc_library(
    name = "cpp-httplib",
    hdrs = ["httplib.h"],
    defines = ["CPPHTTPLIB_OPENSSL_SUPPORT"],
    includes = ["."],
    linkopts = [
        "-lssl",
        "-lcrypto",
        "-lpthread",
    ],
    visibility = ["//visibility:public"],
)
"""
