#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# hot_path_test.sh BINARY [CALL]: checks clause R1 in the machine code of a read
# that finds a token. The read must contain no instruction that locks the bus or
# a cache line, and no fence. It must not write two pointers with one store,
# because the loads that follow would have to wait for such a store. It must
# call nothing but the clock, the user's function, functions off the fast path,
# and the function named CALL, if given. (Code that the compiler has set apart
# as unlikely, NAME.cold, is not examined.)

set -euo pipefail

if [[ $(uname -m) != x86_64 ]]; then
  echo "the names of the instructions are those of x86-64: nothing to look at"
  exit 0
fi

# Prints the instructions of the functions in the binary "$1" whose demangled
# name matches "$2".
listing() {
  objdump --disassemble --demangle --no-show-raw-insn "$1" |
    awk -v name="$2" '/^[0-9a-f]+ </ { on = $0 ~ name && $0 !~ /[.]cold/ }
                      on && /^ +[0-9a-f]+:/'
}
# The calls that a read may contain: the clock; the user's function, which
# HotPathRead has in a register; and functions off the fast path. With Clang the
# latter include stack unwinding and the release of an expired lease.
known=('<time@plt>' '\*%r[a-z0-9]+$' '<__(stack_chk_fail|assert_fail)@plt>'
  '<refreshable::internal::(abi_[a-z0-9_]+::)?HazardDomain::(ClearAndLook|ReleaseSlow)[(]'
  '<refreshable::internal::(abi_[a-z0-9_]+::)?HazardHolder::(Release|~HazardHolder)[(]'
  '<(__clang_call_terminate|_Unwind_Resume@plt)>$'
  '<refreshable::internal::(abi_[a-z0-9_]+::)?SnapshotCell::(TryHoldElsewhere|TryLoadByOtherClock)[(]'
  '<refreshable::Refreshable<.*>::GetSlow[(]'
  '<absl::.*(Status::UnrefNonInlined|StatusRep::Unref|StatusOrData<.*>::~StatusOrData)[(]')
if [[ -n ${2-} ]]; then known+=("<$2(@plt|@@GLIBC.*)?>"); fi
# Prints those of the instructions "$1" that call, or jump to, a function that
# is not in `known`. Fails if there are none.
unknown_calls() {
  grep -E '\bcall|\bj[a-z]+ .*<[^+]*>$|\bjmp +\*' <<<"$1" |
    grep -vE '<[A-Za-z]+\.cold>$' | grep -vE "$(IFS='|' && echo "${known[*]}")"
}
# The instructions that lock, and fences. An exchange with memory (xchg) locks
# even without a lock prefix.
locking='[[:space:]](lock|mfence|lfence|sfence|xacquire|cmpxchg)|[[:space:]]xchg.*\('

if ! listing "$1" '<HotPathWithALock>' | grep -qE "$locking"; then
  echo "FAILED: did not see the lock that is there; is objdump at hand?"
  exit 1
fi
if ! unknown_calls "$(listing "$1" '<HotPathWithACall>')" >/dev/null; then
  echo "FAILED: did not see the call that is there"
  exit 1
fi
for path in '<HotPathRead>' '::TryLoadByOtherClock[(]'; do
  read_path=$(listing "$1" "$path")
  if [[ $(wc -l <<<"$read_path") -lt 15 ]]; then
    echo "FAILED: $path is not inlined where it is called:"
    echo "$read_path"
    exit 1
  fi
  if grep -E "$locking" <<<"$read_path"; then
    echo "FAILED: these instructions are on the path of a read, in $path"
    exit 1
  fi
  if grep 'punpcklqdq' <<<"$read_path"; then
    echo "FAILED: two pointers are packed into one store, in $path"
    exit 1
  fi
  if unknown_calls "$read_path"; then
    echo "FAILED: these calls are on the path of a read, in $path"
    exit 1
  fi
  echo "$path: $(wc -l <<<"$read_path") instructions, none of which locks:"
  echo "$read_path"
done
