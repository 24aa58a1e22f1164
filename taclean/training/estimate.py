"""The cost of a run, before it starts: rows, disk, memory and time, from its config.

Times come from rates that were measured, with the run's own model and sizes, on the machine that
will do the work.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from taclean.clip.models import create, tokenize
from taclean.config import Config
from taclean.config.schema import ROLES, Train
from taclean.data.images import load_image
from taclean.data.split import Pairs
from taclean.defenses import defense, make_defense
from taclean.evaluation.embeddings import Labelled, embed
from taclean.evaluation.zeroshot import head, prompt_tokens, scores
from taclean.training.loop import Training
from taclean.util.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

CAPTION = "a large green tree near the small red house on a very warm summer day"
ROW_BYTES = 77 * 2 + 8 + 8 + 64  # tokens, label, id and a caption of CC3M's length
STEPS = 3  # timed steps; one more before them warms up
ALL = 50_000  # rows of a split that takes all of its source: ImageNet's validation set


def measure(config: Config) -> dict[str, Any]:
    """Measure rates per second on this machine, with the batch of the config's fine-tuning.

    Returns:
        {"machine": name, "pack": rows of a core, "train": {"pretrain" or a defence: pairs},
        "evaluate": images, "prompts": of a head}.
    """
    name, size = config.model.name, config.data.image_size
    batch = config.finetune.train.batch
    rows, device = batch * (STEPS + 1), "cuda" if torch.cuda.is_available() else "cpu"
    pixels = np.random.default_rng(0).integers(0, 256, (rows, size, size, 3), np.uint8)
    tokens, index = np.repeat(tokenize(name, [CAPTION]), rows, 0), np.arange(rows)
    pairs = Pairs(Path(), pixels, tokens, index % 10, index, index, np.empty(0, np.int64))
    own = config.finetune.train.given(include={"precision", "threads", "betas"})
    settings = Train(lr=1e-9, epochs=1, batch=batch, warmup=0, **own)
    objectives, train = {"pretrain": make_defense(None)}, {}
    for key in config.run.defenses:
        entry = config.defenses[key]
        texts = {text: kind.example(tokens) for text, kind in defense(entry.kind).texts.items()}
        objectives[key] = make_defense(entry.kind, 0, texts, **entry.loss.given())
    for key, objective in objectives.items():
        training = Training(create(name), pairs, objective, settings, seed=0, device=device)
        training.step()  # warms up
        train[key] = batch * STEPS / _seconds(training.step, STEPS)
        training.feed.close()
    model = create(name).eval().to(device)
    prompts = prompt_tokens(name, ["tree", "house"], [f"{CAPTION} with a {{}}."] * 32).to(device)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device)
    data = Labelled(images, torch.zeros(rows, dtype=torch.int64))
    classifier, triggers = head(model, prompts), {"same": lambda images, ids: images}
    jpeg = io.BytesIO()  # of CC3M's usual size
    Image.fromarray(pixels[0, :60, :80]).resize((640, 480), Image.Resampling.BICUBIC).save(
        jpeg, "JPEG"
    )
    cpu = f"CPU, {torch.get_num_threads()} threads"
    return {
        "machine": torch.cuda.get_device_name() if device == "cuda" else cpu,
        "train": train,
        "prompts": 64 / _seconds(lambda: head(model, prompts)),
        "evaluate": 2
        * rows
        / _seconds(lambda: scores(embed(model, data, triggers, 1), classifier)),
        "pack": 24 / _seconds(lambda: load_image(jpeg.getvalue(), size), 24),
    }


def _seconds(work: Callable[[], object], times: int = 1) -> float:
    """Time `times` calls, including the work that they queue on a GPU."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    started = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return time.perf_counter() - started


def check_rates(rates: Any, where: str) -> dict[str, Any]:
    """Refuse rates that `taclean plan --measure` did not write to the file `where`."""
    try:
        numbers = [rates[key] for key in ("pack", "evaluate", "prompts")]
        numbers += [rates["train"]["pretrain"], *rates["train"].values()]
        slowest = min(numbers)
    except (KeyError, TypeError):
        slowest = 0
    if slowest <= 0:
        raise UserError(f"{where}: no rates; make them with `taclean plan --measure {where}`")
    return rates


def plan(config: Config, rates: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, float]]:
    """Estimate a run.

    Returns:
        One row per kind of job: stage, jobs, rows (of one job), hours (of one job), total_hours;
        and in GB (1e9 bytes) `packed`, `results`, `checkpoints` and `memory`, the largest need of
        one training process: weights, gradients and AdamW's state, without activations.
    """
    import pandas as pd

    run, train, evaluate = config.run, rates["train"], config.evaluate
    rows = {name: split.rows or ALL for name, split in config.splits.items()}
    of = {role: rows[name] for role in ROLES if (name := config.split_of_role(role))}
    own = list(dict.fromkeys(map(config.trained_as, run.attacks)))
    seeds, cleaned = len(run.seeds), len(run.seeds) * run.repeats
    bases = seeds if config.base.per_seed else 1
    each = seeds + cleaned * len(run.defenses)  # models of an attack
    clean, attacked = each if config.cleans_clean else seeds, each * len(run.attacks)
    jobs = [(f"pack {name}", 1, count, rates["pack"]) for name, count in rows.items()]
    heads, validated = clean + attacked, 0

    def add(stage: str, clean: int, attacked: int, pairs: int, epochs: int) -> None:
        """Add trainings, which validate before the first epoch and after each."""
        nonlocal heads, validated
        rate = train.get(stage.removeprefix("finetune "), train["pretrain"])
        jobs.append((stage, clean + attacked, pairs * epochs, rate))
        heads += (clean + attacked) * (epochs + 1)
        validated += (clean + 2 * attacked) * (epochs + 1) * of["val"]

    if not config.model.pretrained:
        add("base", bases, 0, of["pretrain"], config.base.train.epochs)
    for attack in own:
        entry = config.attacks[attack]
        if entry.fits:
            work = of["patch"] * entry.fit.epochs
            jobs.append((f"trigger {attack}", seeds, work, train["pretrain"]))
        epochs = entry.settings(config.poison.train).epochs
        add(f"pretrain {attack}", 0, seeds, config.poison.rows, epochs)
    for name in run.defenses:
        cleaning = config.defenses[name]
        epochs, pairs = (
            cleaning.settings(config.finetune.train).epochs,
            cleaning.rows or of["clean"],
        )
        add(f"finetune {name}", cleaned * config.cleans_clean, cleaned * len(own), pairs, epochs)
    # A model that was not attacked is scored with every trigger, an attacked one with its own.
    scored, triggers = sum(rows[name] for name in evaluate.splits), len(config.triggers_on_clean)
    prompts = len(config.class_names) * len(config.prompts()["templates"])
    jobs += [
        ("evaluate clean", clean, (1 + triggers) * scored, rates["evaluate"]),
        ("evaluate attacked", attacked, 2 * scored, rates["evaluate"]),
        ("validate", 1, validated, rates["evaluate"]),
        ("zero-shot head", heads, prompts, rates["prompts"]),
    ]
    table = pd.DataFrame(jobs, columns=["stage", "jobs", "rows", "rate"])
    table = table[table["jobs"] > 0].reset_index(drop=True)
    table["hours"] = table["rows"] / table.pop("rate") / 3600
    table["total_hours"] = table["jobs"] * table["hours"]
    weights = sum(p.numel() for p in create(config.model.name).parameters()) * 4 / 1e9
    side = config.data.image_size
    return table, {
        "packed": sum(rows.values()) * (3 * side * side + ROW_BYTES) / 1e9,
        "results": (clean + each * len(own) - seeds + bases) * weights,
        "checkpoints": 3 * weights,  # weights and AdamW's two moments, of the job that runs
        "memory": 4 * weights,
    }


def report(config: Config, rates: Mapping[str, Any]) -> str:
    """Return the plan as text."""
    table, disk = plan(config, rates)
    forms = {"rows": "{:,}".format, "hours": "{:.3f}".format, "total_hours": "{:.3f}".format}
    sources = getattr(config.dataset, "sources", {})
    hub = [source.hub for source in sources.values() if source.hub]
    return f"""{table.to_string(index=False, formatters=forms)}

One after another: {table["total_hours"].sum():.2f} hours, at the rates of \
{rates.get("machine", "an unnamed machine")}.
Disk: packed {disk["packed"]:.1f} GB, models {disk["results"]:.1f} GB, checkpoint of a running job \
{disk["checkpoints"]:.1f} GB{"".join(f", and the files of {name}" for name in hub)}.
Memory of a training job: {disk["memory"]:.1f} GB for weights, gradients and optimiser, and the \
activations of a batch. Packed pixels are memory-mapped."""
