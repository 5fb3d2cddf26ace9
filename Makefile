# make demo   write two sample dumps and judge them
# make test   ruff, mypy --strict, pytest
# make bench  the measurements of benchmarks/README.md
#
# Each target sets itself up: a virtual environment in .venv with the versions of requirements*.lock.
# Needs Python 3.10 or newer and make; writes nothing outside this folder. PYTHON=... picks another one.

SHELL := /bin/sh
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check -qq install
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python3.10 python

# Settings of the caller's shell that would reach into, or out of, the virtual environment.
unexport PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV
export PIP_USER := 0
export PIP_NO_INPUT := 1

.PHONY: help demo test lint types unit bench clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: $(VENV)/runtime.stamp
	@$(RUN) -m dumpscan demo sample-dumps

test: lint types unit

lint: $(VENV)/dev.stamp
	$(RUN) -m ruff check .

# numpy's annotations differ between the version for Python 3.10 and the one for 3.11 and newer: the
# types are checked against the newer ones only.
types: $(VENV)/dev.stamp
	@if $(RUN) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; \
	then echo "$(RUN) -m mypy"; $(RUN) -m mypy; \
	else echo "mypy: left out on Python 3.10, whose numpy is annotated differently"; fi

unit: $(VENV)/dev.stamp
	$(RUN) -m pytest -q --numprocesses auto --maxprocesses 4 --dist loadfile

bench: $(VENV)/runtime.stamp
	$(RUN) -m benchmarks

clean:
	rm -rf $(VENV) sample-dumps build dist .mypy_cache .pytest_cache .ruff_cache

$(VENV)/home:
	@for python in $(PYTHON) $(CANDIDATES); do \
	  "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || continue; \
	  echo "setting up $(VENV) with $$("$$python" --version)"; \
	  rm -rf $(VENV); \
	  "$$python" -m venv $(VENV) || continue; \
	  echo '$(CURDIR)' > $@; \
	  exit 0; \
	done; \
	echo "make: no Python >= 3.10 with the venv module found; install one (Debian: python3-venv)," \
	  "or name it: make PYTHON=/path/to/python" >&2; \
	exit 1

# No compiler is asked for: where requirements-speed.lock has no wheel, dumpscan's own code takes over.
$(VENV)/runtime.stamp: requirements.lock requirements-speed.lock pyproject.toml $(VENV)/home
	@echo "installing requirements.lock"
	@$(PIP) -r requirements.lock
	@$(PIP) --only-binary=:all: -r requirements-speed.lock 2>/dev/null || \
	  echo "no wheel of libfwnt here: hibernation files are decompressed by dumpscan's own, slower code"
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(RUN) -m compileall -q dumpscan
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/runtime.stamp
	@echo "installing requirements-dev.lock"
	@$(PIP) -r requirements-dev.lock
	@touch $@

# Made anew when its python does not start (a system upgrade) or the checkout was moved: the scripts
# and the editable install carry the path.
ifneq ($(shell $(RUN) -c 'print("alive")' 2>/dev/null; cat $(VENV)/home 2>/dev/null),alive $(CURDIR))
.PHONY: $(VENV)/home
endif
