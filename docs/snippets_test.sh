#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Checks that every code block of a document below a line
#   <!-- snippet: FILE#NAME -->
# equals the text in FILE between the lines "// [NAME]" and "// [/NAME]". These
# lines may begin with # instead of //. FILE may have several such parts.

set -euo pipefail

failed=0
checked=0
for document in "$@"; do
  while read -r file name; do
    want=$(awk -v name="$name" '
      {marker = $1 == "//" || $1 == "#" ? $2 : ""}
      marker == "[/" name "]" {on = 0}
      on {print}
      marker == "[" name "]" {on = 1}' "$file")
    have=$(awk -v head="<!-- snippet: $file#$name -->" '
      $0 == head {armed = 1; next}
      armed && /^```/ {armed = 0; on = 1; next}
      on && /^```/ {exit}
      on {print}' "$document")
    checked=$((checked + 1))
    if [[ -z $want || $want != "$have" ]]; then
      failed=1
      echo "$document: snippet $name is not what stands in $file:"
      diff <(printf '%s\n' "$have") <(printf '%s\n' "$want") || true
    fi
  done < <(sed -nE 's/^<!-- snippet: ([^#]+)#([^ ]+) -->$/\1 \2/p' "$document")
done
# An SDK with OAuth 2.0 takes at most 20 lines of its own.
lines=$(awk '$2 == "[/twenty]" {on = 0} on && NF {++n} $2 == "[twenty]" {on = 1}
  END {print n + 0}' docs/examples/oauth2/notes_tokens.cc)
if ((lines < 1 || lines > 20)); then
  failed=1
  echo "notes_tokens.cc has $lines lines, and not 1 to 20"
fi
echo "$checked snippets checked"
[[ $checked -gt 0 && $failed -eq 0 ]]
