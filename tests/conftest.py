"""Shared fixtures: one thread, small packed splits of emoji scenes, and random models."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from torch import nn

from taclean.captions.artifacts import SubCaptionTexts, Variants
from taclean.clip import models
from taclean.data.pack import pack_rows
from taclean.data.scenes import SceneReader
from taclean.data.split import Pairs

ROOT = Path(__file__).parent.parent
NAME = "emoji-rn"
ROWS = 40


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenize() -> Callable[..., np.ndarray]:
    """`models.tokenize` of the shared model."""
    return partial(models.tokenize, NAME)


def pack_scenes(folder: Path, ids: range, size: int, tokenize: Callable[..., np.ndarray]) -> Path:
    reader = SceneReader(ids, 0, size, second=0.4)
    pack_rows(folder, reader, reader.table(), size=size, tokenize=tokenize)
    (folder / "classes.txt").unlink()  # so that a test can choose what the labels mean
    return folder


@pytest.fixture(scope="session")
def split(tmp_path_factory: pytest.TempPathFactory, tokenize) -> Path:
    """40 scenes of 64 px with ids 1000 to 1039 and labels 0 (banana) to 39."""
    ids = range(1000, 1000 + ROWS)
    return pack_scenes(tmp_path_factory.mktemp("split") / "val", ids, 64, tokenize)


@pytest.fixture
def pairs(split: Path) -> Pairs:
    return Pairs.open(split)


@pytest.fixture(scope="session")
def small_split(tmp_path_factory: pytest.TempPathFactory, tokenize) -> Path:
    """64 scenes of 32 px, for the tiny model."""
    return pack_scenes(tmp_path_factory.mktemp("small") / "clean", range(64), 32, tokenize)


@pytest.fixture(scope="session")
def make_texts(tmp_path_factory: pytest.TempPathFactory, small_split: Path, tokenize):
    """Return a function that makes text artifacts of the small split: variants and sub-captions."""

    def make(epochs: int, samples: int) -> dict[str, Any]:
        folder, captions = tmp_path_factory.mktemp("texts"), Pairs.open(small_split).captions()
        made = {"variants": Variants(), "subcaptions": SubCaptionTexts(samples=samples)}
        for artifact in made.values():
            artifact.write(folder, captions, tokenize, epochs=epochs, seed=0)
        return {name: artifact.read(folder) for name, artifact in made.items()}

    return make


@pytest.fixture(scope="session")
def run_snakemake() -> Callable[..., str]:
    """Return a function that runs the workflow in a folder and returns its log."""

    def run(directory: Path, *options: str, files: Sequence[Path | str]) -> str:
        command = ["snakemake", "--cores", "2", "--directory", str(directory), *options]
        result = subprocess.run(
            [*command, "--configfile", *map(str, files)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    return run


@pytest.fixture
def small_pairs(small_split: Path) -> Pairs:
    return Pairs.open(small_split)


@pytest.fixture(scope="session")
def random_model() -> nn.Module:
    """A random emoji-rn in evaluation mode. It is shared; tests must not change it."""
    return models.create(NAME, 0).eval()


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The open_clip config of `test-tiny`, a CLIP for 32 px with small checkpoints."""
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1}
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    path = tmp_path_factory.mktemp("configs") / "test-tiny.json"
    path.write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    return path


@pytest.fixture(scope="session")
def tiny_name(tiny_config: Path) -> str:
    """The name of the tiny model, after registering it for `models.create`."""
    open_clip.add_model_config(tiny_config)
    return "test-tiny"


@pytest.fixture
def tiny(tiny_name: str) -> nn.Module:
    """A new tiny model in training mode."""
    return models.create(tiny_name, 0).train()
