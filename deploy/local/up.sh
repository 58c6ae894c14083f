#!/bin/bash
# Start the set, or what of it is not running, and wait until it is ready.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
mkdir -p "$UP/log" "$VIGIE_DATA"

waits_for() { # waits_for WHAT COMMAND...
	local what=$1 end=$((SECONDS + 120))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || { echo "$what is not ready after two minutes; its log is in $UP/log" >&2; exit 1; }
		sleep 0.5
	done
	echo "$what is ready"
}

"$BIN/vigie" models export --repository "$UP/triton"
if supervisorctl pid >/dev/null 2>&1; then
	supervisorctl start all >/dev/null || true # those that run already are no error
else
	echo "${VIGIE_SEND_TO:-${VIGIE_DESTINATIONS:-}}" >"$UP/send_to"
	"$BIN/supervisord" --configuration "$REPOSITORY/deploy/local/supervisord.conf"
fi
waits_for PostgreSQL "$BIN/vigie" db upgrade
waits_for RabbitMQ "$BIN/vigie" queue status
waits_for Triton "$BIN/python" -c "import os, tritonclient.grpc as t; assert t.InferenceServerClient(os.environ['VIGIE_TRITON']).is_server_ready()"
ready="import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)"
waits_for "The desk" "$BIN/python" -c "$ready" "http://$DESK_HTTP/readyz"
waits_for "The door" "$BIN/python" -c "$ready" "http://$DOOR_HTTP/readyz"
exec "$(dirname "$0")/status.sh"
