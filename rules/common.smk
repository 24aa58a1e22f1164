"""The config, checked, and the params that rules share; the grid of runs is taclean/runs.py."""

import hashlib
import json
import os
import re

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from taclean import config as configs, stages
from taclean.attacks import victims
from taclean.config.checks import check
from taclean.runs import CLEAN_BASE, OF_ATTACK, RUN, Run, Runs
from taclean.data import FILES
from taclean.report import code_of, text_of
from taclean.report.figures import drawings
from taclean.util.errors import UserError
from taclean.util.files import write_text
from taclean.util.machine import visible_gpus

try:
    for file in filter(os.path.isfile, workflow.configfiles):  # a pipe would wait
        configs.read_yaml(file)  # Snakemake takes a key that is there twice
    resolved = configs.resolve(config)
    config.clear()
    config.update(resolved)
    checked = check(config)
    runs = Runs(checked)
    FROZEN = victims.members(checked.run.victims, runs.poisonings())
except UserError as error:
    raise WorkflowError(f"config: {error}") from None

# The config as jobs read it. Snakemake's own folder keeps it, since a dry run writes no results.
CONFIG_JSON = json.dumps(config, indent=2, ensure_ascii=False)
CONFIG_FILE = f".snakemake/taclean/{hashlib.sha256(CONFIG_JSON.encode()).hexdigest()[:12]}.json"
if not os.path.exists(CONFIG_FILE):  # the jobs of a cluster parse this, too, while others read
    write_text(CONFIG_FILE, CONFIG_JSON)
FIGURES = drawings(runs)
DRAWN = [name for name, drawing in FIGURES.items() if drawing.when and runs.attacks[1:]]
DATA = runs.data
VICTIM = "results/runs/{attack}/none/seed{seed}"
# Frozen victims bring their manifest; their rows are poisoned again where a job learns from them.
POISON = f"{OF_ATTACK}/{'again' if FROZEN else 'poison'}"
TEXT = f"{DATA}/text/{{text}}/{{shared}}/seed{{seed}}{{repeat}}"


wildcard_constraints:
    attack="|".join(["clean", *checked.attacks]),
    defense="|".join(["none", *checked.defenses]),
    text="|".join(k for entry in checked.defenses.values() for k in entry.method.texts) or "none",
    split="|".join(checked.splits),
    source="|".join(getattr(checked.dataset, "sources", {})) or "none",
    seed=r"\d+",
    repeat=r"(-repeat[1-9]\d*)?",  # more cleanings of the same victim
    shared=r"\d+epochs-[0-9a-f]{8}",


# Where a scheduler signals every process of a job, bash waits for the command, which may save and
# leave, and tee lives on to take its last words; pipefail keeps the command's exit status. Slurm's
# default signals snakemake alone, so a training also leaves by its job's end time.
shell.prefix("set -euo pipefail; trap : TERM; tee() ( trap '' TERM INT; exec tee \"$@\" ); ")


def config_file(wildcards, resources):
    """Return the file of the whole config, as a param that is no reason for a rerun."""
    return CONFIG_FILE


def stage(path):
    """Return a param, PATH@DIGEST, that changes if and only if the stage's config does."""
    return lambda wildcards: stages.recipe(checked, path.format(**wildcards))


def folder(name):
    """Return a param: the folder of the files of an input or output, or nothing without files."""

    def of(wildcards, input, output):
        files = getattr(input, name, None) or getattr(output, name, None)
        return os.path.dirname(files if isinstance(files, str) else files[0]) if files else []

    return of


def folders(*names):
    """Return a param for each name: see `folder`."""
    return {name: folder(name) for name in names}


def gpus(resources):
    """Return how many GPUs a job asks for, by `gpu`, `gpu_model` or a form of `gres`."""
    name, *more = str(resources.get("gres", "")).split(":")
    if name == "gpu":
        return int(more[-1]) if more and more[-1].isdigit() else 1
    return resources.get("gpu", 1 if resources.get("gpu_model") else 0)


if workflow.is_main_process:
    for note in configs.notes(checked):
        logger.warning(note)
    # One job per GPU of this machine by default; a cluster, which has --jobs, counts them itself.
    if workflow.resource_settings.nodes is None:
        workflow.global_resources.setdefault("gpu", max(1, visible_gpus()))


# Snakemake does not record a param that depends on `resources`, so it is no reason for a rerun.
def device(wildcards, resources):
    """Return the param --device: a job that asks for a GPU refuses to compute on the CPU."""
    return "cuda" if gpus(resources) else "cpu"


def launcher(wildcards, resources):
    """Return what runs a training: python, or torchrun with a process for each GPU of the job."""
    count = gpus(resources)
    return f"torchrun --standalone --nproc-per-node {count}" if count > 1 else "python"


def job(path):
    """Return the params of the job that runs a stage."""
    return {"device": device, "config": config_file, "stage": stage(path)}


def training(path):
    """Return the params of a training, but for what it learns from."""
    return {**job(path), "launch": launcher, "checkpoints": f"checkpoints/{path}"}


def of_attack(file):
    """Return an input function: a file of the run's attack; the clean model has no such file."""
    return lambda wildcards: [] if wildcards.attack == "clean" else f"{OF_ATTACK}/{file}"


def of_poisoning(files):
    """Return an input function: files of a poisoning, which clean models and given victims lack."""
    given = ["clean", *(name for name, entry in checked.attacks.items() if entry.victim)]
    return lambda wildcards: [] if wildcards.attack in given else files


def all_figures():
    """Return the figures that the run can fill, in each of their forms."""
    return [f"results/figures/{name}{end}" for name in DRAWN for end in FIGURES[name].suffixes]


def main_tables():
    """Return the tables of means. Without an attack there are none: see `the_page`."""
    names = ["main_table.md", "main_table.tex", "spread.csv", "paired.csv"]
    names += ["cost.csv"] if runs.defenses[1:] else []
    names += ["rebound.csv"] if runs.followed() else []
    names += ["budgets.md"] if checked.rates else []
    return [f"results/{name}" for name in names] if runs.attacks[1:] else []


def the_page():
    """Return the report, or without attacks the page about the base model."""
    return "results/report.html" if runs.attacks[1:] else "results/own.html"
