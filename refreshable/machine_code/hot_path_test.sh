#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# hot_path_test.sh BINARY: clause R1 in the machine code. A read that finds a
# token holds no instruction that locks the bus or a cache line, and no fence.
# What the compiler has set apart as unlikely (NAME.cold) is not on that path.

set -euo pipefail

if [[ $(uname -m) != x86_64 ]]; then
  echo "the names of the instructions are those of x86-64: nothing to look at"
  exit 0
fi

listing() {
  objdump --disassemble="$2" --no-show-raw-insn "$1" | grep -E '^ +[0-9a-f]+:'
}
# An exchange with memory locks without saying so.
locking='[[:space:]](lock|mfence|lfence|sfence|xacquire|cmpxchg)|[[:space:]]xchg.*\('

if ! listing "$1" HotPathWithALock | grep -qE "$locking"; then
  echo "FAILED: did not see the lock that is there; is objdump at hand?"
  exit 1
fi
read_path=$(listing "$1" HotPathRead)
if [[ $(wc -l <<<"$read_path") -lt 15 ]]; then
  echo "FAILED: the read is not inlined where it is called:"
  echo "$read_path"
  exit 1
fi
if grep -E "$locking" <<<"$read_path"; then
  echo "FAILED: these instructions are on the path of a read"
  exit 1
fi
echo "$(wc -l <<<"$read_path") instructions, none of which locks:"
echo "$read_path"
