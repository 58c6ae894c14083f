#!/bin/bash
# What runs, and where it listens.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
if ! supervisorctl pid >/dev/null 2>&1; then
	echo "Nothing runs: make up"
	exit 0
fi
supervisorctl status || true
cat <<END

Work list and API  http://$DESK_HTTP/
C-STORE            VIGIE@$VIGIE_DICOM
STOW-RS            http://$DOOR_HTTP/dicomweb/studies
Results go to      ${VIGIE_SEND_TO:-${VIGIE_DESTINATIONS:-nowhere else (VIGIE_SEND_TO=AET@HOST:PORT make up)}}
Logs               $UP/log
END
