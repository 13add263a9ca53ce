# SPDX-License-Identifier: Apache-2.0
#
# awk -v file=FILE -f plant.awk mutants.txt SOURCE: prints SOURCE with the faults
# for FILE planted. Fails unless each line to replace is found exactly once in
# its function, which begins in the first column and ends with a "}" there.

function trim(s) {
  gsub(/^[ \t]+|[ \t]+$/, "", s)
  return s
}

BEGIN {
  print "#include \"refreshable/testing/explorer_mutants/planted_test_util.h\""
  print "#line 1 \"" file "\""
}

# The table.
FNR == NR {
  if (/^in /) {
    wanted = $2 == file
    if (wanted) inside[++entries] = $3
  } else if (/^- / && wanted) {
    from[entries] = trim(substr($0, 3))
  } else if (/^\+ / && wanted) {
    to[entries] = trim(substr($0, 3))
  }
  next
}

/^[A-Za-z]/ { function_head = $0 }
/^}/ { function_head = "" }

{
  line = $0
  for (i = 1; i <= entries; ++i) {
    if (trim($0) == from[i] && index(function_head, "::" inside[i] "(")) {
      ++found[i]
      line = to[i]
    }
  }
  print line
}

END {
  if (entries == 0) {
    print "plant.awk: no fault for " file > "/dev/stderr"
    exit 1
  }
  for (i = 1; i <= entries; ++i) {
    if (found[i] == 1 && to[i] != "") continue
    print "plant.awk: in " file ", " inside[i] ", found " found[i] + 0 \
      " times, not once: " from[i] > "/dev/stderr"
    exit 1
  }
}
