#!/bin/sh
# Entrypoint of the state database in docker-compose.yml. It does not rely on the official image's own entrypoint, so that
# images built from Debian packages serve as well.
#
# Expects: /state and /run/state-secrets (volumes), /run/state (tmpfs). Makes the password, and the file with it that clients read.
set -eu

data=/state/pgdata
secrets=/run/state-secrets

if [ "$(id -u)" = 0 ]; then
	# Images differ in the postgres user's number; a volume outlives the image it was made with.
	if [ "$(stat -c %u /state)" != "$(id -u postgres)" ]; then chown -R postgres:postgres /state; fi
	if ! [ -s "$secrets/password" ]; then
		if [ -e "$data/PG_VERSION" ]; then
			echo "the password of the state database is lost: the volume state-secrets is empty, state-data is not" >&2
			exit 1
		fi
		(umask 077 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$secrets/password.new" && mv "$secrets/password.new" "$secrets/password")
	fi
	# The same in the form that Postgres clients read (PostgreSQL docs, "The Password File").
	(umask 077 && printf 'state:5432:*:mayfly:%s\n' "$(cat "$secrets/password")" >"$secrets/pgpass.new" && mv "$secrets/pgpass.new" "$secrets/pgpass")
	cat "$secrets/password" >/run/state/password
	chown -R postgres:postgres /run/state
	chmod 700 /run/state
	chmod 400 /run/state/password
	for step_down in gosu su-exec; do
		if command -v "$step_down" >/dev/null; then exec "$step_down" postgres /bin/sh "$0" "$@"; fi
	done
	exec setpriv --reuid=postgres --regid=postgres --init-groups /bin/sh "$0" "$@"
fi

if ! [ -e "$data/PG_VERSION" ]; then
	# Made aside and renamed when complete: a crash half-way leaves nothing that looks like a database.
	rm -rf "$data.new"
	initdb -D "$data.new" -U mayfly --pwfile=/run/state/password --auth-local=scram-sha-256 --auth-host=scram-sha-256 \
		--encoding=UTF8 --locale=C.UTF-8 --data-checksums
	echo 'host all all samenet scram-sha-256' >>"$data.new/pg_hba.conf"
	echo 'CREATE DATABASE mayfly' | postgres --single -j -D "$data.new" postgres
	mv "$data.new" "$data"
fi

have=$(cat "$data/PG_VERSION")
image=$(postgres --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
if [ "$have" != "$image" ]; then
	echo "the state database was made by Postgres $have, this image has $image: set POSTGRES_IMAGE to an image of $have" >&2
	exit 1
fi

exec postgres -D "$data" -c listen_addresses='*' -c unix_socket_directories=/run/state
