#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Gets oidc-provider (npm) and, if nginx is not installed, nginx (Debian). Keeps
# them in ${XDG_CACHE_HOME:-~/.cache}/refreshable-bazelw. Prints two lines last:
# the folder of the server, and the nginx program.
#
#   prepare.sh CHECKOUT
#
# If it cannot get one of them, prints "NOT RUN: reason" last and exits with 75.

set -uo pipefail

cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" || exit 1
readonly CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/refreshable-bazelw
SERVER=$CACHE/oauth2_server-$(cat package.json package-lock.json ./*.mjs |
  cksum | cut -d' ' -f1)
readonly SERVER

not_run() {
  echo "NOT RUN: $*"
  exit 75
}

# Installs the server in $SERVER. Each version has a folder of its own, so that
# one checkout does not replace the server that another checkout runs.
get_server() {
  [[ -e $SERVER ]] && return
  local fresh
  fresh=$(mktemp -d "$SERVER.XXXXXX") &&
    cp package.json package-lock.json ./*.mjs "$fresh/" &&
    (cd "$fresh" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) &&
    mv -T "$fresh" "$SERVER"
}

[[ -n $(type -P node) && -n $(type -P npm) ]] ||
  not_run "there is no Node.js with npm"
(($(node -p 'process.versions.node.split(".")[0]') >= 20)) ||
  not_run "Node.js is older than version 20"
mkdir -p "$CACHE" || not_run "cannot write to $CACHE"
# If two copies of this script run at the same time, the second waits here.
exec 9>"$CACHE/oauth2_server.lock"
flock 9
get_server >"$CACHE/oauth2_server.log" 2>&1 </dev/null ||
  not_run "npm cannot install oidc-provider ($CACHE/oauth2_server.log)"
nginx=$(type -P nginx) || nginx=$CACHE/nginx/usr/sbin/nginx
[[ -x $nginx ]] ||
  "$1/.ci/get_nginx" "$CACHE/nginx" >"$CACHE/nginx.log" 2>&1 </dev/null ||
  not_run "Debian's nginx is out of reach ($CACHE/nginx.log)"
echo "$SERVER"
echo "$nginx"
