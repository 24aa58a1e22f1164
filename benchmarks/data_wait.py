"""Measure which share of a training run waits for data.

A CPU trains the default's small model, whose short steps hide the least of the wait.
"""

import json
import tempfile
import time
from pathlib import Path

from benchmarks.common import Row, cores, device, row
from benchmarks.reading import packed
from benchmarks.reference import PLAINEST
from taclean.clip.models import create
from taclean.config.schema import Train
from taclean.data.split import Pairs
from taclean.defenses import make_defense
from taclean.training.loop import Training, train

GPU = device().type == "cuda"
MODEL, SIZE, ROWS, BATCH = ("RN50-quickgelu", 224, 6400, 64) if GPU else ("emoji-rn", 64, 6400, 128)


def run(pairs: Pairs, folder: Path, name: str = MODEL) -> float:
    """Train for an epoch on `pairs` and return the seconds."""
    settings = Train(lr=1e-4, epochs=1, batch=BATCH, warmup=0, threads=cores())
    model, objective = create(name), make_defense(PLAINEST)
    started = time.perf_counter()
    training = Training(model, pairs, objective, settings, seed=0, device=device().type)
    train(training, folder=folder, config={})
    return time.perf_counter() - started


def waited(folder: Path) -> float | None:
    """Read from a run's log which share of its last epoch waited; None if the log has none."""
    lines = (folder / "train.jsonl").read_text("utf-8").splitlines()
    found = [json.loads(line).get("data_wait") for line in lines]
    return next((value for value in reversed(found) if value is not None), None)


def main() -> list[Row]:
    """Train for an epoch and read its share of waiting."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(packed(folder / "packed", ROWS, SIZE), folder / "run")
        share = waited(folder / "run")
    if share is None:
        print("data_wait: the training log has no data_wait; skipped")
        return []
    what = f"share of training that waits for data, {PLAINEST} {MODEL} {SIZE} px batch {BATCH}"
    return [row(what, share * 100, None, "%", share)]
