# make demo | make test | make lint          VENV=PATH takes an environment that exists; PYTHON=... another interpreter

VENV ?= .venv
PYTHON ?= python3
ARGS ?=

PY := $(VENV)/bin/python
STAMP := $(VENV)/.speechbrain_ext-$(firstword $(shell cksum setup.py))
# This checkout's code, whatever is installed in the environment.
export PYTHONPATH := $(CURDIR)

.PHONY: demo test lint install
.DEFAULT_GOAL := demo

demo: install ## Make the demo corpus, train and test fold 1 on it
	$(PY) recipes/IEMOCAP/make_demo_corpus.py demo_corpus
	$(PY) train.py hparams/demo.yaml --fold=1 $(ARGS)

test: install ## Run all tests
	$(PY) -m pytest -q $(ARGS)

lint: install ## Check the style of the code and of the YAML files
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m yamllint hparams

install: $(STAMP)

$(STAMP): setup.py
	@test -x $(PY) || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and \
		"Python 3.10 or newer is needed, this is %d.%d: make PYTHON=python3.12" % sys.version_info[:2])'
	@test -x $(PY) || { echo "Making $(VENV); this installs about 5.5 GB once."; $(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); exit 1; }; }
	@$(PY) -c 'import setuptools; assert int(setuptools.__version__.split(".")[0]) > 70' 2>/dev/null \
		|| $(PY) -m pip install --quiet 'setuptools>=71'
	$(PY) -m pip install --quiet --no-build-isolation --editable '.[dev]'
	@rm -f $(VENV)/.speechbrain_ext-*
	@touch $@
