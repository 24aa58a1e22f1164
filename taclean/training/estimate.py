"""What a run will cost, before it starts: rows, disk, memory and time, from its config.

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

from taclean.clip.models import create, tokenize
from taclean.config import Config
from taclean.config.schema import ROLES, Train
from taclean.data.split import Pairs
from taclean.defenses import Defense, defense, make_defense
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
KEYS = ("pack", "train", "evaluate", "prompts")


def measure(config: Config) -> dict[str, Any]:
    """Measure rates on this machine, per second, with the batch of the config's fine-tuning.

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
    settings, pull = Train(lr=1e-9, epochs=1, batch=batch, warmup=0, **own), {}
    for key in ("pretrain", *config.run.defenses):
        objective = _objective(config, key, tokens)
        training = Training(create(name), pairs, objective, settings, seed=0, device=device)
        training.step()  # warms up
        pull[key] = batch * STEPS / _seconds(training.step, STEPS)
        training.feed.close()
    model = create(name).eval().to(device)
    prompts = prompt_tokens(name, ["tree", "house"], [f"{CAPTION} with a {{}}."] * 32).to(device)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device)
    data = Labelled(images, torch.zeros(rows, dtype=torch.int64))
    classifier = head(model, prompts)
    triggers = {"same": lambda images, ids: images}

    def evaluate() -> None:
        scores(embed(model, data, triggers, 1), classifier)

    return {
        "machine": torch.cuda.get_device_name() if device == "cuda"
        else f"CPU, {torch.get_num_threads()} threads",
        "train": pull,
        "prompts": 64 / _seconds(lambda: head(model, prompts)),
        "evaluate": 2 * rows / _seconds(evaluate),
        "pack": _pack_rate(size),
    }  # fmt: skip


def _seconds(work: Callable[[], object], times: int = 1) -> float:
    """Time `times` calls, with what they leave a GPU to do."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    started = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return time.perf_counter() - started


def _objective(config: Config, key: str, tokens: np.ndarray) -> Defense:
    """Make a defence, or what pre-training minimises, with texts for an epoch of these tokens."""
    if key == "pretrain":
        return make_defense(None)
    entry = config.defenses[key]
    texts = {name: text.example(tokens) for name, text in defense(entry.kind).texts.items()}
    return make_defense(entry.kind, 0, texts, **entry.loss.given())


def _pack_rate(size: int) -> float:
    """Measure the rows that a core packs: JPEGs of CC3M's usual size (640 x 480)."""
    from PIL import Image

    from taclean.data.images import load_image

    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC).save(file, "JPEG")
    return 24 / _seconds(lambda: load_image(file.getvalue(), size), 24)


def check_rates(rates: Any, where: str) -> dict[str, Any]:
    """Check a file of rates.

    Raises:
        UserError: `taclean plan --measure` did not write it.
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
    import pandas as pd

    run, pull = config.run, rates["train"]
    rows = {name: split.rows or ALL for name, split in config.splits.items()}
    of = {role: rows[name] for role in ROLES if (name := config.split_of_role(role))}
    own = list(dict.fromkeys(map(config.trained_as, run.attacks)))
    seeds, cleaned = len(run.seeds), len(run.seeds) * run.repeats
    bases = seeds if config.base.per_seed else 1
    jobs = [(f"pack {name}", 1, count, rates["pack"]) for name, count in rows.items()]
    validations: list[tuple[int, int]] = []  # heads and images, before, between and after epochs

    def add(stage: str, key: str, clean: int, attacked: int, learned: int, epochs: int) -> None:
        jobs.append((stage, clean + attacked, learned * epochs, pull.get(key, pull["pretrain"])))
        times = epochs + 1
        validations.append(((clean + attacked) * times, (clean + 2 * attacked) * times * of["val"]))

    if not config.model.pretrained:
        add("base", "pretrain", bases, 0, of["pretrain"], config.base.train.epochs)
    for attack in own:
        entry = config.attacks[attack]
        if entry.fits:
            work = of["patch"] * entry.fit.epochs
            jobs.append((f"trigger {attack}", seeds, work, pull["pretrain"]))
        epochs = entry.settings(config.poison.train).epochs
        add(f"pretrain {attack}", "pretrain", 0, seeds, config.poison.rows, epochs)
    for name in run.defenses:
        cleaning, clean = config.defenses[name], cleaned * config.cleans_clean
        epochs = cleaning.settings(config.finetune.train).epochs
        learned = cleaning.rows or of["clean"]
        add(f"finetune {name}", name, clean, cleaned * len(own), learned, epochs)
    heads, validated = (sum(column) for column in zip(*validations, strict=True))
    # A model that was not attacked is scored with every trigger, an attacked one with its own.
    scored = sum(rows[name] for name in config.evaluate.splits)
    each = seeds + cleaned * len(run.defenses)
    clean = each if config.cleans_clean else seeds
    attacked = each * len(run.attacks)
    triggers = len(config.triggers_on_clean)
    prompts = len(config.class_names) * len(config.templates)
    jobs += [
        ("evaluate clean", clean, (1 + triggers) * scored, rates["evaluate"]),
        ("evaluate attacked", attacked, 2 * scored, rates["evaluate"]),
        ("validate", 1, validated, rates["evaluate"]),
        ("zero-shot head", clean + attacked + heads, prompts, rates["prompts"]),
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
