# One word each. `make` alone says which. Needs Python 3.11+ with venv, make and a C compiler.
V := .venv
JOBS := $(shell nproc 2>/dev/null || echo 2)
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP := $(V)/bin/python -m pip --quiet --disable-pip-version-check --no-input
KERNELS := $(shell find dispatcher -name '_*.pyx' -o -name '*.pxd' -o -name '*.h')
DATA ?= data

.DEFAULT_GOAL := help
.PHONY: help demo test run bench soak mutants fuzz sim long lint build lock clean

help:
	@echo "make demo    build, then a million members (MEMBERS=n), one approved broadcast, STOPs in it, two kills, and every message accounted for"
	@echo "make test    the whole test suite (TESTERS=n processes)"
	@echo "make run     volley serve on ./$(DATA), which is made when absent"
	@echo "make bench   every figure of the README, each with its check"
	@echo "make soak    kills without end for MINUTES=10, each run judged; SEED=n makes the same runs again, FIRST=n from the n-th"
	@echo "make mutants our own code broken a line at a time: the tests must notice (MUTANTS=\"name name\" for some)"
	@echo "make fuzz    the decoders under sanitizers, guided by coverage (SECONDS=n)"
	@echo "make sim     simulated faults and kills by seed (SEEDS=n)"
	@echo "make long    the long forms of the fault tests, seeds and mutations"
	@echo "make lint    ruff and mypy"
	@echo "make build   .venv, the pinned packages, the kernels, the volley command"
	@echo "make lock    renew requirements.lock and requirements-dev.lock"
	@echo "make clean   remove what was built"

demo: build
	$(V)/bin/volley demo $(if $(MEMBERS),--members $(MEMBERS))

# A file each to TESTERS processes: much of it waits for timers and sockets.
test: build $(V)/.dev
	$(V)/bin/python -m pytest --numprocesses $(or $(TESTERS),2) --dist loadfile --no-loadscope-reorder --durations 12

run: build
	@test -e $(DATA)/volley.toml || $(V)/bin/volley init $(DATA)
	$(V)/bin/volley serve --data $(DATA)

bench: build $(V)/.dev
	$(V)/bin/volley bench all

soak: build $(V)/.dev
	$(V)/bin/python -m tests.soak --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED)) $(if $(FIRST),--first $(FIRST))

mutants: build $(V)/.dev
	$(V)/bin/python -m tests.mutants $(MUTANTS)

fuzz: build $(V)/.dev
	$(V)/bin/python -m tests.fuzz --seconds $(or $(SECONDS),60)

sim: build $(V)/.dev
	VOLLEY_SEEDS=$(or $(SEEDS),1000) VOLLEY_FIRST_SEED=$(or $(FIRST_SEED),0) \
		$(V)/bin/python -m pytest --numprocesses 2 tests/sim/test_seeds.py

long: build $(V)/.dev
	VOLLEY_LONG=1 VOLLEY_WITHIN_S=900 VOLLEY_SEEDS=2000 VOLLEY_FUZZ_SECONDS=300 VOLLEY_MUTATIONS=1000000 \
		$(V)/bin/python -m pytest tests/fuzz tests/sim tests/daemon tests/smpp

lint: build $(V)/.dev
	$(V)/bin/ruff check .
	$(V)/bin/mypy

build: $(V)/.tools
	@$(MAKE) --no-print-directory -j2 $(V)/.packages $(V)/.kernels
	@$(MAKE) --no-print-directory $(V)/.volley

# Stamps: a second make does nothing that the first has done. Packages compile to .pyc when first imported, which
# halves the installing; for the tests all at once, as there a warning met on the way would be an error.
$(V)/.tools: requirements.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is missing: apt install python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv module is missing: apt install python3-venv" >&2; exit 1; }
	@printf 'int main(void) { return 0; }' | $${CC:-cc} -x c -o /dev/null - 2>/dev/null || \
		{ echo "A C compiler is missing: apt install build-essential" >&2; exit 1; }
	@$(PYTHON) -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null || \
		{ echo "Python's C header files are missing: apt install python3-dev" >&2; exit 1; }
	@test -x $(V)/bin/python || $(PYTHON) -m venv $(V)
	@$(PIP) install --no-compile --constraint requirements.lock cython setuptools
	@touch $@

# The packages come while the kernels compile: the one waits for the network, the other for the cores.
$(V)/.packages: requirements.lock $(V)/.tools
	@echo "installing the packages of requirements.lock into $(V)"
	@$(PIP) install --no-compile -r requirements.lock
	@touch $@

$(V)/.dev: requirements-dev.lock $(V)/.packages
	@echo "installing the packages of requirements-dev.lock into $(V)"
	@$(PIP) install --no-compile -r requirements-dev.lock
	@$(V)/bin/python -W ignore -m compileall -q -j $(JOBS) $(V)/lib/python3*/site-packages || true
	@touch $@

$(V)/.kernels: $(V)/.tools setup.py $(KERNELS)
	@echo "compiling the kernels, $(JOBS) at a time"
	@$(V)/bin/python setup.py --quiet build_ext --inplace --parallel $(JOBS)
	@touch $@

# An editable install for the command and the metadata; its kernels are those above.
$(V)/.volley: $(V)/.packages pyproject.toml setup.py
	@VOLLEY_ONLY=none $(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# What pip chooses today in an empty venv: what runs and builds, and beside it what tests and lints.
NEEDS = $(PYTHON) -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); e = p["project"]["optional-dependencies"]; \
	print("\n".join({"run": p["project"]["dependencies"] + p["build-system"]["requires"], "dev": sum(e.values(), [])}["$(1)"]))'

lock:
	rm -rf build/lock && mkdir -p build && $(PYTHON) -m venv build/lock
	$(call NEEDS,run) > build/lock/run.txt
	$(call NEEDS,dev) > build/lock/dev.txt
	build/lock/bin/python -m pip install --quiet --upgrade -r build/lock/run.txt
	build/lock/bin/python -m pip freeze --all --exclude pip | grep == > build/lock/run.lock
	build/lock/bin/python -m pip install --quiet -c build/lock/run.lock -r build/lock/dev.txt
	build/lock/bin/python -m pip freeze --all --exclude pip | grep == | grep -vxFf build/lock/run.lock > build/lock/dev.lock
	mv build/lock/run.lock requirements.lock
	mv build/lock/dev.lock requirements-dev.lock
	rm -rf build/lock

clean:
	rm -rf $(V) build *.egg-info
	find dispatcher -name '*.so' -delete
