# `make` lists the targets. Everything lives in .uv (the installer) and .venv; nothing else is touched.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Tests start Python hundreds of times: compiled once, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

# tests/rules is part of `make check`.
SUITES := tests/unit tests/integration tests/e2e tests/aws

UV := .uv/bin/uv
BIN := .venv/bin
READY := .venv/.ready
COMPILE := $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	--no-annotate --python-version 3.12 --extra aws --custom-compile-command "make requirements" \
	pyproject.toml
# A dependency group alone, for a virtual environment of its own.
COMPILE_GROUP := $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	--no-annotate --python-version 3.12 --custom-compile-command "make requirements" --group
CHECKOV := .venv/checkov
SITE := .venv/site
comma := ,
# What tests write dies with them: it lies in memory, where that has room and lets programs run.
SHM := /dev/shm
LEAST_GB := 8
PYTEST := $(shell findmnt -no OPTIONS $(SHM) 2>/dev/null | grep -v noexec | grep -q . && \
	[ "$$(df --output=avail -BG $(SHM) | tr -dc 0-9)" -ge $(LEAST_GB) ] && echo TMPDIR=$(SHM)) $(BIN)/pytest

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name what; do \
		printf '  make %-19s %s\n' "$$name" "$$what"; done

.PHONY: demo
demo: setup ## see a business's data flow into a warehouse
	$(BIN)/totes demo

.PHONY: aws-demo
aws-demo: setup ## deploy to an AWS of this machine's own, see data flow there, destroy it
	PYTHONPATH=tools $(BIN)/python tools/aws/demo.py

.PHONY: test
test: setup ## check, then every test with coverage: what CI runs
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check
	$(PYTEST) -n 3 --dist worksteal --cov --cov-report=term $(SUITES)

.PHONY: test-deep
test-deep: setup ## the tests with many random examples and every seed of the soak: nightly
	DEEP=1 $(PYTEST) -n 3 --dist worksteal $(SUITES)
	$(MAKE) --no-print-directory soak MINUTES=30 SEED=$$RANDOM

.PHONY: tests
tests: setup ## some tests, with coverage kept for `make coverage`: TESTS="files or folders"
	$(PYTEST) -n 3 --dist worksteal --cov --cov-report= --cov-fail-under=0 $(TESTS)

.PHONY: coverage
coverage: setup ## the coverage of several `make tests`, from reports/coverage.*
	$(BIN)/coverage combine --keep reports/coverage.*
	$(BIN)/coverage report

.PHONY: unit
unit: setup ## the quick tests, under half a minute
	$(PYTEST) -q -n 2 --dist worksteal tests/unit

.PHONY: check
check: lint types security audit requirements-check rules workflows checkov site-check ## everything that needs no test run

.PHONY: setup
setup: $(READY) ## uv if missing, .venv from the hashed requirements, this project in it

# A shim that finds no Python for .python-version is as good as no uv; in / it may still find one.
$(UV):
	@if uv --version >/dev/null 2>&1; then \
		mkdir -p $(@D) && ln -s "$$(command -v uv)" $@; \
	else \
		echo "setup: fetching uv, the installer, into .uv"; \
		(cd / && python3 -m venv "$(CURDIR)/.uv") && .uv/bin/python -m pip install --quiet uv; \
	fi

$(READY): requirements-dev.txt pyproject.toml .python-version | $(UV)
	@echo "setup: installing $$(grep -c '==' requirements-dev.txt) packages into .venv; the first time takes a minute or so"
	@$(UV) venv --quiet --allow-existing .venv
	@$(UV) pip sync --compile-bytecode --python $(BIN)/python --require-hashes \
		requirements-dev.txt 2>&1 | \
		sed -u '/^ [-+~] /d; s/^/setup: /; /Installed/a setup: compiling them, which takes as long again'
	@echo "setup: installing this project into .venv"
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "setup: done"

.PHONY: lint
lint: setup .venv/.sql ## ruff and sqlfluff: rules and format of Python and SQL
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .

# Only the SQL files that changed since they last passed: sqlfluff takes seconds for all of them.
.venv/.sql: $(shell find src -name '*.sql' -o -name '.sqlfluff') .sqlfluff .sqlfluffignore $(READY)
	$(BIN)/sqlfluff lint --nocolor $(if $(filter-out %.sql,$?),src,$(filter %.sql,$?))
	@touch $@

.PHONY: format
format: setup ## let ruff and sqlfluff fix and format the code
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format --quiet .
	$(BIN)/sqlfluff fix --quiet --nocolor src

.PHONY: types
types: setup ## mypy, strict
	$(BIN)/mypy

.PHONY: security
security: setup ## bandit
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive src

.PHONY: audit
audit: setup ## known vulnerabilities of our dependencies (AUDIT_REQUIRED=1 fails where that can't be found out)
	@$(BIN)/python tools/audit.py requirements-dev.txt requirements-checkov.txt requirements-site.txt

.PHONY: rules
rules: setup ## the project's own rules: dependencies point one way, docs are current
	$(BIN)/pytest -q tests/rules

.PHONY: workflows
workflows: setup ## actionlint and zizmor: GitHub's workflows
	$(BIN)/actionlint
	$(BIN)/zizmor --quiet --offline --persona=pedantic --strict-collection .github

.PHONY: checkov
checkov: $(CHECKOV)/.ready ## checkov: Terraform's code (REPORTS=folder keeps its report)
	@$(CHECKOV)/bin/checkov --directory terraform --framework terraform --skip-download --quiet \
		--skip-path demo --compact $(if $(REPORTS),--output cli --output junitxml --output-file-path console$(comma)$(REPORTS)/checkov.xml)

$(CHECKOV)/.ready: requirements-checkov.txt $(READY)
	@echo "checkov: installing into $(CHECKOV)"
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python $(CHECKOV)
	@$(UV) pip sync --quiet --compile-bytecode --python $(CHECKOV)/bin/python --require-hashes \
		requirements-checkov.txt
	@touch $@

.PHONY: site
site: $(SITE)/.ready ## docs/ as a searchable site, in build/site
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --quiet

.PHONY: site-check
site-check: $(SITE)/.ready ## the same, where a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict

$(SITE)/.ready: requirements-site.txt $(READY)
	@echo "site: installing into $(SITE)"
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python $(SITE)
	@$(UV) pip sync --quiet --compile-bytecode --python $(SITE)/bin/python --require-hashes \
		requirements-site.txt
	@touch $@

.PHONY: smoke
smoke: setup ## call each stage of what is deployed once, and read back what it says
	$(BIN)/python tools/aws/smoke.py

.PHONY: requirements
requirements: | $(UV) ## compile requirements*.txt from pyproject.toml (UPGRADE=1 for the newest)
	$(COMPILE) $(if $(UPGRADE),--upgrade) --output-file requirements.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) --extra dashboard --extra embedded --group dev --constraint requirements.txt \
		--output-file requirements-dev.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) --extra dashboard --constraint requirements-dev.txt \
		--output-file requirements-dashboard.txt
	$(COMPILE_GROUP) checkov $(if $(UPGRADE),--upgrade) --output-file requirements-checkov.txt
	$(COMPILE_GROUP) site $(if $(UPGRADE),--upgrade) --output-file requirements-site.txt

.PHONY: requirements-check
requirements-check: setup ## requirements*.txt are what pyproject.toml asks for
	@again=$$(mktemp -d) && trap 'rm -rf "$$again"' EXIT && cp requirements*.txt "$$again" && \
	$(COMPILE) --output-file "$$again/requirements.txt" && \
	$(COMPILE) --extra dashboard --extra embedded --group dev --constraint requirements.txt \
		--output-file "$$again/requirements-dev.txt" && \
	$(COMPILE) --extra dashboard --constraint requirements-dev.txt \
		--output-file "$$again/requirements-dashboard.txt" && \
	$(COMPILE_GROUP) checkov --output-file "$$again/requirements-checkov.txt" && \
	$(COMPILE_GROUP) site --output-file "$$again/requirements-site.txt" && \
	for file in requirements*.txt; do \
		cmp --silent "$$file" "$$again/$$file" || \
			{ echo "$$file is not what pyproject.toml asks for: make requirements"; exit 1; }; \
	done

.PHONY: schema
schema: setup ## write docs/manifest.schema.json anew
	$(BIN)/python -c 'from totes.lake.manifest import manifest_schema; print(manifest_schema(), end="")' \
		> docs/manifest.schema.json

.PHONY: star
star: setup ## write what comes from the star's declaration: lineage, Athena's columns, docs/star.md
	$(BIN)/python tools/star.py

.PHONY: docs
docs: setup ## write docs/commands.md and docs/settings.md anew
	$(BIN)/python tools/docs.py

.PHONY: rates
rates: setup ## write src/totes/rates/eurofxref.csv anew (newest: first `make requirements UPGRADE=1`)
	$(BIN)/python tools/rates.py

.PHONY: outlines
outlines: setup ## write the map's outlines anew, from the npm package world-atlas (needs npm)
	$(BIN)/python tools/outlines.py

.PHONY: notebook
notebook: setup ## answer notebooks/lake.ipynb's questions anew, from the demo's lake or your own
	$(BIN)/jupyter-execute --inplace notebooks/lake.ipynb

.PHONY: bench
bench: setup ## speed and memory with a million sales orders (or ORDERS=…)
	@$(BIN)/python -m compileall -q src  # as an installed totes is
	$(BIN)/python benchmarks/bench.py $(if $(ORDERS),--orders $(ORDERS))

.PHONY: soak
soak: setup ## a hostile business, every fault, a proof each round (SEED=… MINUTES=…)
	$(BIN)/python tests/support/soak.py --seed $(or $(SEED),1) --minutes $(or $(MINUTES),10)

.PHONY: plan
plan: init ## what a deployment would alter: ENV=dev STATE_BUCKET=… (BUNDLE=zip, AWS_REGION=…)
	terraform -chdir=terraform plan -input=false -lock=false $(DEPLOYED)

.PHONY: deploy
deploy: init ## everything on AWS, from nothing or anew: ENV=dev STATE_BUCKET=…; asks first (not in CI)
	terraform -chdir=terraform apply $(if $(CI),-input=false -auto-approve) $(DEPLOYED)

.PHONY: destroy
destroy: confirmed init ## take it all away again: ENV=dev CONFIRM=dev STATE_BUCKET=…
	terraform -chdir=terraform destroy -input=false -auto-approve $(DEPLOYED)

BUNDLE ?= $(CURDIR)/dist/totes-lambda.zip
AWS_REGION ?= eu-west-2
DEPLOYED = -var-file=$(ENV).tfvars -var=region=$(AWS_REGION) -var=bundle=$(BUNDLE)

.PHONY: init
init: $(if $(filter file,$(origin BUNDLE)),bundle) ## Terraform made ready for ENV, with its state; the others call it
	@[ -f "terraform/$(ENV).tfvars" ] || { echo "Say which environment: ENV=dev, or whichever has a terraform/*.tfvars"; exit 2; }
	@[ -n "$(STATE_BUCKET)" ] || { echo "Say where the state is: STATE_BUCKET=… (terraform/bootstrap makes it)"; exit 2; }
	terraform -chdir=terraform init -input=false -reconfigure \
		-backend-config=bucket=$(STATE_BUCKET) -backend-config=region=$(AWS_REGION) \
		-backend-config=key=$(ENV)/terraform.tfstate \
		$(if $(TOTES_TERRAFORM_PLUGINS),-plugin-dir=$(TOTES_TERRAFORM_PLUGINS))

.PHONY: confirmed
confirmed: ## whether CONFIRM says the same as ENV, for destroy
	@[ -n "$(ENV)" ] && [ "$(CONFIRM)" = "$(ENV)" ] || \
		{ echo "This takes everything of $(or $(ENV),an environment) away. If that is meant: CONFIRM=$(or $(ENV),its name)"; exit 2; }

.PHONY: terraform-check
terraform-check: setup ## Terraform's code: format, validity, its own tests, all without an account
	$(BIN)/pytest -q tests/aws/test_terraform.py

.PHONY: build
build: setup ## the wheel, in dist/
	$(BIN)/python -m build --wheel --no-isolation

.PHONY: bundle
bundle: setup ## the Lambda functions' zip, in dist/
	$(BIN)/python tools/bundle.py

.PHONY: clean
clean: ## remove what can be made again, the demo's data included
	rm -rf .venv .uv .totes build dist .coverage* htmlcov .hypothesis .*_cache
	find src tests tools benchmarks -name __pycache__ -prune -exec rm -rf {} +
