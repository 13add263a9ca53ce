#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks that the source tree from which this test was built keeps the rules of
# tidy.sh ("$1"). The test runs outside the sandbox, so "$2" is a link to the
# MODULE.bazel of that tree itself.

set -euo pipefail

root=$(dirname "$(readlink -f "$2")")
[[ -d $root/executors ]] || {
  echo "$2 does not lead to the source tree, but to $root"
  exit 1
}
bash "$1" "$root"
