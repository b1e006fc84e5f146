# demo, test and lint set themselves up in .venv. Needs Linux, Python 3.11 (or 3.12) with venv, 5 GB.

PYTHON ?= python3.11
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
LOG := $(VENV)/setup.log
TORCH := $(shell sed -n 's/^torch==/&/p' requirements/cpu.txt)
TORCH_INDEX := https://download.pytorch.org/whl/cpu
# A moved or copied folder needs its environment made anew, hence the folder's own path.
PINS := $(shell (echo "$(CURDIR)"; cat requirements/cpu.txt pyproject.toml) | sha256sum | cut -c1-16)
READY := $(VENV)/ready-$(PINS)
# Byte-compiled afterwards on all cores: pip uses one, and a run starts many processes, each of which
# would compile what it imports where PYTHONDONTWRITEBYTECODE is set.
INSTALL := $(BIN)/python -m pip install --no-deps --no-compile --no-input --disable-pip-version-check
OR_FAIL := || { tail -n 20 $(LOG) >&2; echo "make: setup failed, see $(LOG)" >&2; exit 1; }

.PHONY: help setup demo test lint clean
.DELETE_ON_ERROR:

help:
	@echo "make setup   install the pinned packages into .venv (skipped while the pins are the same)"
	@echo "make demo    the whole job on the shipped tiny model, without a GPU"
	@echo "make test    tests; ARGS='-m slow' or ARGS=tests/unit/test_x.py are handed to pytest"
	@echo "make lint    ruff and pyright"
	@echo "make clean   remove .venv, caches and runs/"
	@echo "PYTHON=/path/to/python3.11 chooses the interpreter of .venv"

setup: $(READY)

$(READY):
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null \
	|| { echo "make: '$(PYTHON)' is not Python 3.11 or 3.12; install python3.11 or say" \
	  "make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null \
	|| { echo "make: '$(PYTHON)' has no venv module; on Debian or Ubuntu:" \
	  "apt-get install python3.11-venv" >&2; exit 1; }
	@if [ -e $(VENV) ] && ! { grep -qsF "$(CURDIR)/$(VENV)" $(VENV)/pyvenv.cfg \
	  && $(BIN)/python -m pip --version >/dev/null 2>&1; }; then \
	  echo "$(VENV) is incomplete or was made elsewhere: making it anew"; rm -rf $(VENV); fi
	@[ -e $(VENV) ] || "$(PYTHON)" -m venv $(VENV)
	@echo "Installing the pinned packages into $(VENV): 4 GB when new, about 2 minutes from a warm" \
	  "pip cache (progress: $(LOG))"
	@date +%s > $(VENV)/started
	@$(INSTALL) "$(TORCH)" > $(LOG) 2>&1 \
	|| $(INSTALL) --extra-index-url $(TORCH_INDEX) "$(TORCH)" >> $(LOG) 2>&1 $(OR_FAIL)
	@$(INSTALL) -r requirements/cpu.txt >> $(LOG) 2>&1 $(OR_FAIL)
	@$(INSTALL) --no-build-isolation -e . >> $(LOG) 2>&1 $(OR_FAIL)
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >> $(LOG) 2>&1 || true # some are for other Pythons
	@rm -f $(VENV)/ready-* && touch $@
	@echo "Set up in $$(( $$(date +%s) - $$(cat $(VENV)/started) )) s"

demo: $(READY)
	@$(BIN)/agentark run jobs/configs/demo.yaml

test: $(READY)
	@$(BIN)/python -m pytest $(ARGS)

lint: $(READY)
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m pyright

clean:
	@rm -rf $(VENV) runs build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
