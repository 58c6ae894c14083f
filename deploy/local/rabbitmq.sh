#!/bin/bash
# RabbitMQ on loopback, all it keeps in $UP/rabbitmq; RUNNING_UNDER_SYSTEMD: the script becomes the broker.
set -euo pipefail
mkdir -p "$RABBITMQ_HOME_FOLDER"
echo "[]." >"$RABBITMQ_ENABLED_PLUGINS_FILE"
echo "loopback_users = none" >"$RABBITMQ_CONFIG_FILE"
export HOME=$RABBITMQ_HOME_FOLDER RUNNING_UNDER_SYSTEMD=true
exec "$(ls /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server | sort -V | tail -n 1)"
