"""Shared fixtures: one thread, small packed splits of emoji scenes, and random models."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from torch import nn

from taclean.captions.artifacts import SubCaptionTexts, Variants
from taclean.captions.wordnet import Lexicon
from taclean.clip import models
from taclean.data.pack import pack_rows
from taclean.data.scenes import SceneReader
from taclean.data.split import Pairs
from taclean.util.errors import UserError
from tests.helpers import RESNET, TEXT

NAME = "emoji-rn"
ROWS = 40


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_line_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every UserError of a test, wherever it is raised, is one line."""

    def init(error: UserError, message: str) -> None:
        assert "\n" not in message, message
        Exception.__init__(error, message)

    monkeypatch.setattr(UserError, "__init__", init)


@pytest.fixture(scope="session")
def tokenize() -> Callable[..., np.ndarray]:
    """`models.tokenize` of the shared model."""
    return partial(models.tokenize, NAME)


@pytest.fixture(scope="session")
def lexicon() -> Lexicon:
    return Lexicon.load()


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
def small_val(tmp_path_factory: pytest.TempPathFactory, tokenize) -> Path:
    """Other scenes than those of the small split."""
    return pack_scenes(tmp_path_factory.mktemp("small") / "val", range(500, 564), 32, tokenize)


@pytest.fixture(scope="session")
def texts(tmp_path_factory, small_split: Path, tokenize) -> dict[str, Any]:
    """Text artifacts of the small split: variants, and sub-captions of 20 rows, for four epochs."""
    folder, captions = tmp_path_factory.mktemp("texts"), Pairs.open(small_split).captions()
    made = {"variants": Variants(), "subcaptions": SubCaptionTexts(samples=20)}
    for artifact in made.values():
        artifact.write(folder, captions, tokenize, epochs=4, seed=0)
    return {name: artifact.read(folder) for name, artifact in made.items()}


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
    path = tmp_path_factory.mktemp("configs") / "test-tiny.json"
    path.write_text(json.dumps({"embed_dim": 16, "vision_cfg": RESNET, "text_cfg": TEXT}))
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
