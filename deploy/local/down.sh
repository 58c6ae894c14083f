#!/bin/bash
# Stop the set; what it keeps stays in $UP.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
if pid=$(supervisorctl pid 2>/dev/null); then
	supervisorctl stop all
	supervisorctl shutdown >/dev/null
	while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
fi
epmd -port "$ERL_EPMD_PORT" -kill >/dev/null 2>&1 || true
echo "Nothing runs any more; the data stay in $UP"
