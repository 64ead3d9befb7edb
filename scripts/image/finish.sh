#!/bin/sh
# Runs inside the half-made image (see ../build-image.sh): installs the unpacked packages and slims the
# result. Its text is part of the recipe label, so a change here rebuilds the images.
#
#   finish.sh MAJOR|base
set -eu

kind=$1

# Documentation is a fifth of the image and nobody reads it there. Copyright files stay.
mkdir -p /etc/dpkg/dpkg.cfg.d
cat >/etc/dpkg/dpkg.cfg.d/slim <<'CFG'
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/lintian/*
path-exclude=/usr/share/locale/*
CFG

# The server package would create a cluster while it is configured; a preview brings its own.
mkdir -p /etc/postgresql-common/createcluster.d
echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/none.conf

if ! /debootstrap/debootstrap --second-stage; then
	tail -n 40 /debootstrap/debootstrap.log >&2 || true
	exit 1
fi

if [ "$kind" != base ]; then
	bin=/usr/lib/postgresql/$kind/bin
	"$bin/postgres" --version
	# Databases of production systems very often use this locale; the official image has it as well.
	localedef -i en_US -c -f UTF-8 en_US.UTF-8
	# Where a client or server looks for a socket when nobody says otherwise; any user may be the server.
	mkdir -p /run/postgresql
	chown postgres:postgres /run/postgresql
	chmod 3777 /run/postgresql
	# A private key that every copy of the image shares is worth nothing.
	rm -f /etc/ssl/private/ssl-cert-snakeoil.key /etc/ssl/certs/ssl-cert-snakeoil.pem
	find /etc/ssl/certs -xtype l -delete
	rm -rf /etc/postgresql
fi

rm -rf /debootstrap /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/*.log /var/log/apt /tmp/* \
	/usr/share/man/* /usr/share/info/* /usr/share/lintian
# Unpacked by the first stage, before the path-exclude rules were there.
find /usr/share/doc -depth -type f ! -name copyright -delete
find /usr/share/doc -depth -type l ! -name copyright -delete
find /usr/share/doc -depth -type d -empty -delete
find /usr/share/locale -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} +
: >/etc/machine-id
