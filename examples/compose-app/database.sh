#!/bin/sh
# Writes the connection string of a preview into .database-url, for docker-compose.yml beside it.
#
#   database.sh [NAME]      without a name: the sandbox of the current git branch, made if it is not there
set -eu

here=$(cd "$(dirname "$0")" && pwd)
name=${1:-$(mayfly branch --wait --quiet)}

umask 077
mayfly url "$name" --wait >"$here/.database-url.new"
# In the container 127.0.0.1 is the container itself.
sed 's/@\(127\.0\.0\.1\|localhost\):/@host.docker.internal:/' "$here/.database-url.new" >"$here/.database-url"
rm "$here/.database-url.new"
echo "the connection string of $name is in $here/.database-url"
