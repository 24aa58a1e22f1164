"""The cost of a run before it starts, from its config and rates measured on this machine."""

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from taclean.clip.models import create, tokenize
from taclean.config import Config
from taclean.config.schema import ROLES, Train
from taclean.data.fetch import bytes_to_fetch
from taclean.data.images import load_image
from taclean.data.split import Pairs
from taclean.defenses import defense, make_defense
from taclean.evaluation.embeddings import embed
from taclean.evaluation.zeroshot import head, prompt_tokens, scores
from taclean.runs import Runs
from taclean.training.loop import Training

CAPTION = "a large green tree near the small red house on a very warm summer day"
ROW_BYTES = 77 * 2 + 8 + 8 + 64  # tokens, label, id and a caption of CC3M's length
ALL = 50_000  # rows of a split that takes all of its source: ImageNet's validation set


class _Same(Pairs):
    """Pairs that all have one caption."""

    def captions(self) -> list[str]:
        return [CAPTION] * len(self)


def measure(config: Config) -> dict[str, Any]:
    """Measure rates per second on this machine, with the batch of the config's fine-tuning.

    Returns:
        {"machine": name, "pack": rows of a core, "train": {"base", "pretrain" or a defence: pairs},
        "evaluate" and "validate": images, "prompts": of a head, "gpu_memory": bytes of all tensors
        at most; None without a GPU}.
    """
    name, size = config.model.name, config.data.image_size
    batch, cuda = config.finetune.train.batch, torch.cuda.is_available()
    device, steps = ("cuda", 20) if cuda else ("cpu", 3)
    rows = batch * (steps + 1)  # a step warms up
    pixels = np.random.default_rng(0).integers(0, 256, (rows, size, size, 3), np.uint8)
    tokens, index = np.repeat(tokenize(name, [CAPTION]), rows, 0), np.arange(rows)
    prompts = prompt_tokens(name, ["tree", "house"], [f"{CAPTION} with a {{}}."] * 32).to(device)
    pairs = _Same(Path(), pixels, tokens, 0 * index, index, index, np.empty(0, np.int64))
    finetune, clip, train = config.finetune.train, make_defense(None), {}
    trainings = {"pretrain": (clip, finetune)}
    if not config.model.pretrained:
        trainings["base"] = clip, config.base.train
    for key in config.run.defenses:
        entry = config.defenses[key]
        texts = {text: kind.example(tokens) for text, kind in defense(entry.kind).texts.items()}
        objective = make_defense(entry.kind, 0, texts, **entry.loss.given())
        trainings[key] = objective, config.cleaning(key)[1]
    for key, (objective, given) in trainings.items():
        own = given.given(include={"precision", "threads", "compile", "optimizer"})
        settings = Train(lr=1e-9, epochs=1, batch=batch, warmup=0, **own)
        more: dict[str, Any] = {"seed": 0, "device": device, "prompts": prompts}
        training = Training(create(name), pairs, objective, settings, **more)
        if not objective.failed:
            train[key] = batch * steps / _seconds(training.step, steps)
        training.feed.close()
    model = create(name).eval().to(device)
    classifier, triggers = head(model, prompts), {"same": lambda images, ids: images}
    jpeg = io.BytesIO()  # of CC3M's usual size
    photo = Image.fromarray(pixels[0, :60, :80]).resize((640, 480), Image.Resampling.BICUBIC)
    photo.save(jpeg, "JPEG")

    def scored(precision: str) -> float:
        own: dict[str, Any] = {"target": 1, "precision": precision}
        return 2 * rows / _seconds(lambda: scores(embed(model, pairs, triggers, **own), classifier))

    return {
        "machine": torch.cuda.get_device_name() if cuda else f"CPU, {finetune.threads} threads",
        "train": train,
        "prompts": 64 / _seconds(lambda: head(model, prompts)),
        "evaluate": scored(config.evaluate.precision),
        "validate": scored("auto"),
        "gpu_memory": torch.cuda.max_memory_allocated() if cuda else None,
        "pack": 24 / _seconds(lambda: load_image(jpeg.getvalue(), size), 24),
    }


def _seconds(work: Callable[[], object], times: int = 1) -> float:
    """Time calls after one that warms up, with the work that they queue on a GPU."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    work()
    wait()
    started = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return time.perf_counter() - started


def plan(config: Config, rates: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, float]]:
    """Estimate a run.

    Returns:
        One row per kind of job: stage, jobs, rows (of one job), hours (of one job), total_hours;
        and in GB (1e9 bytes) `packed`, `results`, `checkpoints` and `memory`, the largest need of
        one training process: weights, gradients and AdamW's state, without activations.
    """
    runs, train, evaluate = Runs(config), rates["train"], config.evaluate
    rows = {name: split.rows or ALL for name, split in config.splits.items()}
    of = {role: rows[name] for role in ROLES if (name := config.split_of_role(role))}
    models, seeds = runs.all(), len(runs.seeds)
    bases = seeds if config.base.per_seed else 1
    jobs = [(f"pack {name}", 1, count, rates["pack"]) for name, count in rows.items()]
    trainings = [training for training in runs.trainings() if training[1]]
    for attack in (attacks[0] for stage, attacks, *_ in trainings if "pretrain" in stage):
        if (entry := config.attacks[attack]).fits:
            work = of["patch"] * entry.fit.epochs
            jobs.append((f"trigger {attack}", seeds, work, train["pretrain"]))
    heads, validated = len(models), 0  # a training validates before the first epoch and after each
    for stage, attacks, pairs, settings in trainings:
        name = stage.removeprefix("finetune ")
        defense, _ = config.rates.get(name, (name, 0))
        rate = train.get(defense, train["pretrain"])
        jobs.append((stage, len(attacks), (pairs or ALL) * settings.epochs, rate))
        heads += len(attacks) * (settings.epochs + 1)
        views = sum(1 if attack == "clean" else 2 for attack in attacks)
        validated += views * (settings.epochs + 1) * of["val"]
    # A model that was not attacked is scored with every trigger, an attacked one with its own.
    clean = sum(run.attack == "clean" for run in models)
    scored, triggers = sum(rows[name] for name in evaluate.splits), len(config.triggers_on_clean)
    prompts = len(config.class_names) * len(config.prompts()["templates"])
    jobs += [
        ("evaluate clean", clean, (1 + triggers) * scored, rates["evaluate"]),
        ("evaluate attacked", len(models) - clean, 2 * scored, rates["evaluate"]),
        ("validate", 1, validated, rates["validate"]),
        ("zero-shot head", heads, prompts, rates["prompts"]),
    ]
    table = pd.DataFrame(jobs, columns=["stage", "jobs", "rows", "rate"])
    table = table[table["jobs"] > 0].reset_index(drop=True)
    table["hours"] = table["rows"] / table.pop("rate") / 3600
    table["total_hours"] = table["jobs"] * table["hours"]
    weights = sum(p.numel() for p in create(config.model.name).parameters()) * 4 / 1e9
    return table, {
        "packed": sum(rows.values()) * (3 * config.data.image_size**2 + ROW_BYTES) / 1e9,
        "results": (len(runs.cleanings()) + len(runs.victims()) + bases) * weights,
        "checkpoints": 3 * weights,  # weights and AdamW's two moments, of the job that runs
        "memory": 4 * weights,
    }


def report(config: Config, rates: Mapping[str, Any]) -> str:
    table, disk = plan(config, rates)
    files, runs = "", Runs(config)
    for name, source in getattr(config.dataset, "sources", {}).items():
        if source.hub:
            size = bytes_to_fetch(source.given(), runs.source_folder(name))
            known = "of unknown size" if size is None else f"{size / 1e9:.1f} GB"
            files += f", download of {source.hub} {known}"
    gpu = ""
    if peak := rates["gpu_memory"]:
        gpu = f" GPU memory: {peak / 1e9:.1f} GB of tensors at most, and about 2 GB for CUDA."
    rows = {"rows": "{:,}".format}
    return f"""{table.to_string(index=False, formatters=rows, float_format="{:.3f}".format)}

One after another: {table["total_hours"].sum():.2f} hours, at the rates of {rates["machine"]}.
Disk: packed {disk["packed"]:.1f} GB, models {disk["results"]:.1f} GB, checkpoint of a running job \
{disk["checkpoints"]:.1f} GB{files}.
Memory of a training job: {disk["memory"]:.1f} GB for weights, gradients and optimiser, and the \
activations of a batch. Packed pixels are memory-mapped.{gpu}"""
