# Where the set of `make up` lives and listens. Sourced by the scripts here; any variable can be set before.
repository=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
export UP=$(realpath -m "${UP:-$repository/build/up}")
export BIN=$repository/.venv/bin REPOSITORY=$repository
export POSTGRESQL_PORT=${POSTGRESQL_PORT:-15432} RABBITMQ_PORT=${RABBITMQ_PORT:-15672} RABBITMQ_DIST_PORT=${RABBITMQ_DIST_PORT:-25673}
export ERL_EPMD_PORT=${ERL_EPMD_PORT:-14369} ERL_EPMD_ADDRESS=127.0.0.1
export DESK_HTTP=${DESK_HTTP:-127.0.0.1:8000} DOOR_HTTP=${DOOR_HTTP:-127.0.0.1:8100}

export VIGIE_DATA=$UP/data
export VIGIE_DATABASE_URL=postgresql://vigie@127.0.0.1:$POSTGRESQL_PORT/postgres
export VIGIE_BROKER_URL=amqp://guest:guest@127.0.0.1:$RABBITMQ_PORT/
export VIGIE_TRITON=${VIGIE_TRITON:-127.0.0.1:8201} VIGIE_TRITON_METRICS=${VIGIE_TRITON_METRICS:-127.0.0.1:8202}
export VIGIE_DICOM=${VIGIE_DICOM:-127.0.0.1:11112}

# RabbitMQ (rabbitmq-env.conf(5)); the script replaces itself by the VM, so that a signal reaches it
export RABBITMQ_HOME_FOLDER=$UP/rabbitmq RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE=$UP/rabbitmq/rabbitmq.conf RABBITMQ_NODENAME=vigie-up@localhost
export RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$RABBITMQ_PORT RABBITMQ_MNESIA_BASE=$UP/rabbitmq/mnesia
export RABBITMQ_LOG_BASE=$UP/rabbitmq/log RABBITMQ_LOGS=- RABBITMQ_ENABLED_PLUGINS_FILE=$UP/rabbitmq/plugins

supervisorctl() { "$BIN/supervisorctl" --configuration "$REPOSITORY/deploy/local/supervisord.conf" "$@"; }
