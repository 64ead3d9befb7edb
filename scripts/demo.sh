#!/usr/bin/env bash
# Shows the whole of Mayfly on generated production data, and checks it (docs/demo.md). `make demo` calls it.
#
#   demo.sh              run it
#   demo.sh stop         stop and remove demos that were kept
#   demo.sh open BRANCH | sync NUMBER | merge NUMBER
#                        act on the kept demo's repository
#
# Environment: KEEP=1 leaves everything running at the end; MAJOR chooses the version of Postgres (the first of 17, 15 and
# 18 that there is an image for).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
top=$(cd "$here/.." && pwd)
go=go
have go || go=/usr/local/go/bin/go

(cd "$top" && CGO_ENABLED=0 "$go" build -buildvcs=false -trimpath -o bin/mayfly-demo ./examples/demo)
demo=$top/bin/mayfly-demo

if [ $# -gt 0 ] && [ "$1" != run ]; then exec "$demo" "$@"; fi

engine_answers || die "no Docker engine answers (scripts/ensure-machine.sh says what to do)"
[ -x "$top/bin/mayfly" ] || die "bin/mayfly is missing; run: make build"

image='' major=${MAJOR:-}
if [ -n "$major" ]; then
	image=$("$here/build-image.sh" "$major")
else
	for major in 17 15 18; do
		if image=$("$here/build-image.sh" --print "$major"); then break; fi
	done
	[ -n "$image" ] || die "there is no Postgres image; run: make images"
fi

arguments=(--mayfly "$top/bin/mayfly" --image "$image" --major "$major")
if [ "${KEEP:-0}" = 1 ]; then arguments+=(--keep); fi
# The service needs root. Who has not got it runs the service in its own container.
if ! is_root || [ "$(uname -s)" != Linux ]; then
	say "not root: building the service's own container image"
	arguments+=(--in-compose --compose "$here/compose.sh" --service-image "$("$here/service-image.sh")")
fi
exec "$demo" run "${arguments[@]}"
