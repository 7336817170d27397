# make demo    a one-minute comparison of the servers this machine has or can get, with a table and a report
# make test    everything: lint, all tests compiled, unit tests interpreted (with coverage) and with bounds checks
# make unit    the tests that need no servers, compiled
# make long    the tests that take a minute or more each, which `make test` leaves out
# make bench   figures of single kernels, and the load engine's own ceiling
# make soak    20,000 simulated runs of the built-in store (SEEDS=n for another number; half an hour)
# make kernels how long a machine that never ran kvbench spends on compiling, by group of kernels
# make lint    ruff, mypy, import contracts
# make readme  write the README's tables anew, from the code
# make clean   remove what these made (not the cache of servers and compiled kernels: $KVBENCH_CACHE, ~/.cache/kvbench)
#
# The first of these makes a virtual environment in .venv; needed for that are Python 3.11 or later and its venv module.

SHELL := /bin/bash
.SHELLFLAGS := -e -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test unit long bench soak kernels lint readme clean servers test-groups test-compiled test-interpreted test-bounds

VENV := .venv
BIN := $(VENV)/bin
UNIT := -m "not slow"
# Two processes for tests that compute; more for all tests together, half of which wait for servers.
TESTS := $(BIN)/python -m pytest -q --dist worksteal --durations=15
UNIT_TESTS := $(TESTS) -n 2 $(UNIT)
ALL_TESTS := $(TESTS) -n 3 -m "not long"
# Their subjects call no kernel: with bounds checks they would do what they do without.
NO_KERNELS := analysis artifact measure report run targets stats/test_percentiles.py test_cli.py test_config.py \
  test_demo.py test_doctor.py test_readme.py test_workloads.py
TIMES := .test-times

# Runs a command, says how long it took and notes it for the table at the end of `make test`.
define timed
@start=$$SECONDS; echo "== $(1)"; \
if $(2); then echo "== $(1): $$((SECONDS - start)) s"; printf '%5d s  %s\n' $$((SECONDS - start)) '$(1)' >>$(TIMES); \
else code=$$?; echo "== $(1): FAILED after $$((SECONDS - start)) s"; \
printf '%5d s  %s (failed)\n' $$((SECONDS - start)) '$(1)' >>$(TIMES); exit $$code; fi
endef

help:
	@sed -n 's/^# make /make /p' Makefile

$(VENV)/bin/python:
	@for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	  if command -v $$python >/dev/null && $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	    echo "== making a virtual environment in $(VENV) with $$($$python --version)"; \
	    if $$python -c 'import venv, ensurepip' 2>/dev/null; then rm -rf $(VENV); exec $$python -m venv $(VENV); fi; \
	    echo "$$python has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; \
	  fi; \
	done; \
	echo "kvbench needs Python 3.11 or later, which is not on PATH; on Debian 12: apt-get install python3 python3-venv" >&2; \
	exit 1

$(VENV)/.run-packages: pyproject.toml | $(VENV)/bin/python
	@echo "== installing kvbench and the packages it needs into $(VENV) (once, a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.test-packages: pyproject.toml $(VENV)/.run-packages
	@echo "== installing the packages that the tests need into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

servers: $(VENV)/.run-packages
	$(call timed,servers: whatever this machine can get,$(BIN)/kvbench servers install --available)

demo: $(VENV)/.run-packages
	@$(BIN)/python -m kvbench.demo

lint: $(VENV)/.test-packages
	$(call timed,lint: ruff,$(BIN)/ruff check .)
	$(call timed,lint: mypy,$(BIN)/mypy)
	$(call timed,lint: import contracts,$(BIN)/lint-imports --no-logo 2>&1 | tail -n 12)

test:
	@: >$(TIMES); code=0; $(MAKE) --no-print-directory test-groups || code=$$?; \
	echo "== where the time went"; cat $(TIMES); printf '%5d s  in all\n' $$SECONDS; exit $$code

test-groups: lint servers test-interpreted test-bounds test-compiled

readme: $(VENV)/.run-packages
	@$(BIN)/python -m kvbench.readme

# `make -j` would let the groups take each other's cores.
.NOTPARALLEL:

unit: $(VENV)/.test-packages
	$(call timed,unit tests compiled,$(UNIT_TESTS))

long: servers $(VENV)/.test-packages
	$(call timed,long tests,$(BIN)/python -m pytest -v -m long)

test-compiled: $(VENV)/.test-packages
	$(call timed,kernels compiled,$(BIN)/python -m kvbench.compiling)
	$(call timed,all tests compiled,$(ALL_TESTS))

test-interpreted: $(VENV)/.test-packages
	$(call timed,unit tests interpreted with coverage,NUMBA_DISABLE_JIT=1 $(UNIT_TESTS) --cov --cov-report=term)

test-bounds: $(VENV)/.test-packages
	$(call timed,unit tests with bounds checks,NUMBA_BOUNDSCHECK=1 $(UNIT_TESTS) $(NO_KERNELS:%=--ignore=tests/%))

SEEDS := 20000
soak: $(VENV)/.run-packages
	$(BIN)/python -m kvbench.sim --count $(SEEDS)

kernels: $(VENV)/.run-packages
	@$(BIN)/python -m kvbench.compiling --fresh

bench: $(VENV)/.test-packages
	$(BIN)/python -m pytest -q tests/bench --benchmark-enable --benchmark-only
	$(BIN)/kvbench calibrate

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	rm -rf .benchmarks .coverage .coverage.* $(TIMES) results/demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
