# The two commands of the README are `make run` and `make test`; `make` alone lists the rest.
# The first one that runs: a version manager may have names for versions that it does not have.
PYTHON ?= $(shell for p in python3.11 python3.13 python3.12; do $$p -c '' 2>/dev/null && echo $$p && exit; done; echo python3)
BIN := .venv/bin
INSTALLED := .venv/.installed
SOURCES_OF_INSTALL := requirements.lock tools/setup.py tools/parts.py $(wildcard */pyproject.toml */*/pyproject.toml) \
	$(shell find protos -name '*.proto' -o -name setup.py)
export PATH := $(CURDIR)/$(BIN):$(PATH)
PYTEST_WORKERS ?= auto

.DEFAULT_GOAL := help
.PHONY: help setup run up doctor test chaos check format lock clean

help:  ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(INSTALLED)  ## install everything into .venv

$(INSTALLED): $(SOURCES_OF_INSTALL)
	@$(PYTHON) tools/setup.py
	@touch $@

run: $(INSTALLED)  ## the main job: make run [INPUT=link or file] [LYRICS=words.txt] [FORMATS=srt,ass] [OUT=dir]
	@$(BIN)/singscript run $(if $(INPUT),"$(INPUT)") $(if $(LYRICS),--lyrics "$(LYRICS)") $(if $(FORMATS),--format "$(FORMATS)") $(if $(OUT),--out "$(OUT)")

up: $(INSTALLED)  ## keep everything running and print the address
	@$(BIN)/singscript up

doctor: $(INSTALLED)  ## what is there and what is missing
	@$(BIN)/singscript doctor

test: $(INSTALLED)  ## all tests
	@$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadgroup

chaos: $(INSTALLED)  ## break whole systems in every way that is known, for up to 15 minutes
	@$(BIN)/python -m pytest -n 4 --dist loadgroup -m "chaos or not chaos" tests/chaos

check: $(INSTALLED)  ## lint, types, import rules, contracts, migrations, settings page
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/lint-imports --cache-dir .venv/import-linter
	$(BIN)/pyright
	$(BIN)/python tools/check_migrations.py
	$(BIN)/python tools/settings_page.py --check

format: $(INSTALLED)  ## write the code in the common format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/buf format --write
	$(BIN)/python tools/settings_page.py

lock: $(INSTALLED)  ## resolve all dependencies anew into the lock files
	$(BIN)/python tools/lock.py $(if $(UPGRADE),--upgrade)

clean:  ## remove what `make` made
	rm -rf .venv build out
