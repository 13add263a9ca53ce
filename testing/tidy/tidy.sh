#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# tidy.sh ROOT: prints every place in the source tree at ROOT that breaks one of
# the rules below, and exits with 1 if there is one.

set -euo pipefail

cd "$1"
broken=0

# The files allowed at the root, besides dot-files and Bazel's links.
for file in *; do
  case $file in
    BUILD.bazel | MODULE.bazel | MODULE.bazel.lock | WORKSPACE) ;;
    README.md | LICENSE | CONTRIBUTING.md | CHANGELOG.md | bazelw) ;;
    refreshable | executors | testing | benchmarks | docs) ;;
    bazel-* | user.bazelrc | compile_commands.json) ;;
    *)
      echo "$file: no such file belongs at the root"
      broken=1
      ;;
  esac
done

files=$(find executors refreshable testing benchmarks docs \
  \( -name '*.h' -o -name '*.cc' -o -name '*.bzl' -o -name '*.sh' \
  -o -name BUILD.bazel \) 2>/dev/null | sort) || true
if [[ -z $files ]]; then
  echo "$1: no sources here to look at"
  exit 1
fi

# docs/architecture.md must name each folder with sources. For a folder that
# contains data or the parts of an example, it is enough to name the parent
# folder.
for folder in $(dirname $files | sort -u); do
  while ! grep -qF "\`$folder/\`" docs/architecture.md 2>/dev/null; do
    case $folder in
      docs/examples/* | */corpus/*) folder=$(dirname "$folder") ;;
      *)
        echo "$folder: docs/architecture.md does not name it"
        broken=1
        break
        ;;
    esac
  done
done

# shellcheck disable=SC2086  # No file name has a space in it.
awk '
  function complain(message) {
    print FILENAME ":" FNR ": " message
    broken = 1
  }

  function forbid(pattern, message) {
    if (code ~ pattern) complain(message)
  }

  function end_of_file() {
    if (lines > 500 && !reason_for_length) {
      print file ": " lines " lines; over 500 needs a line \"// long: reason\""
      broken = 1
    }
    if (file ~ /BUILD\.bazel$/ && lines > 400) {
      print file ": " lines " lines; over 400 is more than one room"
      broken = 1
    }
    if (file ~ /_(testing|fixture|testutil)\.(h|cc)$/) {
      print file ": what only tests share is called _test_util"
      broken = 1
    }
    if (!licence) {
      print file ": does not begin with its licence"
      broken = 1
    }
    if (guard != "" && !guarded) {
      print file ": needs the include guard " guard
      broken = 1
    }
  }

  # Returns the include guard that a header of this project must have: the path
  # of the header in capital letters.
  function guard_of(path) {
    if (path !~ /\.h$/ || consumer) return ""
    path = toupper(path)
    gsub(/[^A-Z0-9]/, "_", path)
    return (path ~ /^REFRESHABLE_/ ? "" : "REFRESHABLE_") path "_"
  }

  FNR == 1 {
    if (file != "") end_of_file()
    file = FILENAME
    lines = reason_for_length = licence = guarded = 0
    consumer = file ~ /^docs\/examples\/external_sdk\//
    guard = guard_of(file)
    cc = file ~ /\.(h|cc)$/
    # Whether the file is a test, or code that only tests share.
    test = file ~ /_(test|test_util)\.(h|cc)$/
    library = file ~ /^refreshable\// && file !~ /^refreshable\/tests\// && \
      cc && !test
    machine = library && file ~ /^refreshable\/machine\//
    hazard = library && file ~ /^refreshable\/hazard\//
    value = library && file ~ \
      /^refreshable\/(generation|freshness|credential|policy|secret)\./
    ready = library && file ~ /^refreshable\/(sources|oauth2|integrations)\//
    pure = machine || value
    executors = file ~ /^executors\/.*(\.h|\.cc|BUILD\.bazel)$/
  }

  {
    ++lines
    if (FNR <= 2 && /SPDX-License-Identifier: Apache-2\.0/) licence = 1
    if (/^(\/\/|#) long: ./) reason_for_length = 1
    if ($0 == "#ifndef " guard) guarded = 1
    code = $0
    sub(/(^|[ \t])(\/\/|# ).*/, "", code)
  }

  # The pure machine and the value types use no thread and no clock.
  pure {
    forbid("#include <(thread|mutex|shared_mutex|condition_variable|future|" \
           "atomic)>|#include \"absl/synchronization/|" \
           "std::(jthread|thread|mutex|atomic)|absl::(Mutex|Notification)",
           "no threads or locks in this room")
    forbid("(::|\\.|->)Now\\(|SystemClock|clock_gettime|" \
           "#include <(chrono|ctime)>|SleepFor|sleep_for",
           "time is a value passed in, in this room")
  }
  machine {
    forbid("#include (<functional>|\"absl/functional/)|std::function|" \
           "AnyInvocable|FunctionRef",
           "no callbacks in the pure machine")
    forbid("(^|[^A-Za-z_])template *<",
           "no templates in the pure machine: it is compiled once")
  }

  # A project that uses this library may have its own folders executors/ and
  # testing/, so an include of ours must name the library first.
  cc && !consumer {
    forbid("#include \"(executors|testing)/",
           "begin this path with refreshable/, as users do")
  }

  # No file may include a file of a higher floor (see docs/architecture.md), and
  # no target of executors/ may depend on a target of a higher floor.
  executors {
    gsub(/"refreshable\/executors(\/|")|"\/\/testing:test\.bzl"/, "\"", code)
    forbid("\"(@[a-z_]*)?(//)?(refreshable|testing|benchmarks|docs)[/:]",
           "executors/ stands on the ground floor")
  }
  library {
    forbid("#include \"(refreshable/testing|benchmarks|docs)/",
           "refreshable/ stands below testing/, benchmarks/ and docs/")
    forbid("#include \"refreshable/executors/(thread|manual)_executor\\.h\"",
           "refreshable/ takes any Executor and names none")
  }
  value {
    forbid("#include \"refreshable/(machine|hazard|shell)/",
           "a value stands below the machine and the shell")
  }
  ready {
    forbid("#include \"refreshable/(machine|hazard|shell)/",
           "ready sources use what users see")
  }
  machine {
    forbid("#include \"refreshable/(hazard|shell)/",
           "the machine stands below the shell and beside the hazard domain")
  }
  hazard {
    gsub(/"refreshable\/(hazard|internal|executors)\//, "\"", code)
    forbid("#include \"refreshable/", "the hazard domain knows nothing of the library")
  }
  file ~ /^testing\// && cc {
    forbid("#include \"(benchmarks|docs)/",
           "testing/ stands below benchmarks/ and docs/")
  }

  # Every test runs, without fixed delays, and does the same each time.
  test {
    forbid("GTEST_SKIP|DISABLED_", "no test is skipped")
    forbid("SleepFor|sleep_for|sleep_until|(^|[^A-Za-z_])(u|nano)?sleep\\(",
           "no test sleeps")
    forbid("random_device|absl::(Insecure)?BitGen[^A-Za-z_]|" \
           "(^|[^A-Za-z_])s?rand\\(",
           "no test draws unseeded numbers")
  }

  END {
    end_of_file()
    exit broken
  }
' $files || broken=1

exit "$broken"
