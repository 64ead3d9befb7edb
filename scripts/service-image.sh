#!/usr/bin/env bash
# Builds the image of the service, mayfly:local (or MAYFLY_IMAGE), with the plain builder that every engine has.
#
#   service-image.sh [BASE_IMAGE]
#
# The base is debian:bookworm-slim where the engine has it or can pull it, else one made from Debian packages.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
cd "$here/.."

base=${1:-$("$here/build-image.sh" base)}
image=${MAYFLY_IMAGE:-mayfly:local}
go=go
have go || go=/usr/local/go/bin/go
version=${MAYFLY_VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo dev)}

# For the engine's processor, which need not be this machine's.
arch=$(docker version --format '{{.Server.Arch}}')
mkdir -p bin/linux
CGO_ENABLED=0 GOOS=linux GOARCH=$arch "$go" build -buildvcs=false -trimpath -ldflags "-s -w -X main.version=$version" \
	-o bin/linux/mayfly ./cmd/mayfly

DOCKER_BUILDKIT=0 docker build --quiet --build-arg "BASE_IMAGE=$base" --label "dev.mayfly.image.version=$version" \
	--tag "$image" . >&2
echo "$image"
