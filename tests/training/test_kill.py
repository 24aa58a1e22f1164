"""A training that is killed with SIGKILL at random moments ends with the bytes of a whole run."""

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from taclean import cli
from taclean import config as configs
from taclean.attacks import make_trigger, poison
from taclean.captions.artifacts import SubCaptionTexts, Variants
from taclean.data.split import Pairs
from taclean.stages import stage_config
from tests.helpers import ROOT

STAGES = {
    "base": "base",
    "pretrain": "pretrain/badnet/seed0",
    "ft": "finetune/badnet/ft/seed0",
    "cleanclip": "finetune/badnet/cleanclip/seed0",
    "taclean": "finetune/badnet/taclean/seed0",
}
KILLS = 3  # per stage
Arguments = list[str]


@pytest.fixture(scope="module")
def commands(
    tmp_path_factory, small_split, small_val, tokenize, tiny_name
) -> dict[str, Callable[[Path], Arguments]]:
    """Functions from an output folder to the arguments of a training, for every stage."""
    folder = tmp_path_factory.mktemp("stages")
    config = configs.load(ROOT / "config/config.yaml")
    pairs = Pairs.open(small_split)
    positions, captions = poison.Pool(pairs.captions(), "banana", ["a {}."], 0).poisoned(8)
    changes = [poison.Change(positions, captions, make_trigger("badnet", 0, size=42))]
    poison.write(folder / "poison", pairs, changes, tokenize, name="badnet", seed=0)
    for artifact in (Variants(), SubCaptionTexts(samples=20)):
        artifact.write(folder, pairs.captions(), tokenize, epochs=4, seed=0)
    variants, subcaptions = f"variants={folder}", f"subcaptions={folder}"
    more = {
        "pretrain": ["--poison", folder / "poison"],
        "cleanclip": ["--texts", variants],
        "taclean": ["--texts", variants, subcaptions],
    }

    def command(name: str, out: Path) -> Arguments:
        stage = stage_config(config, STAGES[name]) | {"model": tiny_name}
        stage["train"] = {
            "lr": 1e-3, "epochs": 4, "batch": 8, "warmup": 2, "checkpoint_seconds": 1e-3,
        }  # fmt: skip
        if "rows" in stage:
            stage["rows"] = len(pairs)
        (folder / f"{name}.json").write_text(json.dumps(stage), "utf-8")
        options = {
            "config": folder / f"{name}.json", "data": small_split, "val": small_val,
            "checkpoints": out / "checkpoints", "out": out / "model.safetensors",
            "history": out / "history.csv", "device": "cpu",
        }  # fmt: skip
        parts = [part for key, value in options.items() for part in (f"--{key}", value)]
        return ["train", *map(str, [*parts, *more.get(name, [])])]

    return {name: lambda out, name=name: command(name, out) for name in STAGES}


def events(out: Path) -> list[str]:
    log = out / "checkpoints/train.jsonl"
    lines = log.read_text("utf-8").splitlines() if log.exists() else []
    return [json.loads(line)["event"] for line in lines]


def result(out: Path) -> tuple[bytes, bytes]:
    return (out / "model.safetensors").read_bytes(), (out / "history.csv").read_bytes()


# A forked process does not have to import torch again, and SIGKILL ends it like any other.
@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_killed_at_random_moments(
    name: str, commands: dict[str, Callable[[Path], Arguments]], tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    started = time.monotonic()
    cli.main(commands[name](whole))
    length = time.monotonic() - started
    draw = random.Random(name)
    fork = multiprocessing.get_context("fork")
    killed = 0
    while killed < KILLS:
        before = len(events(broken))
        process = fork.Process(target=cli.main, args=(commands[name](broken),))
        process.start()
        while len(events(broken)) == before and process.is_alive():
            time.sleep(0.002)
        process.join(draw.uniform(0, length / KILLS / 2))
        assert process.is_alive(), "ended before it could be killed; train longer"
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        killed += 1
    assert not (broken / "model.safetensors").exists()
    cli.main(commands[name](broken))
    assert result(broken) == result(whole)
    kept = {path.name for path in (broken / "checkpoints").iterdir()}
    assert kept == {"holder", "lock", "train.jsonl"}
    assert events(broken).count("started") + events(broken).count("resumed") == KILLS + 1
