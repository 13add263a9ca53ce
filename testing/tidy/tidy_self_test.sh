#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Tests that tidy.sh accepts a tree that keeps its rules, and reports each
# broken rule.

set -euo pipefail

readonly tidy=$1
readonly tree=$TEST_TMPDIR/tree
failed=0

fresh_tree() {
  rm -rf "$tree"
  mkdir -p "$tree"/{.ci,executors,refreshable/{hazard,machine,sources,tests},testing,benchmarks,docs/examples}
  printf '`%s/`\n' executors refreshable refreshable/{hazard,machine,sources,tests} \
    testing benchmarks docs docs/examples >"$tree/docs/architecture.md"
  touch "$tree"/{BUILD.bazel,MODULE.bazel,WORKSPACE,README.md,LICENSE,bazelw,.bazelrc}
  local file
  for file in executors/{executor.h,BUILD.bazel} testing/fake.h \
    refreshable/{refreshable.h,policy.h,x_test.cc,hazard/cell.h,sources/a.h} \
    refreshable/{machine/refresh_machine.h,machine/refresh_machine.cc} \
    refreshable/tests/y_test_util.h; do
    printf '# SPDX-License-Identifier: Apache-2.0\n' >"$tree/$file"
  done
  for file in executors/executor testing/fake refreshable/policy \
    refreshable/refreshable refreshable/machine/refresh_machine \
    refreshable/hazard/cell refreshable/sources/a refreshable/tests/y_test_util; do
    local guard=${file#refreshable/}
    guard=${guard^^}
    echo "#ifndef REFRESHABLE_${guard//\//_}_H_" >>"$tree/$file.h"
  done
  printf '#include "refreshable/executors/manual_executor.h"\n#include "refreshable/testing/fake.h"\n' |
    tee -a "$tree/refreshable/tests/y_test_util.h" >>"$tree/refreshable/x_test.cc"
  printf '#include "absl/functional/any_invocable.h"\n#include <mutex>\n' \
    >>"$tree/refreshable/refreshable.h"
  printf 'int a;  // No absl::Now() here, as "absl/synchronization/mutex.h".\n' \
    >>"$tree/refreshable/machine/refresh_machine.cc"
}

# Adds the line "$2" to file "$1" of a clean tree. Expects a report that
# contains "$3".
expect_noticed() {
  local output
  fresh_tree
  printf '%s\n' "$2" >>"$tree/$1"
  if output=$(bash "$tidy" "$tree"); then
    echo "NOT NOTICED: '$2' in $1"
    failed=1
  elif [[ $output != "$1:"*"$3"* || $(wc -l <<<"$output") -ne 1 ]]; then
    echo "NOT AS EXPECTED: '$2' in $1 gives: $output"
    failed=1
  fi
}

fresh_tree
bash "$tidy" "$tree" || {
  echo "A tree that keeps the rules is refused"
  failed=1
}

expect_noticed notes.txt 'x' 'at the root'

fresh_tree
mkdir "$tree"/testing/new "$tree"/docs/examples/covered
for folder in testing/new docs/examples/covered; do
  printf '# SPDX-License-Identifier: Apache-2.0\n' >"$tree/$folder/BUILD.bazel"
done
if output=$(bash "$tidy" "$tree") ||
  [[ $output != "testing/new: docs/architecture.md does not name it" ]]; then
  echo "NOT AS EXPECTED: a new folder gives: $output"
  failed=1
fi

for room in refreshable/machine/refresh_machine.h refreshable/policy.h; do
  expect_noticed $room '#include <thread>' 'no threads'
  expect_noticed $room '#include <mutex>' 'no threads'
  expect_noticed $room '#include "absl/synchronization/mutex.h"' 'no threads'
  expect_noticed $room 'auto t = absl::Now();' 'time is a value'
  expect_noticed $room 'auto t = clock->Now();' 'time is a value'
  expect_noticed $room 'absl::SleepFor(d);' 'time is a value'
done
machine=refreshable/machine/refresh_machine.cc
expect_noticed $machine '#include <functional>' 'no callbacks'
expect_noticed $machine '#include "absl/functional/any_invocable.h"' 'no callbacks'
expect_noticed $machine 'std::function<void()> f;' 'no callbacks'
expect_noticed $machine 'template <typename T>' 'no templates'

expect_noticed executors/executor.h '#include "refreshable/lease.h"' 'ground floor'
expect_noticed executors/executor.h \
  '#include "refreshable/testing/fake.h"' 'ground floor'
expect_noticed executors/executor.h '#include "benchmarks/x.h"' 'ground floor'
expect_noticed executors/BUILD.bazel 'deps = ["//refreshable:lease"],' 'ground floor'
expect_noticed refreshable/refreshable.h \
  '#include "refreshable/testing/fake.h"' 'stands below'
expect_noticed refreshable/refreshable.h '#include "benchmarks/x.h"' 'stands below'
expect_noticed refreshable/refreshable.h \
  '#include "refreshable/executors/thread_executor.h"' 'names none'
expect_noticed refreshable/hazard/cell.h \
  '#include "refreshable/executors/manual_executor.h"' 'names none'
expect_noticed refreshable/policy.h \
  '#include "refreshable/machine/refresh_machine.h"' 'stands below'
expect_noticed refreshable/machine/refresh_machine.h \
  '#include "refreshable/shell/shell.h"' 'stands below'
expect_noticed refreshable/sources/a.h \
  '#include "refreshable/shell/shell.h"' 'what users see'
expect_noticed refreshable/hazard/cell.h '#include "refreshable/lease.h"' 'knows nothing'
expect_noticed benchmarks/b.cc "$(printf '// SPDX-License-Identifier: %s\n%s' \
  Apache-2.0 '#include "executors/executor.h"')" 'as users do'
expect_noticed docs/examples/a.cc "$(printf '// SPDX-License-Identifier: %s\n%s' \
  Apache-2.0 '#include "testing/fake.h"')" 'as users do'
expect_noticed docs/examples/a.h "$(printf '// SPDX-License-Identifier: %s\n%s' \
  Apache-2.0 '#ifndef EXAMPLES_A_H_')" 'REFRESHABLE_DOCS_EXAMPLES_A_H_'
expect_noticed testing/fake.h '#include "docs/examples/x.h"' 'stands below'

expect_noticed refreshable/x_test.cc 'GTEST_SKIP();' 'skipped'
expect_noticed refreshable/x_test.cc 'TEST(A, DISABLED_B) {}' 'skipped'
expect_noticed refreshable/x_test.cc 'absl::SleepFor(absl::Seconds(1));' 'sleeps'
expect_noticed refreshable/x_test.cc 'std::this_thread::sleep_for(1s);' 'sleeps'
expect_noticed refreshable/x_test.cc 'usleep(1);' 'sleeps'
expect_noticed refreshable/tests/y_test_util.h 'absl::SleepFor(d);' 'sleeps'
expect_noticed refreshable/x_test.cc 'std::random_device device;' 'unseeded'
expect_noticed refreshable/x_test.cc 'absl::BitGen gen;' 'unseeded'

expect_noticed refreshable/refreshable.h "$(seq -f '// %g' 500)" 'over 500'
expect_noticed benchmarks/read_benchmark.cc 'int main() {}' 'licence'

expect_noticed executors/BUILD.bazel "$(seq -f '# %g' 400)" 'over 400'

fresh_tree
sed 's/Y_TEST_UTIL/Y_TESTING/' "$tree/refreshable/tests/y_test_util.h" \
  >"$tree/refreshable/tests/y_testing.h"
if output=$(bash "$tidy" "$tree") || [[ $output != *"is called _test_util" ]]; then
  echo "NOT AS EXPECTED: y_testing.h gives: $output"
  failed=1
fi

# A long file that states a reason is accepted.
fresh_tree
{
  seq -f '// %g' 500
  echo '// long: a table.'
} >>"$tree/refreshable/refreshable.h"
bash "$tidy" "$tree" || {
  echo "A long file with its reason is refused"
  failed=1
}

# A tree without sources is an error.
rm -rf "$tree"
mkdir "$tree"
if bash "$tidy" "$tree" >/dev/null; then
  echo "An empty tree is accepted"
  failed=1
fi

exit "$failed"
