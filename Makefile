# make demo | make test | make test-oldest | make test-benchmarks | make test-web | make soak | make lint
# VENV=PATH takes an environment that exists; PYTHON=... another interpreter

VENV ?= .venv
PYTHON ?= python3
ARGS ?=
JOBS ?= auto
MINUTES ?= 10

PY := $(VENV)/bin/python
# One stamp for what the demo needs, one for what the tests need besides. New pins in setup.py make both old.
PINS := $(firstword $(shell cksum setup.py))
FOR_DEMO := $(VENV)/.speechbrain_ext-demo-$(PINS)
FOR_TESTS := $(VENV)/.speechbrain_ext-dev-$(PINS)
OLDEST := $(abspath $(VENV))/.transformers-4.57
FIND_BROWSER := { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null
# This checkout's code, whatever is installed in the environment.
export PYTHONPATH := $(CURDIR)

.PHONY: demo test test-oldest test-benchmarks test-web soak lint
.DEFAULT_GOAL := demo

demo: $(FOR_DEMO) ## Make the demo corpus, train and test fold 1 on it
	$(PY) recipes/IEMOCAP/make_demo_corpus.py demo_corpus
	$(PY) train.py hparams/demo.yaml --fold=1 $(ARGS)

test: $(FOR_TESTS) ## Test the library and the recipe: a process for each core, one thread each
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) --dist loadfile --ignore=tests/browser --ignore=tests/benchmarks $(ARGS)

test-oldest: $(FOR_TESTS) ## Test the encoders with the oldest version of transformers that setup.py allows
	@test -d $(OLDEST)/transformers || $(PY) -m pip install --quiet --no-deps --target $(OLDEST) \
		'transformers==4.57.*' 'huggingface_hub<1' 'tokenizers<0.23'
	PYTHONPATH=$(OLDEST):$(CURDIR) OMP_NUM_THREADS=1 $(PY) -m pytest -q -n $(JOBS) \
		tests/lobes/test_families.py tests/lobes/test_log_mel.py tests/lobes/test_pooling.py $(ARGS)

test-benchmarks: $(FOR_TESTS) ## Test that each benchmark runs and its numbers fit together
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n $(JOBS) tests/benchmarks $(ARGS)

test-web: $(FOR_TESTS) ## Test the page in headless Chromium, which apt installs where it may
	@$(FIND_BROWSER) || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		&& apt-get update -qq && apt-get install -y -qq chromium; } || true
	@$(FIND_BROWSER) || { echo "make test-web needs a browser, and found no chromium, chromium-browser or" \
		"google-chrome on the PATH: apt install chromium, as root." >&2; exit 1; }
	$(PY) -m pytest -q tests/browser $(ARGS)

soak: $(FOR_TESTS) ## Kill, damage, fuzz and load for MINUTES, at random; SEED=... repeats a run
	OMP_NUM_THREADS=1 $(PY) -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

lint: $(FOR_TESTS) ## Check style, YAML files, which room imports which, and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m yamllint --strict .
	$(VENV)/bin/lint-imports
	$(PY) -m mypy

$(FOR_DEMO): setup.py
	$(call install,demo)
	@touch $@

$(FOR_TESTS): setup.py
	$(call install,dev)
	@touch $(FOR_DEMO) $@

# Install this checkout with the extra $(1), into an environment that is made where there is none.
define install
	@test -x $(PY) || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and \
		"Python 3.10 or newer is needed, this is %d.%d: make PYTHON=python3.12" % sys.version_info[:2])'
	@test -x $(PY) || { echo "Making $(VENV); what is installed takes $(if $(filter demo,$(1)),6.4,7.2) GB, once."; $(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); exit 1; }; }
	@$(PY) -c 'import setuptools; assert int(setuptools.__version__.split(".")[0]) > 70' 2>/dev/null \
		|| $(PY) -m pip install --quiet 'setuptools>=71'
	$(PY) -m pip install --quiet --no-build-isolation --editable '.[$(1)]'
	@rm -f $(VENV)/.speechbrain_ext-*
endef
