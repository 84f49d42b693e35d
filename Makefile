# make demo | make test | make test-web | make lint     VENV=PATH takes an environment that exists; PYTHON=... another interpreter

VENV ?= .venv
PYTHON ?= python3
ARGS ?=

PY := $(VENV)/bin/python
STAMP := $(VENV)/.speechbrain_ext-$(firstword $(shell cksum setup.py))
FIND_BROWSER := { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null
# This checkout's code, whatever is installed in the environment.
export PYTHONPATH := $(CURDIR)

.PHONY: demo test test-web lint install
.DEFAULT_GOAL := demo

demo: install ## Make the demo corpus, train and test fold 1 on it
	$(PY) recipes/IEMOCAP/make_demo_corpus.py demo_corpus
	$(PY) train.py hparams/demo.yaml --fold=1 $(ARGS)

test: install ## Run all tests but those of the page
	$(PY) -m pytest -q --ignore=tests/browser $(ARGS)

test-web: install ## Test the page in headless Chromium, which apt installs where it may
	@$(FIND_BROWSER) || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		&& apt-get update -qq && apt-get install -y -qq chromium; } || true
	@$(FIND_BROWSER) || { echo "make test-web needs a browser, and found no chromium, chromium-browser or" \
		"google-chrome on the PATH: apt install chromium, as root." >&2; exit 1; }
	$(PY) -m pytest -q tests/browser $(ARGS)

lint: install ## Check the style of the code and of the YAML files
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m yamllint hparams

install: $(STAMP)

$(STAMP): setup.py
	@test -x $(PY) || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and \
		"Python 3.10 or newer is needed, this is %d.%d: make PYTHON=python3.12" % sys.version_info[:2])'
	@test -x $(PY) || { echo "Making $(VENV); this installs about 7 GB once."; $(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); exit 1; }; }
	@$(PY) -c 'import setuptools; assert int(setuptools.__version__.split(".")[0]) > 70' 2>/dev/null \
		|| $(PY) -m pip install --quiet 'setuptools>=71'
	$(PY) -m pip install --quiet --no-build-isolation --editable '.[dev]'
	@rm -f $(VENV)/.speechbrain_ext-*
	@touch $@
