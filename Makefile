# make run    set up .venv, train on one task, score the policy   (TASK=..., BUDGET=seconds, ARGS=...)
# make test   set up .venv, run the tests
# make peers  set up .venv, and what peers/ need beside it
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
# Two minutes show a robot that has learned to run; the harness's own default is twelve.
TASK   ?= HalfCheetah-v5
BUDGET ?= 120
ARGS   ?=

# uv where it is there; the standard library's venv and pip where it is not.
ifneq ($(shell command -v uv 2>/dev/null),)
CREATE  := uv venv --quiet --allow-existing --python "$$(command -v $(PYTHON))" $(VENV)
INSTALL := uv pip install --quiet --python $(PY) --constraint constraints.txt --editable
else
CREATE  := $(PYTHON) -m venv $(VENV)
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
endif

.PHONY: run test lint setup peers constraints clean

run: setup
	$(PY) -m harness.run --task $(TASK) --budget $(BUDGET) $(ARGS)

test: setup
	$(PY) -m pytest $(ARGS)

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports --no-logo --no-cache

setup: $(VENV)/.installed

peers: $(VENV)/.peers

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "Python 3.11 to 3.13 is needed, this is %d.%d: make PYTHON=python3.12 ..." % v)'
	@$(CREATE)
	@$(INSTALL) '.[dev]'
	@touch $@

$(VENV)/.peers: $(VENV)/.installed
	@$(INSTALL) '.[peers]'
	@touch $@

# Resolves pyproject.toml anew for all Pythons and platforms at once (needs uv).
constraints:
	{ echo '# Exact versions for every supported Python and platform. Made by: make constraints'; \
	  uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-annotate --no-header \
	    --no-emit-index-url --no-emit-find-links pyproject.toml; } > constraints.new && mv constraints.new constraints.txt

clean:
	rm -rf $(VENV)
