# SPDX-License-Identifier: Apache-2.0
#
# awk -v file=FILE -f plant.awk mutants.txt SOURCE: prints SOURCE with the
# faults for FILE planted. Spaces and line breaks are ignored when a text is
# looked for, so the sources may be formatted anew. Each text to replace must
# occur exactly once in its function; otherwise plant.awk fails. A function
# begins in the first column, and ends with a "}" in the first column.

BEGIN {
  print "#include \"refreshable/testing/explorer_mutants/planted_test_util.h\""
  print "#line 1 \"" file "\""
}

# Reads the table of faults (mutants.txt).
FNR == NR {
  if (/^in /) {
    wanted = $2 == file
    if (wanted) inside[++entries] = $3
  } else if (/^- / && wanted) {
    from[entries] = substr($0, 3)
  } else if (/^\+ / && wanted) {
    to[entries] = substr($0, 3)
  }
  next
}

{ text = text $0 "\n" }

function fail(i, why) {
  print "plant.awk: in " file ", " inside[i] ": " why ": " from[i] \
    > "/dev/stderr"
  exit 1
}

# Sets `first` and `last` to where the function begins and ends in `text`.
# Returns `first`, which is 0 if there is no such function.
function find_function(name) {
  first = match(text, "\n[A-Za-z][^\n]*::" name "\\(")
  if (first) last = first + index(substr(text, first + 1), "\n}")
  return first
}

function replace(i,    wanted, packed, at, j, c, begin) {
  if (!find_function(inside[i])) fail(i, "no such function")
  wanted = from[i]
  gsub(/[ \t]/, "", wanted)
  # `packed` is the function without its spaces. `at` says where in `text` each
  # character of `packed` stands.
  packed = ""
  for (j = first; j <= last; ++j) {
    c = substr(text, j, 1)
    if (c ~ /[ \t\n]/) continue
    packed = packed c
    at[length(packed)] = j
  }
  begin = index(packed, wanted)
  if (!begin) fail(i, "not found")
  if (index(substr(packed, begin + 1), wanted)) fail(i, "found twice")
  text = substr(text, 1, at[begin] - 1) to[i] \
    substr(text, at[begin + length(wanted) - 1] + 1)
}

END {
  if (entries == 0) {
    print "plant.awk: no fault for " file > "/dev/stderr"
    exit 1
  }
  for (i = 1; i <= entries; ++i) replace(i)
  printf "%s", text
}
