#!/bin/bash
# Serves a model repository (vigie models export) by a real Triton server without containers: the server and its Python
# backend come from the nvidia-pytriton wheel in .venv-triton (make triton-setup). Production: docs/triton.md.
#
#   models/serve_triton.sh REPOSITORY [more options of tritonserver]
#
# VIGIE_TRITON          HOST:PORT of the gRPC service, as the workers' setting (127.0.0.1:8001)
# VIGIE_TRITON_METRICS  HOST:PORT of Prometheus metrics (127.0.0.1:8002)
# VIGIE_TRITON_VENV     the environment (.venv-triton beside this folder)
# VIGIE_THREADS         CPU threads of each model instance (all cores)
# VIGIE_INFERENCE       reference, or fast: docs/models.md
# VIGIE_CONVERTED       folder where fast keeps converted networks (~/.cache/vigie/converted), or none
# OTEL_EXPORTER_OTLP_ENDPOINT   collector (http://HOST:4318) that hears of each request, in the trace of who asked
set -euo pipefail

repository=$(realpath "$1"); shift
grpc=${VIGIE_TRITON:-127.0.0.1:8001}
metrics=${VIGIE_TRITON_METRICS:-127.0.0.1:8002}
venv=$(realpath "${VIGIE_TRITON_VENV:-$(dirname "$0")/../.venv-triton}")

# Python's own library folder, its version, where the wheel lies
{ read -r library; read -r version; read -r site; } < <("$venv/bin/python" -c 'import sys, sysconfig
print(sysconfig.get_config_var("LIBDIR"), "{}.{}".format(*sys.version_info), sysconfig.get_path("purelib"), sep="\n")')
wheel=$site/pytriton/tritonserver

compgen -G "$library/libpython$version.so*" >/dev/null || {
	echo "Triton's Python backend needs libpython$version.so, which is not in $library (Debian: libpython$version)" >&2
	exit 1
}

# Triton wants the backend and the stub for our Python in one folder
backends=$venv/backends
mkdir -p "$backends/python"
ln -sf "$wheel"/backends/python/* "$wheel/python_backend_stubs/$version/triton_python_backend_stub" "$backends/python/"

# What an instance that was killed has left of its own shared memory; the port says whose it was
prefix=triton_python_backend_${grpc##*:}_
rm -f "/dev/shm/$prefix"*

# Triton goes on in the trace that the request names (traceparent among its gRPC metadata)
traces=()
if [[ -n ${OTEL_EXPORTER_OTLP_ENDPOINT:-} ]]; then
	traces=(--trace-config=mode=opentelemetry --trace-config=level=TIMESTAMPS --trace-config=rate=1
		--trace-config="opentelemetry,url=${OTEL_EXPORTER_OTLP_ENDPOINT%/}/v1/traces"
		--trace-config=opentelemetry,resource=service.name=triton)
fi

export PATH=$venv/bin:$PATH # the stub finds its packages by the first python3
export LD_LIBRARY_PATH=$library:$site/nvidia_pytriton.libs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
exec "$wheel/bin/tritonserver" \
	--model-repository="$repository" --backend-directory="$backends" \
	--backend-config="python,shm-region-prefix-name=$prefix" --model-control-mode=explicit --load-model="*" --disable-auto-complete-config --exit-on-error=false \
	--allow-http=false --grpc-address="${grpc%:*}" --grpc-port="${grpc##*:}" \
	--metrics-address="${metrics%:*}" --metrics-port="${metrics##*:}" --log-format=ISO8601 "${traces[@]}" "$@"
