# Two commands on a fresh machine: `make reproduce` and `make test`. README.md and CONTRIBUTING.md show
# them without make.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Stages start faster with compiled modules, and the first import compiles them; pip has one core.
export PYTHONDONTWRITEBYTECODE :=
# Where `make evidence` runs, and a config of the site on top: docs/cluster.md.
ON ?= --cores all
SITE ?=
# Where `make photos` finds Tiny-ImageNet-200, unpacked or as its zip; without it, it is downloaded.
DATA ?=

.PHONY: reproduce photos quick seeds evidence more test test-slurm check format bench docs clean
.NOTPARALLEL: # each run has all cores

reproduce: .venv/run.stamp ## the whole chain on the embedded data
	snakemake --cores all

photos: .venv/run.stamp ## the chain on photographs, in the folder photos; DATA=a folder or zip of yours
	snakemake --cores all --directory photos --configfile config/photos.yaml \
		$(if $(DATA),--config 'data={"photos": {"folder": "$(abspath $(DATA))"}}')

quick: .venv/run.stamp ## one attack and twenty classes in minutes, in the folder quick
	snakemake --cores all --directory quick --configfile config/quick.yaml

seeds: .venv/run.stamp ## seeds 1, 2 and 3, after `make reproduce`
	snakemake --cores all --configfile config/seeds.yaml

## five victims of each attack, three for each axis: hours; goes on where it stopped
evidence: run-evidence run-rebound run-structured run-few run-axes run-threat apart-vit

## after `make evidence`: parts of TA-Cleaner, an overlap, more defences, another target: hours
more: run-ablation run-overlap run-field run-training_time apart-target

run-%: .venv/run.stamp # one config's run, then its numbers and pictures for the pages
	snakemake $(ON) --configfile config/$*.yaml $(SITE)
	python -m docs.build --take results --as $* --configfile config/$*.yaml

apart-%: .venv/run.stamp # the same in a folder of its own, for another model or target
	snakemake $(ON) --directory $* --configfile config/$*.yaml $(SITE)
	python -m docs.build --take $*/results --as $* --configfile config/$*.yaml

test: .venv/test.stamp check ## formatting, lint, types, then every test
	pytest -n auto --dist loadfile

test-slurm: .venv/slurm.stamp ## as root on Debian: the small chain on a one-node Slurm
	tests/slurm.sh

check: .venv/test.stamp
	ruff format --check .
	ruff check .
	snakefmt --check Snakefile rules
	snakemake --lint
	mypy

format: .venv/test.stamp
	ruff format .
	ruff check --fix .
	snakefmt Snakefile rules

bench: .venv/test.stamp ## speed against plain references, to benchmarks/results.csv; on a quiet machine
	python -m benchmarks

docs: .venv/run.stamp ## the numbers of README.md and docs/, from docs/data and benchmarks/results.csv
	python -m docs.build

INSTALL := $(BIN)/python -m pip install --quiet --no-compile

.venv/run.stamp: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) --editable .
	touch $@

.venv/test.stamp: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) --editable '.[test]'
	$(INSTALL) --no-deps 'clip_benchmark>=1.6'
	touch $@ .venv/run.stamp

.venv/slurm.stamp: .venv/test.stamp
	$(INSTALL) --editable '.[slurm]'
	touch $@

clean: ## results, packed splits and caches; not .venv, downloads (data/*/sources), folders of yours
	rm -rf results checkpoints logs .snakemake data/*/fetched data/*/index data/*/text
	rm -rf $(dir $(wildcard data/*/*/ids.npy)) data/*/.*.tmp
