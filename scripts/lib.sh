# shellcheck shell=bash
# What the scripts here share. Source it; it runs nothing by itself.
# It must also work with the bash 3.2 of macOS: no associative arrays, no mapfile.

say() { printf '%s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

is_root() { [ "$(id -u)" -eq 0 ]; }

# Administrative programs live in directories that an ordinary user's PATH may lack.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH

engine_answers() { have docker && docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

image_present() { docker image inspect "$1" >/dev/null 2>&1; }

# bounded SECONDS COMMAND...: like timeout(1), which macOS does not have.
bounded() {
	local limit=$1 pid waited=0
	shift
	"$@" &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		if [ "$waited" -ge "$((limit * 5))" ]; then
			kill "$pid" 2>/dev/null || true
			wait "$pid" 2>/dev/null || true
			return 124
		fi
		sleep 0.2
		waited=$((waited + 1))
	done
	wait "$pid"
}

# is_debian_like: whether apt-get can install things here.
is_debian_like() {
	[ -r /etc/os-release ] && have apt-get || return 1
	# shellcheck disable=SC1091 # read on the user's machine
	(. /etc/os-release && case " ${ID:-} ${ID_LIKE:-} " in *" debian "* | *" ubuntu "*) exit 0 ;; *) exit 1 ;; esac)
}
