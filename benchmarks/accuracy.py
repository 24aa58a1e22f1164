"""Measure the seconds of training until the base model classifies 85 % of the val pictures.

The training has the default's settings and its whole schedule. The time of scoring val is left out,
because the number of scorings is not part of the training.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.common import Row, cores, row
from taclean import config as configs
from taclean.clip.models import create
from taclean.config.schema import Train
from taclean.data.split import Pairs
from taclean.defenses import make_defense
from taclean.evaluation.evaluate import score
from taclean.evaluation.zeroshot import Prompts
from taclean.stages import stage_config
from taclean.training.loop import Training

WANTED = 85.0  # CA@1 in percent
EVERY = 50  # steps between two scorings
# Changes to the default's training: what each part of its recipe gives.
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    ", AdamW": {"optimizer": "adamw"},
    ", AdamW at 1.5e-3": {"optimizer": "adamw", "lr": 1.5e-3},
    ", two threads": {"threads": 2},
}
ROOT = Path(__file__).parent.parent


def seconds_to(
    wanted: float, training: Training, val: Pairs, prompts: Prompts, every: int = EVERY
) -> float | None:
    """Train until CA@1 on `val` is `wanted` percent; return None if training ends before."""
    took, began = 0.0, time.perf_counter()
    while training.done < training.steps:
        training.step()
        if training.done % every and training.done < training.steps:
            continue
        took += time.perf_counter() - began
        found = score(val, prompts.heads(training.model), {})["clean"]["CA@1"]
        accuracy = 100 * found["hits"] / found["n"]
        print(
            f"  step {training.done} of {training.steps}, {took:.1f} s: {accuracy:.1f} %",
            flush=True,
        )
        if accuracy >= wanted:
            return took
        training.model.train()
        began = time.perf_counter()
    return None


def main() -> list[Row]:
    """Pack the default's splits where they are missing and train its base model."""
    config = configs.load(configs.DEFAULT)
    stage, name = stage_config(config, "base"), config.data.name
    folders = {r: f"data/{name}/{config.split_of_role(r)}" for r in ("pretrain", "val")}
    command = [sys.executable, "-m", "snakemake", "--quiet", "all", "--cores", str(cores())]
    subprocess.run([*command, *(f"{f}/images.npy" for f in folders.values())], check=True, cwd=ROOT)
    data, val = (Pairs.open(ROOT / folder) for folder in folders.values())
    settings, seed = Train.of(stage["train"], "train"), stage["seed"]
    prompts = Prompts(stage["model"], **stage["zeroshot"])
    rows = []
    for label, changes in VARIANTS.items():
        print(f"base model{label}")
        model, objective = create(stage["model"], seed), make_defense(None, seed, {})
        changed = settings.model_copy(update=changes)
        training = Training(model, data, objective, changed, seed=seed)
        took = seconds_to(WANTED, training, val, prompts)
        training.feed.close()
        if took is None:
            print(f"accuracy: the training ends below {WANTED:g} %; skipped")
            continue
        what = f"base model to CA@1 {WANTED:g} % on val, scoring left out{label}"
        rows.append(row(what, took, None, "s", None))
    return rows
