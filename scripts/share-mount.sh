#!/usr/bin/env bash
# Makes a directory of the engine's host able to pass mounts on (mount propagation "shared").
#
#   share-mount.sh DIR IMAGE
#
# The service mounts its pool from inside a container, and the engine must see that mount to give previews their
# directories. That needs DIR to lie on a shared mount. Where systemd runs everything does; elsewhere DIR is
# bind-mounted on itself and that mount is made shared. Nothing happens if it is shared already, and a reboot undoes it, so
# run this before every start. A one-shot container does the work in the engine's mount namespace, so the right to use
# Docker is enough, and it is the engine's host that is changed even if the engine is in a virtual machine.
#
# IMAGE: any image with nsenter (all Debian-based ones).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

[ $# -eq 2 ] || die "usage: share-mount.sh DIR IMAGE"
dir=$1 image=$2
case $dir in
/*) ;;
*) die "the data directory must be an absolute path, not '$dir'" ;;
esac
[ "$dir" != / ] || die "the data directory cannot be /"

# Runs on the host with its own programs; the directory comes as an argument, never as program text.
# shellcheck disable=SC2016
on_host='
set -eu
dir=$1
[ -d "$dir" ] || { mkdir -p "$dir"; chmod 711 "$dir"; }
dir=$(readlink -f "$dir")

# mount_of DIR: "MOUNTPOINT shared|private" of the mount that DIR lies on. Later lines hide earlier ones.
mount_of() {
	best= state=
	while read -r _ _ _ _ point _ rest; do
		point=$(printf "%b" "$point")
		case $1/ in
		"${point%/}"/*) ;;
		*) continue ;;
		esac
		if [ "${#point}" -ge "${#best}" ]; then
			best=$point
			case " ${rest%% - *} " in
			*" shared:"*) state=shared ;;
			*) state=private ;;
			esac
		fi
	done </proc/self/mountinfo
}

mount_of "$dir"
[ "$state" = private ] || exit 0
if [ "$best" != "$dir" ]; then mount --bind "$dir" "$dir"; fi
mount --make-shared "$dir"
mount_of "$dir"
[ "$best $state" = "$dir shared" ] || { echo "still not shared: $dir" >&2; exit 1; }
echo "made $dir a shared mount"
'

# The mount table that counts is that of the engine. Where its process has another name, the first process has the same.
# shellcheck disable=SC2016
enter='
engine=1
for process in /proc/[0-9]*; do
	if [ "$(cat "$process/comm" 2>/dev/null)" = dockerd ]; then engine=${process#/proc/}; break; fi
done
exec nsenter --target "$engine" --mount -- /bin/sh -c "$1" sh "$2"
'

# Not --privileged: entering and changing the mount namespace takes these two capabilities (setns(2), ptrace(2)), and there
# are hosts whose own root lacks some other one, where a privileged container cannot start.
docker run --rm --pid host --network none --cap-add SYS_ADMIN --cap-add SYS_PTRACE \
	--security-opt apparmor=unconfined --security-opt label=disable \
	--label dev.mayfly.role=share-mount --entrypoint /bin/sh "$image" -c "$enter" sh "$on_host" "$dir" >&2 ||
	die "cannot make $dir a shared mount on the engine's host. As root there, run:
    mkdir -p '$dir' && mount --bind '$dir' '$dir' && mount --make-shared '$dir'"
