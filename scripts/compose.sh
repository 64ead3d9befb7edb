#!/usr/bin/env bash
# Runs docker compose (v2) or docker-compose (1.29) on docker-compose.yml with what it needs where no registry can be reached, or where the
# data directory is not on a shared mount: an image for the state database, and before `up` the data directory's mount.
#
#   compose.sh up -d | down | logs -f | ...     arguments as for docker compose
#
# Environment: MAYFLY_CONFIG, MAYFLY_DATA_DIR, MAYFLY_IMAGE, POSTGRES_IMAGE, STATE_MAJOR (17), MAYFLY_API_PUBLISH, MAYFLY_GATEWAY_PUBLISH, COMPOSE_PROJECT_NAME (mayfly).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
top=$(cd "$here/.." && pwd)

compose=()
find_compose() {
	if docker compose version >/dev/null 2>&1; then
		compose=(docker compose)
	elif have docker-compose; then
		compose=(docker-compose)
	elif is_root && is_debian_like; then
		say "installing docker-compose"
		apt-get update -qq >&2
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker-compose >&2
		compose=(docker-compose)
	else
		die "neither 'docker compose' nor 'docker-compose' is there. Run:
    sudo apt-get update && sudo apt-get install -y docker-compose
or install the compose plugin of your engine, and start again."
	fi
}

# absolute FILE: compose resolves relative paths against the compose file, people against where they are.
absolute() { printf '%s/%s\n' "$(cd "$(dirname "$1")" && pwd)" "$(basename "$1")"; }

find_compose
export COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME:-mayfly}
export MAYFLY_IMAGE=${MAYFLY_IMAGE:-mayfly:local}
export MAYFLY_DATA_DIR=${MAYFLY_DATA_DIR:-/var/lib/mayfly}
if [ -z "${MAYFLY_CONFIG:-}" ]; then
	MAYFLY_CONFIG=$top/mayfly.yaml
	[ -f "$MAYFLY_CONFIG" ] || MAYFLY_CONFIG=$top/examples/compose.yaml
fi
export MAYFLY_CONFIG

case " $* " in
*" up "*)
	# Docker would make a directory of a file that is not there.
	[ -f "$MAYFLY_CONFIG" ] || die "no configuration at $MAYFLY_CONFIG (set MAYFLY_CONFIG, or write one; README.md has the reference)"
	image_present "$MAYFLY_IMAGE" || die "no image $MAYFLY_IMAGE; make it with: make service-image"
	: "${POSTGRES_IMAGE:=$("$here/build-image.sh" "${STATE_MAJOR:-17}")}"
	"$here/share-mount.sh" "$MAYFLY_DATA_DIR" "$MAYFLY_IMAGE"
	;;
*)
	# Only looked at, never started.
	: "${POSTGRES_IMAGE:=$("$here/build-image.sh" --print "${STATE_MAJOR:-17}" || echo "postgres:${STATE_MAJOR:-17}")}"
	;;
esac
export POSTGRES_IMAGE
if [ -f "$MAYFLY_CONFIG" ]; then MAYFLY_CONFIG=$(absolute "$MAYFLY_CONFIG"); fi

exec "${compose[@]}" --project-directory "$top" -f "$top/docker-compose.yml" "$@"
