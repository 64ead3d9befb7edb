#!/usr/bin/env bash
# Sees to it that this machine has what Mayfly needs, and installs only what is missing.
#
#   ensure-machine.sh [--race]     --race: also a C compiler, which `go test -race` needs
#
# A Docker engine that answers is used as it is and never reconfigured. If none answers, root on Debian or Ubuntu gets
# one; anybody else gets the exact commands and exit code 1. An ordinary user who may use Docker can go on without the
# other programs as long as images can be pulled or are there already, so for them missing ones are only a warning.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

ENGINE_LOG=/var/log/mayfly-dockerd.log

may_install() { is_root && is_debian_like; }

lists_are_fresh=false
apt_install() {
	say "installing: $*"
	if ! $lists_are_fresh; then
		apt-get update -qq >&2
		lists_are_fresh=true
	fi
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# packaged NAME: whether this release has a package of that name (after apt-get update).
packaged() { apt-cache show "$1" >/dev/null 2>&1; }

require_go() {
	have go && return
	[ -x /usr/local/go/bin/go ] && return
	die "Go is missing. Install Go $(sed -n 's/^go //p' "$here/../go.mod") or newer (https://go.dev/doc/install) and start again."
}

# tell_how_to_get_an_engine ends the script with what this very user can do about it.
tell_how_to_get_an_engine() {
	local reason
	reason=$(docker version --format '{{.Server.Version}}' 2>&1 | tail -n 1 || true)
	case $reason in
	*"permission denied"*)
		die "there is a Docker engine, but $(id -un) may not use it. Run:
    sudo usermod -aG docker $(id -un) && newgrp docker
and start again."
		;;
	esac
	if have docker && [ -n "${DOCKER_HOST:-}" ]; then
		die "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST: $reason"
	fi
	if is_debian_like; then
		die "no Docker engine answers. Run:
    sudo apt-get update && sudo apt-get install -y docker.io
    sudo systemctl enable --now docker
    sudo usermod -aG docker $(id -un) && newgrp docker
and start again."
	fi
	if [ "$(uname -s)" = Darwin ]; then
		die "no Docker engine answers. Start Docker Desktop (or another engine that offers a Docker socket) and start again."
	fi
	die "no Docker engine answers. Install one for this system (https://docs.docker.com/engine/install/), start it, and start again."
}

# drop_stale_pid_file FILE PROGRAM: after a crash or a reboot the number in a pid file may belong to somebody else's
# process, and then dockerd refuses to start, or waits for a containerd that is not there.
drop_stale_pid_file() {
	local pid
	[ -s "$1" ] || return 0
	pid=$(cat "$1")
	if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != "$2" ]; then
		say "removing the stale pid file $1"
		rm -f "$1"
	fi
}

# wait_for_engine SECONDS [PID]: until the engine answers; fails early when the process is gone.
wait_for_engine() {
	local left=$(($1 * 5))
	until engine_answers; do
		[ "$left" -gt 0 ] || return 1
		[ -z "${2:-}" ] || kill -0 "$2" 2>/dev/null || return 1
		sleep 0.2
		left=$((left - 1))
	done
}

start_engine() {
	local pid
	if [ -d /run/systemd/system ]; then
		systemctl enable --now docker >&2
		wait_for_engine 60 || die "docker.service does not answer; see: journalctl -u docker"
		return
	fi
	# Installing the package may have started one by the init script.
	if pgrep -x dockerd >/dev/null 2>&1 && wait_for_engine 15; then return; fi

	drop_stale_pid_file /var/run/docker.pid dockerd
	drop_stale_pid_file /var/run/docker/containerd/containerd.pid containerd
	# Nobody mounted the control groups where there is no init system either.
	if have cgroupfs-mount && ! mountpoint -q /sys/fs/cgroup; then cgroupfs-mount; fi

	say "starting dockerd (log: $ENGINE_LOG)"
	# A session of its own and no terminal: it must outlive this script and whatever called it.
	setsid nohup dockerd </dev/null >>"$ENGINE_LOG" 2>&1 &
	pid=$!
	if ! wait_for_engine 60 "$pid"; then
		tail -n 20 "$ENGINE_LOG" >&2
		die "dockerd does not answer; the end of its log is above"
	fi
}

ensure_engine() {
	local packages
	if engine_answers; then return; fi
	if [ -n "${DOCKER_HOST:-}" ] || ! may_install; then tell_how_to_get_an_engine; fi
	if ! have dockerd || ! have docker; then
		apt-get update -qq >&2
		lists_are_fresh=true
		packages=(docker.io iptables ca-certificates procps)
		# Newer releases have the command line, and older ones the control group mounts, in a package of their own.
		if packaged docker-cli; then packages+=(docker-cli); fi
		if packaged cgroupfs-mount; then packages+=(cgroupfs-mount); fi
		# With only the client missing, an engine from elsewhere may be running: it must not be replaced.
		if [ -S /var/run/docker.sock ] && ! have docker && pgrep -x dockerd >/dev/null 2>&1; then
			packages=(docker.io)
			if packaged docker-cli; then packages=(docker-cli); fi
		fi
		apt_install "${packages[@]}"
		if engine_answers; then return; fi
	fi
	start_engine
}

ensure_programs() {
	local missing=()
	[ "$(uname -s)" = Linux ] || return 0
	have mkfs.xfs || missing+=(xfsprogs)
	have debootstrap || missing+=(debootstrap)
	[ -r /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)
	have wget || missing+=(wget)
	have psql || missing+=(postgresql-client)
	have git || missing+=(git)
	if [ "${1:-}" = --race ] && ! have "${CC:-gcc}"; then missing+=(gcc libc6-dev); fi
	[ ${#missing[@]} -gt 0 ] || return 0
	if may_install; then
		apt_install "${missing[@]}"
	elif is_root; then
		die "missing programs; install the equivalents of these Debian packages and start again: ${missing[*]}"
	else
		warn "missing programs; this matters only if a later step says so. To install them:
    sudo apt-get update && sudo apt-get install -y ${missing[*]}"
	fi
}

require_go
ensure_engine
ensure_programs "$@"
say "machine ready: Docker engine $(docker version --format '{{.Server.Version}}')"
