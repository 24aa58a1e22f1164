"""What a run will cost, before it starts: rows, disk, memory and time, from its config.

Times come from rates that were measured, with the run's own model and sizes, on the machine that
will do the work.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from taclean.clip.models import create, tokenize
from taclean.config import Config
from taclean.config.schema import ROLES, Train
from taclean.data.split import Pairs
from taclean.defenses import Defense, defense, make_defense
from taclean.evaluation.zeroshot import Labelled, head, prompt_tokens, scores
from taclean.training.loop import train
from taclean.util.errors import UserError

CAPTION = "a large green tree near the small red house on a very warm summer day"
ROW_BYTES = 77 * 2 + 8 + 8 + 64  # tokens, label, id and a caption of CC3M's length
STEPS = 3  # timed steps; one more before them warms up
KEYS = ("pack", "train", "evaluate", "prompts")


def measure(config: Config, batch: int | None = None) -> dict[str, Any]:
    """Measure rates here, per second.

    {"pack": rows of a core, "train": {"pretrain" or a defence: pairs}, "evaluate": images,
    "prompts": of a head}

    Args:
        batch: pairs per step; that of the config's fine-tuning by default.
    """
    name, size = config.model.name, config.data.image_size
    batch = batch or config.finetune.train.batch
    rows = batch * STEPS
    pixels = np.random.default_rng(0).integers(0, 256, (rows, size, size, 3), np.uint8)
    tokens = np.repeat(tokenize(name, [CAPTION]), rows, 0)
    index = np.arange(rows)
    pairs = Pairs(Path(), pixels, tokens, index % 10, index, index, np.empty(0, np.int64))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rates: dict[str, Any] = {"machine": _machine(device), "train": {}}
    own = config.finetune.train.given(include={"precision", "threads", "betas"})
    settings = Train(lr=1e-9, epochs=1, batch=batch, warmup=0, **own)
    for key in ("pretrain", *config.run.defenses):
        model = create(name)
        for part in (pairs.take(index[:batch]), pairs):  # the first warms up
            objective = _objective(config, key, tokens[: len(part)])
            with tempfile.TemporaryDirectory() as folder:
                started = time.perf_counter()
                train(
                    model,
                    part,
                    objective,
                    settings,
                    seed=0,
                    folder=Path(folder),
                    config={},
                    device=device,
                    say=lambda line: None,
                )
                seconds = time.perf_counter() - started
        rates["train"][key] = rows / seconds
    model = create(name).eval().to(device)
    prompts = prompt_tokens(name, ["tree", "house"], [f"{CAPTION} with a {{}}."] * 32).to(device)
    started = time.perf_counter()
    classifier = head(model, prompts).cpu().to(device)  # a GPU has to be waited for
    rates["prompts"] = 64 / (time.perf_counter() - started)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device)
    data = Labelled(images, torch.zeros(rows, dtype=torch.int64, device=device))
    started = time.perf_counter()
    scores(model, data, classifier, 1, {"same": (lambda x, ids: x, classifier)}, ks=(1,))
    rates["evaluate"] = 2 * rows / (time.perf_counter() - started)
    rates["pack"] = _pack_rate(size)
    return rates


def _objective(config: Config, key: str, tokens: np.ndarray) -> Defense:
    """A defence, or what pre-training minimises, with texts for one epoch over these tokens."""
    if key == "pretrain":
        return make_defense(None)
    entry = config.defenses[key]
    texts = {name: text.example(tokens) for name, text in defense(entry.kind).texts.items()}
    return make_defense(entry.kind, 0, texts, **entry.loss.given())


def _machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"


def _pack_rate(size: int, count: int = 24) -> float:
    """Rows that a core packs in a second: JPEGs of CC3M's usual size (640 x 480)."""
    import io

    from PIL import Image

    from taclean.data.images import load_image

    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC).save(file, "JPEG")
    data = file.getvalue()
    started = time.perf_counter()
    for _ in range(count):
        load_image(data, size)
    return count / (time.perf_counter() - started)


def check_rates(rates: Any, where: str) -> dict[str, Any]:
    """Check a file of rates.

    Raises:
        UserError: it is none that `taclean plan --measure` wrote.
    """
    found = dict(rates) if isinstance(rates, Mapping) else {}
    train = found.get("train")
    numbers = [found.get(key) for key in KEYS if key != "train"]
    numbers += train.values() if isinstance(train, Mapping) and "pretrain" in train else [None]
    if not all(isinstance(number, int | float) and number > 0 for number in numbers):
        raise UserError(f"{where}: no rates; make them with `taclean plan --measure {where}`")
    return found


def plan(config: Config, rates: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, float]]:
    """Estimate a run.

    Returns:
        One row per kind of job: stage, jobs, rows (of one job), hours (of one job), total_hours;
        and in GB (1e9 bytes) `packed`, `results`, `checkpoints` and `memory`, the largest need of
        one training process: weights, gradients and AdamW's state, without activations.
    """
    run, size = config.run, config.data.image_size
    attacks, seeds = run.attacks, len(run.seeds)
    own = list(dict.fromkeys(map(config.trained_as, attacks)))
    bases = seeds if config.base.per_seed else 1
    cleaned = seeds * run.repeats
    pull = rates["train"]
    # A split without rows is a whole source, such as ImageNet's validation set.
    of = {role: name for role in ROLES if (name := config.split_of_role(role))}
    known = {name: split.rows or 50_000 for name, split in config.splits.items()}
    jobs: list[tuple[str, int, int, float]] = []
    validated = heads = 0  # images and heads of the scores on val before, between and after epochs

    def add(stage: str, count: int, work: float, rate: float) -> None:
        if count:
            jobs.append((stage, count, int(work), work / rate / 3600))

    def add_training(
        stage: str, key: str, clean: int, attacked: int, rows: int, epochs: int
    ) -> None:
        nonlocal validated, heads
        add(stage, clean + attacked, rows * epochs, pull.get(key, pull["pretrain"]))
        heads += (clean + attacked) * (epochs + 1)
        validated += (clean + 2 * attacked) * (epochs + 1) * known[of["val"]]

    for name, count in known.items():
        add(f"pack {name}", 1, count, rates["pack"])
    if not config.model.pretrained:
        epochs = config.base.train.epochs
        add_training("base", "pretrain", bases, 0, known[of["pretrain"]], epochs)
    for attack in own:
        entry = config.attacks[attack]
        if entry.fits:
            work = known[of["patch"]] * entry.fit.epochs
            add(f"trigger {attack}", seeds, work, pull["pretrain"])
        epochs = entry.settings(config.poison.train).epochs
        add_training(f"pretrain {attack}", "pretrain", 0, seeds, config.poison.rows, epochs)
    for name in run.defenses:
        cleaning = config.defenses[name]
        epochs = cleaning.settings(config.finetune.train).epochs
        attacked = cleaned * len(own)
        clean = cleaned * config.cleans_clean
        learned = cleaning.rows or known[of["clean"]]
        add_training(f"finetune {name}", name, clean, attacked, learned, epochs)
    # A model that was not attacked is scored with every trigger, an attacked one with its own.
    scored = sum(known[name] for name in config.evaluate.splits)
    each = seeds + cleaned * len(run.defenses)
    clean = each if config.cleans_clean else seeds
    models = clean + each * len(attacks)
    add("evaluate clean", clean, (1 + len(config.triggers_on_clean)) * scored, rates["evaluate"])
    add("evaluate attacked", models - clean, 2 * scored, rates["evaluate"])
    add("validate", 1, validated, rates["evaluate"])
    prompts = len(config.class_names) * len(config.templates)
    add("zero-shot head", models + heads, prompts, rates["prompts"])
    table = pd.DataFrame(jobs, columns=["stage", "jobs", "rows", "hours"])
    table["total_hours"] = table["jobs"] * table["hours"]

    weights = sum(p.numel() for p in create(config.model.name).parameters()) * 4 / 1e9
    trained = clean + each * len(own) - seeds + bases
    disk = {
        "packed": sum(known.values()) * (3 * size * size + ROW_BYTES) / 1e9,
        "results": trained * weights,
        "checkpoints": 3 * weights,  # weights and AdamW's two moments, of the job that runs
        "memory": 4 * weights,
    }
    return table, disk


def report(config: Config, rates: Mapping[str, Any]) -> str:
    """The plan as text."""
    table, disk = plan(config, rates)
    shown = table.assign(
        rows=table["rows"].map("{:,}".format),
        hours=table["hours"].map("{:.3f}".format),
        total_hours=table["total_hours"].map("{:.3f}".format),
    )
    sources = getattr(config.dataset, "sources", {})
    hub = [source.hub for source in sources.values() if source.hub]
    return "\n".join(
        [
            shown.to_string(index=False),
            "",
            f"One after another: {table['total_hours'].sum():.2f} hours, at the rates of "
            f"{rates.get('machine', 'an unnamed machine')}.",
            f"Disk: packed {disk['packed']:.1f} GB, models {disk['results']:.1f} GB, checkpoint of "
            f"a running job {disk['checkpoints']:.1f} GB"
            + "".join(f", and the files of {name}" for name in hub)
            + ".",
            f"Memory of a training job: {disk['memory']:.1f} GB for weights, gradients and "
            "optimiser, and the activations of a batch. Packed pixels are memory-mapped.",
        ]
    )
