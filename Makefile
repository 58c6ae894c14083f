# Two commands: `make demo` shows the main job on real DICOM, `make test` passes every check. Both set everything up.
#
# TORCH_INDEX: index URL of PyTorch's CPU wheels. Set it where `torch==2.13.0` would otherwise be the CUDA build
#              (gigabytes larger): make test TORCH_INDEX=<the URL that pytorch.org gives for "pip, CPU">.
# PYTHON:      a Python 3.11 or newer with venv; found by itself.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 /usr/bin/python3; do \
	"$$p" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v "$$p" && break; done)
TORCH_INDEX ?=
INSTALL := pip install --quiet --disable-pip-version-check
PIP := $(BIN)/$(INSTALL)
TRITON := .venv-triton
AUDIT := .venv-audit

# where the environment is activated, pynetdicom's storescu and echoscu would stand before dcmtk's
export PATH := $(subst $(CURDIR)/$(BIN):,,$(PATH))

# else each of the hundreds of processes that the tests start would compile everything anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: setup
setup: $(VENV)/.installed ## the Python environment in .venv

$(VENV)/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "No Python 3.11 or newer with venv found: install one (Debian: apt-get install python3-venv), or set PYTHON=" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Python packages into $(VENV) (a few minutes the first time)"
	$(PIP) --constraint constraints.txt torch $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(PIP) --constraint constraints.txt --editable '.[worker,postgres,triton,telemetry,embedded,fast,local,evaluation,training,test]'
	touch $@

# Triton's own Python: the server from the nvidia-pytriton wheel (nothing else of it is used: --no-deps), and what the
# bundles need. Its NumPy is older than ours.
.PHONY: triton-setup
triton-setup: $(TRITON)/.installed

$(TRITON)/.installed: constraints-triton.txt pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "No Python 3.11 or newer with venv found: set PYTHON=" >&2; exit 1; }
	@echo "Installing a Triton server into $(TRITON) (a few minutes the first time)"
	$(PYTHON) -m venv $(TRITON)
	$(TRITON)/bin/$(INSTALL) --constraint constraints-triton.txt torch $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(TRITON)/bin/$(INSTALL) --constraint constraints-triton.txt numpy monai nibabel fire pyyaml safetensors einops \
		scikit-image openvino pydantic-settings platformdirs
	$(TRITON)/bin/$(INSTALL) --constraint constraints-triton.txt --no-deps nvidia-pytriton
	$(TRITON)/bin/$(INSTALL) --no-deps --editable .
	touch $@

# What looks at our packages has an environment of its own: with its jsonschema[format], MONAI takes four seconds more to
# import, in each of the many processes that do.
$(AUDIT)/.installed: constraints.txt pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "No Python 3.11 or newer with venv found: set PYTHON=" >&2; exit 1; }
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/$(INSTALL) --constraint constraints.txt cyclonedx-bom pip-audit
	touch $@

.PHONY: triton
triton: setup triton-setup ## a Triton server on loopback that serves the models; docs/triton.md
	$(BIN)/vigie models export --repository build/triton
	exec models/serve_triton.sh build/triton

.PHONY: up down status
up: setup triton-setup ## the production set on this machine: RabbitMQ, PostgreSQL, Triton, door, desk, workers, deliver
	@deploy/local/up.sh

down: ## stop it
	@deploy/local/down.sh

status: ## what of it runs, and where
	@deploy/local/status.sh

# Real peers and validators for the tests; the service itself needs none of them.
SYSTEM := storescu:dcmtk strace:strace dciodvfy:dicom3tools /usr/sbin/Orthanc:orthanc java:default-jre-headless \
	/usr/share/java/pixelmed.jar:libpixelmed-java /usr/share/orthanc/plugins/libOrthancDicomWeb.so:orthanc-dicomweb \
	/usr/lib/postgresql/15/bin/postgres:postgresql-15 /usr/sbin/rabbitmq-server:rabbitmq-server chromium:chromium npm:npm promtool:prometheus

.PHONY: system
system: ## Debian packages for the tests (installed when root, named otherwise)
	@missing=$$(for pair in $(SYSTEM); do \
		command -v "$${pair%%:*}" >/dev/null || [ -e "$${pair%%:*}" ] || echo "$${pair##*:}"; done); \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" = 0 ]; then \
		apt-get update --quiet=2; DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends $$missing >/dev/null; \
	else echo "The tests need these Debian packages: apt-get install" $$missing >&2; exit 1; fi

.PHONY: demo
demo: setup ## a real CT travels the whole way, from C-STORE to SEG and SR
	$(BIN)/python -m demo.demo

.PHONY: run
run: setup ## the service, all embedded, on loopback
	$(BIN)/vigie standalone

.PHONY: lint
lint: setup ## style, types, import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Times that a failed test is tried again; what then passes is listed as RERUN and is a fault to mend all the same.
RERUNS := 0

.PHONY: test
test: setup triton-setup $(AUDIT)/.installed system lint viewer crds ## every check; VIGIE_TEST_DATA=<folder> adds the tests on outside data
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder --reruns $(RERUNS) -rR

.PHONY: chart
chart: setup ## what of the Helm chart is made from elsewhere: its README, its schema's settings, its runbook
	$(BIN)/python -m deploy.chart

# Schemas of the custom resources that the chart makes, for its tests; npm checks each package by the digest in the lock file.
CRDS := build/crds
.PHONY: crds
crds: $(CRDS)/node_modules/.package-lock.json

$(CRDS)/node_modules/.package-lock.json: tests/helm/crds/package.json tests/helm/crds/package-lock.json
	@mkdir -p $(CRDS)
	@cp $^ $(CRDS)/
	npm ci --prefix $(CRDS) --ignore-scripts --no-audit --no-fund --silent

.PHONY: viewer
viewer: setup ## OHIF, from its npm package, for the work list's links: build/ohif
	$(BIN)/python viewer/install.py

.PHONY: pictures
pictures: setup system viewer ## the results of a real CT (overlays, reports) and the pages of the desk: docs/pictures
	$(BIN)/python -m demo.pictures
	$(BIN)/python -m demo.report_pictures
	$(BIN)/python -m demo.desk_pictures
	$(BIN)/python -m demo.reader_pictures
	$(BIN)/python -m demo.blind_pictures

.PHONY: observatory-pictures
observatory-pictures: setup system ## the observatory of a simulated month, as a browser shows it: docs/pictures
	$(BIN)/python -m demo.observatory_pictures

.PHONY: objects
objects: setup system ## the objects of every outcome before every validator: docs/measurements/objects.md
	$(BIN)/python -m benchmarks.objects --write docs/measurements/objects.md

.PHONY: bench
bench: setup triton-setup system viewer ## ingest beside its peers, pipeline without its model, networks, mirrored runs, SEG writing, jobs through both queues, the Triton wire, the work list, opening a study, the audit trail, traces: docs/measurements
	$(BIN)/python -m benchmarks.ingest --write docs/measurements/ingest.md
	$(BIN)/python -m benchmarks.pipeline
	$(BIN)/python -m benchmarks.networks --write docs/measurements/networks.md
	$(BIN)/python -m benchmarks.uncertainty --write docs/measurements/uncertainty.md
	$(BIN)/python -m benchmarks.seg --write docs/measurements/seg.md
	$(BIN)/python -m benchmarks.jobs --write docs/measurements/jobs.md
	$(BIN)/python -m benchmarks.wire --write docs/measurements/wire.md
	$(BIN)/python -m benchmarks.worklist --write docs/measurements/worklist.md
	$(BIN)/python -m benchmarks.opening --write docs/measurements/opening.md
	$(BIN)/python -m benchmarks.audit --write docs/measurements/audit.md
	$(BIN)/python -m benchmarks.telemetry --write docs/measurements/telemetry.md

ROUNDS ?= 100
SEED ?= 1
.PHONY: chaos
chaos: setup triton-setup system ## kills, cuts, pauses and fills the real set while studies come in; exit 1 if any is lost or doubled
	$(BIN)/python -m chaos.campaign --rounds $(ROUNDS) --seed $(SEED) $(if $(WRITE),--write $(WRITE))

MINUTES ?= 30
STEP ?= 3
.PHONY: load
load: setup system ## a large hospital's busiest hour, then twice as much until something breaks; exit 1 if anything is lost or a target missed
	$(BIN)/python -m load.campaign --minutes $(MINUTES) --step-minutes $(STEP) --seed $(SEED) $(if $(WRITE),--write $(WRITE))

CASES ?= 100000
.PHONY: fuzz
fuzz: setup ## hostile bytes at every door of a running gateway; exit 1 at the first finding (a quarter of an hour)
	$(BIN)/python -m fuzz.campaign --cases $(CASES) --seed $(SEED) $(if $(WRITE),--write $(WRITE))

.PHONY: audit
audit: setup $(AUDIT)/.installed ## known vulnerabilities of all that is pinned (online); fails on one that is not allowed, and on what it cannot ask
	$(BIN)/python -m deploy.audit

.PHONY: sbom
sbom: setup triton-setup $(AUDIT)/.installed ## bills of materials (CycloneDX) of what the images install: build/sbom
	$(BIN)/python -m deploy.sbom

.PHONY: train
train: setup ## the demonstration model again, from nothing (hours; goes on where it was stopped, in build/training)
	cd models/ct_lung_lesion/scripts && PATH="$(CURDIR)/$(BIN):$$PATH" sh reproduce.sh "$(CURDIR)/build/training"

.PHONY: clean
clean: ## everything that was made here
	rm -rf $(VENV) $(TRITON) $(AUDIT) build demo_output *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
