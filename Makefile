# make run    sets up .venv, trains on one task, scores the policy   (TASK=..., BUDGET=seconds, ARGS=...)
# make setup  sets up .venv with what a run needs
# make test   sets up .venv with the tools for developers as well, runs the tests
# make EXTRA  adds to .venv what one of pyproject.toml's extras needs: make ray, make wandb, ...
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
# Two minutes show a robot that has learned to run; the harness's own default is twelve.
TASK   ?= HalfCheetah-v5
BUDGET ?= 120
ARGS   ?=

EXTRAS := brax cuda dev modal peers playground ray tpu tune wandb warp

# uv where it is there; the standard library's venv and pip where it is not.
ifneq ($(shell command -v uv 2>/dev/null),)
CREATE  := uv venv --quiet --allow-existing --python "$$(command -v $(PYTHON))" $(VENV)
INSTALL := uv pip install --quiet --python $(PY) --constraint constraints.txt --editable
else
CREATE  := $(PYTHON) -m venv $(VENV)
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
endif

.PHONY: run test lint setup constraints clean $(EXTRAS)

run: setup
	$(PY) -m harness.run --task $(TASK) --budget $(BUDGET) $(ARGS)

test: dev
	$(PY) -m pytest $(ARGS)

lint: dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports --no-logo --no-cache

setup: $(VENV)/.installed

$(EXTRAS): %: $(VENV)/.%

# Sizes are those of Linux on x86-64, Python's own libraries not counted.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "Python 3.11 to 3.13 is needed, this is %d.%d: make PYTHON=python3.12 ..." % v)'
	@echo 'setup, 1 of 2: an environment of its own in $(VENV); some seconds'
	@$(CREATE)
	@echo 'setup, 2 of 2: what a run needs (JAX, MuJoCo, EnvPool, ...): 2.0 GB on the disk; some minutes'
	@$(INSTALL) '.[tune]'
	@touch $@
	@echo 'setup: done. The tools for developers come with the first make test or make lint.'

$(VENV)/.dev: SIZE := tools for developers, and all extras that the tests use: 1.0 GB more; some minutes. They are of the instrument: a branch that was begun before is measured anew
$(VENV)/.%: $(VENV)/.installed
	@echo 'setup: $(or $(SIZE),what the extra $* needs; some minutes)'
	@$(INSTALL) '.[$*]'
	@touch $@

# Resolves pyproject.toml anew for all Pythons and platforms at once (needs uv).
constraints:
	{ echo '# Exact versions for every supported Python and platform. Made by: make constraints'; \
	  uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-annotate --no-header \
	    --no-emit-index-url --no-emit-find-links pyproject.toml; } > constraints.new && mv constraints.new constraints.txt

clean:
	rm -rf $(VENV)
