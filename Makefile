# What a contributor runs; `make` alone lists it. A machine needs git, make and Python 3.11 or later: the first target that
# needs the environment builds it in .venv from requirements.lock, and builds it again when the lock or pyproject.toml changes.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-slow check format lint types bench lock licences audit clean

VENV := .venv
PYTHON := $(VENV)/bin/python
SYNCED := $(VENV)/.synced
# Only compared with by benchmarks, and under the GPL: it is put aside and is no part of the environment.
PEERS := pytorchyolo==1.8.0

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

# uv installs the lock: the one on PATH, or a private copy in .uv. It cannot be pip, which takes further package sources from
# its own settings and may find a CPU-only torch there, beside which torchvision cannot be imported.
UV := $(or $(shell uv --version >/dev/null 2>&1 && command -v uv),.uv/bin/uv)

# As pip does: trust the certificates of the system, which a company's network may need, and wait for the large wheels.
export UV_SYSTEM_CERTS ?= 1
export UV_HTTP_TIMEOUT ?= 180

# Let Python keep its bytecode, also where containers tell it not to: without it every start takes ten seconds longer.
unexport PYTHONDONTWRITEBYTECODE

# The first Python that runs and is new enough. Running it matters: a version manager puts names on PATH that only fail.
SYSTEM_PYTHON = $(or $(firstword $(foreach name,python3.13 python3.12 python3.11 python3,\
  $(shell $(name) -c '$(NEW_ENOUGH)' 2>/dev/null && command -v $(name)))),\
  $(error No Python 3.11 or later found; expected python3.13, python3.12, python3.11 or python3 on PATH))

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(SYNCED) ## Run all five stages on the built-in data and make the network small; ends with a page (CPU, minutes)
	$(PYTHON) train.py prune=filter_group hydra.run.dir=outputs/demo
	$(PYTHON) compact.py run=outputs/demo
	$(PYTHON) report.py runs=outputs/demo hydra.run.dir=outputs/reports/demo

# A process a core, each with one thread, is faster than one process with all cores. The runtimes bring threads and signal
# handlers of their own: they share no process with tests that start others.
test: $(SYNCED) ## Run the tests that need seconds each
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n auto --dist loadfile
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -m engine -n auto

test-slow: $(SYNCED) ## Run the tests that need minutes each
	$(PYTHON) -m pytest -m slow

check: lint types ## Lint and type-check

lint: $(SYNCED) ## Check style and formatting
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: $(SYNCED) ## Check the types
	$(PYTHON) -m mypy

format: $(SYNCED) ## Format, and apply the safe fixes
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

# Without what they depend on: that is locked, and must not come twice.
bench: $(SYNCED) ## Run the benchmarks and write docs/benchmarks.md (CPU, a quarter of an hour)
	$(UV) pip install --python $(PYTHON) --target .peers --no-deps $(PEERS) || echo "going on without $(PEERS)"
	$(PYTHON) -m benchmarks.all

# Versions already in the lock are kept where they still fit. To move one package: make lock UPDATE=torchmetrics
# To move all of them: rm requirements.lock && make lock
# Not --quiet, which hides the warning that a version was yanked.
lock: $(UV) ## Write requirements.lock from pyproject.toml (UPDATE=name moves one package)
	$(UV) pip compile --universal --generate-hashes --no-emit-index-url \
	  --python-version 3.11 --extra dev --extra video --extra export --extra coco --extra sparse --extra sweep --extra maite \
	  pyproject.toml -o requirements.lock \
	  $(if $(UPDATE),--upgrade-package $(UPDATE)) >/dev/null

licences: $(SYNCED) ## Write the tables of docs/dependencies.md: what is locked, under which licences
	$(PYTHON) -m publish.list_dependencies

# Without --strict a package that the service does not know passes in silence.
audit: $(SYNCED) ## Ask for known vulnerabilities of what is locked (needs the network)
	$(UV) tool run --python $(PYTHON) pip-audit --strict --disable-pip --require-hashes -r requirements.lock

clean: ## Remove what was built and cached; outputs/ and .venv stay
	rm -rf build dist *.egg-info .peers .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -path ./.uv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so an interrupted installation is taken up again by the next make. Every uv command names its
# Python: uv would otherwise install into whichever environment is activated.
$(SYNCED): requirements.lock pyproject.toml | $(UV)
	@rm -f $@
	$(PYTHON) -c '$(NEW_ENOUGH)' 2>/dev/null || $(UV) venv --clear --python "$(SYSTEM_PYTHON)" $(VENV)
	$(UV) pip sync --python $(PYTHON) --require-hashes requirements.lock
	$(UV) pip install --python $(PYTHON) --no-deps -e .
	@touch $@

.uv/bin/uv:
	"$(SYSTEM_PYTHON)" -m venv .uv
	.uv/bin/python -m pip install --quiet 'uv>=0.8'
