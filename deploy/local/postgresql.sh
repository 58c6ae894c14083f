#!/bin/bash
# PostgreSQL on loopback, its data in $UP/postgresql. It refuses to run as root: then as the user of its package.
set -euo pipefail
binaries=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
data=$UP/postgresql
as=()
if [ "$(id -u)" = 0 ]; then
	as=(setpriv --reuid=postgres --regid=postgres --init-groups --reset-env --)
	install -d -m 0700 -o postgres -g postgres "$data"
	"${as[@]}" test -w "$data" || { echo "the user postgres cannot reach $data: set UP to a folder that everyone may enter" >&2; exit 1; }
fi
[ -e "$data/PG_VERSION" ] || "${as[@]}" "$binaries/initdb" -D "$data" -U vigie -A trust --locale=C.UTF-8 >/dev/null
cd /
exec "${as[@]}" "$binaries/postgres" -D "$data" -c unix_socket_directories= -c listen_addresses=127.0.0.1 -c port="$POSTGRESQL_PORT"
