# make demo    the whole pipeline on synthetic signing: video -> features -> store -> translators -> text with scores
# make test    the tests, but those that take half of the time
# make long    those: kills at every step, several processes, whole papers, every line of the READMEs
# make oldest  the tests of parity, mBART and GPT-2, with the oldest transformers that pyproject.toml allows
# make lint    formatting, lint and types, as continuous integration runs them
#
# Each makes the virtual environment .venv if it is missing, repairs it if it is broken, and installs what it needs once.
# pip takes its own settings from the environment (PIP_INDEX_URL and the like). Variables, given as `make demo NAME=value`:
#   PYTHON  the Python to build .venv with, 3.11 or newer      TORCH  the torch build to install, one or more requirements
#   ARGS    further arguments: `make demo ARGS=--help`, `make test ARGS="tests/models -x"`

PYTHON ?= python3
TORCH ?= torch==2.14.1 torchvision==0.29.1
ARGS ?=

BIN := .venv/bin
export HF_HUB_OFFLINE := 1

.DEFAULT_GOAL := help
.PHONY: help demo test long oldest lint force

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

demo: .venv/base.stamp
	$(BIN)/slt demo $(ARGS)

# One thread a worker: two workers with two threads each on two cores are slower than two with one.
test: .venv/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not long" $(ARGS)

long: .venv/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m long $(ARGS)

# It lies beside the environment, which keeps the newest, and is found before it.
OLDEST := $(shell sed -nE 's/^ *"transformers>=([0-9.]+),.*/\1/p' pyproject.toml)
oldest: .venv/oldest-$(OLDEST).stamp
	OMP_NUM_THREADS=1 PYTHONPATH=.venv/oldest $(BIN)/python -m pytest -n 2 $(ARGS) \
		tests/parity/test_translation.py tests/parity/test_cvslt.py tests/parity/test_checkpoints.py \
		tests/models/test_mbart.py tests/models/test_translator.py tests/models/test_ensemble.py tests/models/test_cvslt.py \
		tests/models/test_gpt2.py tests/stages/test_lm.py tests/stages/test_gpt2_folder.py

.venv/oldest-$(OLDEST).stamp: .venv/dev.stamp
	rm -rf .venv/oldest .venv/oldest-*.stamp
	$(BIN)/python -m pip install --quiet --target .venv/oldest 'transformers==$(OLDEST)'
	PYTHONPATH=.venv/oldest $(BIN)/python -c 'import transformers; assert (transformers.__version__ + ".").startswith("$(OLDEST).")'
	@touch $@

lint: .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m pyright --pythonpath $(BIN)/python

# A stamp is written last, so an installation that was cut short is done again. It is trusted only while the environment
# behind it answers: an interpreter that has been removed, a moved folder or an uninstalled package starts the repair.
SOUND := import sys, slt_pipeline; from importlib.metadata import version; \
	[version(name) for name in sys.argv[2:]]; sys.exit(not slt_pipeline.__file__.startswith(sys.argv[1]))
answers = $(shell $(BIN)/python -Ic '$(SOUND)' '$(CURDIR)/' $(1) >/dev/null 2>&1 && echo yes)

.venv/base.stamp: pyproject.toml $(if $(call answers,torch torchvision),,force)
	$(call install,.)
	@touch $@

.venv/dev.stamp: pyproject.toml $(if $(call answers,torch torchvision pytest-xdist pyright ruff),,force)
	$(call install,.[dev])
	@touch .venv/base.stamp $@

define install
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "$(PYTHON) is missing or older than 3.11; name a newer one: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
@rm -f .venv/*.stamp
@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
$(BIN)/python -m pip install $(foreach requirement,$(TORCH),'$(requirement)') --editable '$(1)'
endef
