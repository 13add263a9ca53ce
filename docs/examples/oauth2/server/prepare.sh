#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Gets oidc-provider (npm) and nginx (Debian), and keeps both in
# ${XDG_CACHE_HOME:-~/.cache}/refreshable-bazelw. Prints two lines last: the
# folder of the server, and the nginx program.
#
#   prepare.sh CHECKOUT
#
# If that is not possible, prints "NOT RUN: reason" last and exits 75.

set -uo pipefail

cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" || exit 1
readonly CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/refreshable-bazelw
readonly SERVER=$CACHE/oauth2_server

not_run() {
  echo "NOT RUN: $*"
  exit 75
}

get_server() {
  local sum
  sum=$(cat package.json package-lock.json server.mjs | cksum)
  if [[ $(cat "$SERVER/sum" 2>/dev/null) == "$sum" ]]; then return; fi
  rm -rf "$SERVER" && mkdir -p "$SERVER" &&
    cp package.json package-lock.json server.mjs "$SERVER/" &&
    (cd "$SERVER" && npm ci --no-audit --no-fund --loglevel=error) &&
    echo "$sum" >"$SERVER/sum"
}

[[ -n $(type -P node) && -n $(type -P npm) ]] ||
  not_run "there is no Node.js with npm"
(($(node -p 'process.versions.node.split(".")[0]') >= 20)) ||
  not_run "Node.js is older than version 20"
mkdir -p "$CACHE" || not_run "cannot write to $CACHE"
get_server >"$CACHE/oauth2_server.log" 2>&1 </dev/null ||
  not_run "npm cannot install oidc-provider ($CACHE/oauth2_server.log)"
nginx=$(type -P nginx) || nginx=$CACHE/nginx/usr/sbin/nginx
[[ -x $nginx ]] ||
  "$1/.ci/get_nginx" "$CACHE/nginx" >"$CACHE/nginx.log" 2>&1 </dev/null ||
  not_run "Debian's nginx is out of reach ($CACHE/nginx.log)"
echo "$SERVER"
echo "$nginx"
