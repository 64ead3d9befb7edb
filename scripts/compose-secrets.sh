#!/usr/bin/env bash
# Makes the state database's password for docker-compose.yml, once, in files that only their owner can read.
#
#   compose-secrets.sh [DIR]     (default: MAYFLY_SECRETS_DIR, else .mayfly beside docker-compose.yml)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=${1:-${MAYFLY_SECRETS_DIR:-$here/../.mayfly}}

umask 077
mkdir -p "$dir"
if ! [ -s "$dir/state-password" ]; then
	password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
	printf '%s\n' "$password" >"$dir/state-password.new"
	mv "$dir/state-password.new" "$dir/state-password"
fi
# The same in the form that Postgres clients read (PostgreSQL docs, "The Password File").
printf 'state:5432:*:mayfly:%s\n' "$(cat "$dir/state-password")" >"$dir/state-pgpass.new"
mv "$dir/state-pgpass.new" "$dir/state-pgpass"
