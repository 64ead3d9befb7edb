#!/usr/bin/env bash
# Provides container images without needing a container registry.
#
#   build-image.sh MAJOR...   a Postgres image per major version (13, 15, 17, 18)
#   build-image.sh base       the base image of Mayfly's own Dockerfile
#   build-image.sh runner     what the tests take for a project's own image: Rails' migrations, Django, Alembic and Knex
#   build-image.sh --print MAJOR|base|runner
#                             only say which image would be used; exit 1 if there is none yet
#
# The names of the images are printed on standard output, one a line; everything else goes to standard error.
#
# For each, the first of these: the official image if the engine has it; the one made here before if its recipe is the
# current one; the official image pulled; one made now from Debian packages. The first stage of debootstrap (download,
# verify, unpack) runs here, as an ordinary user in a user namespace; the second stage (configure) runs inside a container.
# So nothing needs root, only the right to use Docker, and root takes the same path as everybody else.
#
# Environment:
#   MAYFLY_PULL=0           do not try to pull
#   MAYFLY_DEBIAN_MIRROR    a Debian mirror; debootstrap's own default otherwise (on Ubuntu that has no Debian in it)
#   XDG_CACHE_HOME          downloaded packages are kept in its mayfly/ directory (~/.cache otherwise)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

LABEL=dev.mayfly.image
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# set_recipe KIND: what goes into an image. Everything assigned here is in the recipe hash.
set_recipe() {
	major='' npm=''
	case $1 in
	# Debian has pgvector from trixie on.
	13) suite=bullseye packages='' ;;
	15) suite=bookworm packages='' ;;
	17) suite=trixie packages=postgresql-17-pgvector ;;
	18) suite=forky packages=postgresql-18-pgvector ;;
	base)
		suite=bookworm packages=xfsprogs,btrfs-progs,ca-certificates,mount,util-linux
		official=debian:bookworm-slim local_image=mayfly-base:bookworm
		path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
		return
		;;
	runner)
		suite=bookworm official='' local_image=mayfly-test-runner:local npm='knex@3.1.0 pg@8.13.1'
		packages=alembic,python3-psycopg2,python3-django,ruby-activerecord,ruby-pg,rake,nodejs,ca-certificates
		path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
		return
		;;
	*) die "no recipe for '$1': give 13, 15, 17, 18, base or runner" ;;
	esac
	major=$1
	packages="postgresql-$major,locales,ca-certificates${packages:+,$packages}"
	official=postgres:$major local_image=mayfly-postgres:$major
	path=/usr/lib/postgresql/$major/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
}

# image_changes: the image's metadata, one Dockerfile instruction a line, for `docker import --change`.
image_changes() {
	printf '%s\n' "ENV PATH=$path" 'ENV LANG=C.UTF-8'
	if [ -n "$major" ]; then
		printf '%s\n' "ENV PG_MAJOR=$major" "LABEL $LABEL.postgres=$major" 'CMD ["postgres"]'
	else
		printf '%s\n' 'CMD ["bash"]'
	fi
	printf '%s\n' "LABEL $LABEL.suite=$suite"
}

recipe_hash() {
	{
		printf '%s\n' "$suite" "$packages" ${npm:+"$npm"}
		image_changes
		cat "$here/image/finish.sh"
	} | if have sha256sum; then sha256sum; else shasum -a 256; fi | cut -c1-16
}

local_is_current() {
	[ "$(docker image inspect --format "{{index .Config.Labels \"$LABEL.recipe\"}}" "$local_image" 2>/dev/null)" = "$(recipe_hash)" ]
}

registry=untried # untried, answers or silent; one silent answer spares the other majors the wait

# try_pull IMAGE: an engine that cannot reach the registry says so at once or never; 15 seconds separate the two. Once
# the registry has answered, the layers get as long as a slow line needs.
try_pull() {
	local image=$1 log pid waited=0 limit=75
	[ -n "$image" ] && [ "${MAYFLY_PULL:-1}" != 0 ] && [ "$registry" != silent ] || return 1
	say "pulling $image"
	log=$(mktemp "$scratch/pull.XXXXXX")
	docker pull "$image" >"$log" 2>&1 &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		if grep -q 'Pulling from' "$log"; then
			registry=answers limit=3000
		fi
		if [ "$waited" -ge "$limit" ]; then
			kill "$pid" 2>/dev/null || true
			break
		fi
		sleep 0.2
		waited=$((waited + 1))
	done
	if wait "$pid"; then
		registry=answers
		return 0
	fi
	if [ "$registry" = untried ] && ! grep -qiE 'manifest|not found|denied' "$log"; then
		registry=silent
	fi
	say "cannot pull $image: $(tail -n 1 "$log")"
	return 1
}

# find_namespace sets the command prefix with which an ordinary user may unpack packages as if root.
namespace=()
find_namespace() {
	is_root && return
	if have unshare && unshare --map-root-user true 2>/dev/null; then
		namespace=(unshare --map-root-user)
	elif have fakeroot; then
		namespace=(fakeroot)
	else
		die "this user may not create user namespaces, and fakeroot is missing. Run:
    sudo apt-get update && sudo apt-get install -y fakeroot"
	fi
}

need_build_tools() {
	[ "$(uname -s)" = Linux ] || die "${official:-$local_image} can neither be found nor pulled, and building it needs Linux.
Check the engine's way to the registry with: docker pull $official"
	if ! have debootstrap || ! have wget || ! [ -r "$KEYRING" ]; then
		die "${official:-$local_image} can neither be found nor pulled, and the programs to build $local_image are missing. Run:
    sudo apt-get update && sudo apt-get install -y debootstrap debian-archive-keyring wget
(or make $official available to the engine), and start again."
	fi
}

# unpack: the first stage of debootstrap into $1, without chroot, devices or ownership.
unpack() {
	local root=$1 cache=$2 script=''
	# A suite newer than this machine's debootstrap: the recipe of Debian's newest suite always fits.
	[ -e "${DEBOOTSTRAP_DIR:-/usr/share/debootstrap}/scripts/$suite" ] || script=sid
	# container=lxc makes debootstrap accept that it cannot create device nodes. The second stage unpacks every package
	# again as real root, so the owners that tar cannot set here are set there.
	if ! env container=lxc TAR_OPTIONS=--no-same-owner ${namespace[@]+"${namespace[@]}"} \
		debootstrap --foreign --variant=minbase --merged-usr --keyring="$KEYRING" --force-check-gpg \
		--cache-dir="$cache" --include="$packages" "$suite" "$root" "${MAYFLY_DEBIAN_MIRROR:-}" $script >&2; then
		tail -n 20 "$root/debootstrap/debootstrap.log" >&2 || true
		die "debootstrap could not get $suite (a mirror nearer to you can be named in MAYFLY_DEBIAN_MIRROR)"
	fi
}

# add_npm ROOT: what comes from npm, below /opt/knex. Debian's npm is large: it is installed only where there is none.
add_npm() {
	if ! have npm; then
		if is_root && is_debian_like; then
			say "installing: npm"
			apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends npm >&2
		else
			die "npm is missing, and $local_image has packages of it. Run:
    sudo apt-get update && sudo apt-get install -y npm"
		fi
	fi
	# shellcheck disable=SC2086 # a list of packages
	npm install --prefix "$1/opt/knex" --omit=dev --ignore-scripts --no-audit --no-fund --no-package-lock $npm >&2
}

build() {
	local root cache container changes line stage
	need_build_tools
	find_namespace
	cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/mayfly/debs
	mkdir -p "$cache"
	# One build at a time: the package cache is shared, and so is the machine.
	exec 9>"$cache/.lock"
	if ! flock -n 9; then
		say "waiting for another build of images to finish"
		flock 9
		if local_is_current; then return; fi
	fi

	say "building $local_image from Debian $suite (downloads are kept in $cache)"
	root=$(mktemp -d "$scratch/root.XXXXXX")
	unpack "$root" "$cache"
	if [ -n "$npm" ]; then add_npm "$root"; fi
	mkdir "$root/debootstrap/mayfly"
	cp "$here/image/finish.sh" "$root/debootstrap/mayfly/finish.sh"
	chmod 755 "$root" "$root/debootstrap/mayfly/finish.sh"
	stage=$(tar -C "$root" --owner=0 --group=0 --numeric-owner --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' -c . |
		docker import --change "LABEL $LABEL.stage=1" -)
	rm -rf "$root"
	stages+=("$stage")

	container=$(docker create --network none --label "$LABEL.stage=1" --env DEBIAN_FRONTEND=noninteractive \
		--env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$stage" \
		/bin/sh /debootstrap/mayfly/finish.sh "${major:-base}")
	containers+=("$container")
	docker start --attach "$container" >&2

	changes=()
	while IFS= read -r line; do changes+=(--change "$line"); done < <(
		image_changes
		echo "LABEL $LABEL.recipe=$(recipe_hash)"
	)
	# Imported whole, then named: whoever uses the old image under this name never sees a half-made one.
	stage=$(docker export "$container" | docker import "${changes[@]}" -)
	docker tag "$stage" "$local_image"
	forget_stages
	say "built $local_image ($(($(docker image inspect --format '{{.Size}}' "$local_image") / 1000000)) MB)"
}

stages=() containers=()
forget_stages() {
	local it
	for it in ${containers[@]+"${containers[@]}"}; do docker rm -f "$it" >/dev/null 2>&1 || true; done
	for it in ${stages[@]+"${stages[@]}"}; do docker rmi "$it" >/dev/null 2>&1 || true; done
	stages=() containers=()
}

main() {
	local print=false kind
	if [ "${1:-}" = --print ]; then
		print=true
		shift
	fi
	[ $# -gt 0 ] || die "usage: build-image.sh [--print] MAJOR...|base|runner"
	engine_answers || die "no Docker engine answers (scripts/ensure-machine.sh says what to do)"

	for kind in "$@"; do
		set_recipe "$kind"
		if [ -n "$official" ] && image_present "$official"; then
			echo "$official"
		elif $print; then
			image_present "$local_image" || exit 1
			echo "$local_image"
		elif local_is_current; then
			echo "$local_image"
		elif try_pull "$official" >&2; then
			echo "$official"
		else
			build
			echo "$local_image"
		fi
	done
}

scratch=$(mktemp -d "${TMPDIR:-/tmp}/mayfly-image.XXXXXX")
cleanup() {
	forget_stages
	rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
main "$@"
