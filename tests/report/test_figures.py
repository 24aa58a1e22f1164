"""Figures from small synthetic results: no text is cut or covered, and files are the same twice."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from taclean import config as configs
from taclean.report.figures import style
from taclean.report.figures.asr_ca import asr_ca
from taclean.report.figures.axis import axis
from taclean.report.figures.curves import curves
from taclean.report.figures.embeddings import embeddings
from taclean.report.figures.first import first
from taclean.report.figures.further_splits import further_splits
from taclean.report.figures.recovered import recovered
from taclean.report.figures.retrieval import retrieval
from taclean.report.figures.subcaptions import account_text, examples, highlighted, subcaptions
from taclean.report.figures.tradeoff import tradeoff
from taclean.report.figures.triggers import triggers
from taclean.report.figures.tuning import tuning
from taclean.report.figures.versus import versus
from taclean.report.inputs import Samples, Texts, read_inputs, run_of
from taclean.results.labels import Look
from taclean.results.statistics import estimate
from taclean.results.table import COLUMNS, pick
from taclean.results.tuning import GRID
from taclean.util.errors import UserError

IMAGENET = configs.classes_of("imagenet")
LONG = sorted(IMAGENET, key=len)[-5:]  # 'black-and-tan coonhound' and its like
LOOKS = {
    name: Look.of(configs.look(configs.with_default([f"config/{name}.yaml"])))
    for name in ("evidence", "paper")
}
DEFAULT = Look.of(configs.look(configs.with_default([])))
TESTED = "taclean"


def scores(look: Look, seeds: int = 1, repeats: int = 1) -> pd.DataFrame:
    """Scores of all models of a look; the defences fall from 99 to 1 % of ASR@1."""
    rows = []
    for (a, attack), (d, defense), seed, repeat, split in itertools.product(
        enumerate(look.attacks), enumerate(look.defenses), range(seeds), range(repeats), look.splits
    ):
        share = 1 - d / len(look.defenses)
        run = (attack, defense, seed, repeat, split)
        rows.append((*run, "CA@1", 88 - 2 * seed - repeat - a, 3000))
        if attack == "clean":
            tried = [f"{split}+{other}" for other in look.attacks if other != "clean"]
            rows += [(*run[:-1], name, "ASR@1", 1.0 + seed, 2970) for name in tried]
        else:
            rows.append((*run, "ASR@1", max(0.2, 99 * share**4 - seed - repeat), 2970))
    return pd.DataFrame(rows, columns=COLUMNS)


def samples(look: Look, n: int = 12) -> dict[str, dict[str, Samples]]:
    """The undefended model takes 10 of 12 triggered pictures for the target, the last one 2."""
    rng, found = np.random.default_rng(n), {}
    labels, images = np.arange(n) % 3 + 1, rng.integers(0, 256, (n, 64, 64, 3), np.uint8)
    for attack in [name for name in look.attacks if name != "clean"]:
        found[attack] = {}
        for d, defense in enumerate(look.defenses):
            top = np.where(np.arange(n) < max(2, 10 - 3 * d), 0, labels)
            found[attack][defense] = Samples(
                rows=np.arange(n), labels=labels, clean=rng.normal(size=(n, 5)),
                triggered=rng.normal(size=(n, 5)) + 2 * (top == 0)[:, None], clean_top=labels,
                triggered_top=top, classes=np.array(LONG), target=0, images=images,
                triggered_images=255 - images,
            )  # fmt: skip
    return found


def histories(look: Look, seeds: int = 1) -> pd.DataFrame:
    cells = itertools.product(look.attacks, look.defenses, range(seeds), range(4))
    return pd.DataFrame(
        [
            (a, d, seed, 0, epoch, 80 - epoch, None if a == "clean" else 90 / (epoch + 1 + seed))
            for a, d, seed, epoch in cells
            if d != "none"
        ],
        columns=["attack", "defense", "seed", "repeat", "epoch", "CA@1", "ASR@1"],
    )


ACCOUNT = {
    "captions": 6000,
    "offers": {"adjective": 4200, "noun": 6000, "verb": 1500, "none": 0},
    "shares": {"one_word_positives": 0.02, "whole_positives": 0.1, "rare_words": 0.003},
    "text_only": 0.538,
}
LINES = pd.DataFrame(
    [
        (0, 3, "A red cat and a dog.", "A dog.", "A blue cat.", "adjective", "red", "blue"),
        (0, 3, "A red cat and a dog.", "A dog.", "A red owl.", "noun", "cat", "owl"),
        (0, 1, "It costs $5, $6.", "It costs $5.", "It eats <5.", "verb", "costs", "eats"),
        (0, 2, "A null thing.", "null", "A None thing.", "adjective", "null", "None"),
        (1, 2, "late", "late", "late", "noun", "a", "b"),
    ],
    columns=["epoch", "row", "caption", "positive", "negative", "kind", "original", "replacement"],
)
TEXTS = Texts(LINES, ACCOUNT)
TOLD = ["late", *["A red cat and a dog."] * 5, "It costs $5, $6.", *["no such caption"] * 5]


def trials(look: Look) -> pd.DataFrame:
    rows = [
        (defense, n, "{}", "badclip", 100, 88 - n, 40 / n**2 + 3 * d, 60.0, 90.0, 95.0)
        for d, defense in enumerate(look.defenses)
        for n in range(1, 5)
    ]
    return pd.DataFrame(rows, columns=GRID)


FIGURES = {
    "asr_ca": lambda look: asr_ca(scores(look), look),
    "asr_ca, seeds": lambda look: asr_ca(scores(look, 3, 2), look),
    "asr_ca, repeats": lambda look: asr_ca(scores(look, 1, 3), look),
    "further_splits": lambda look: further_splits(scores(look), look),
    "retrieval": lambda look: retrieval(
        scores(look).replace({"metric": {"CA@1": "I2T@1", "ASR@1": "T2I@1"}}), look
    ),
    "tradeoff": lambda look: tradeoff(scores(look), look),
    "tradeoff, seeds": lambda look: tradeoff(scores(look, 3), look),
    "versus": lambda look: versus(scores(look, 3), look),
    "versus, one run": lambda look: versus(scores(look), look),
    "curves": lambda look: curves(histories(look), look, 500),
    "curves, seeds": lambda look: curves(histories(look, 2), look),
    "embeddings": lambda look: embeddings(samples(look), look),
    "triggers": lambda look: triggers(samples(look), look),
    "first": lambda look: first(samples(look), TOLD, TEXTS, TESTED, look),
    "first, without a picture": lambda look: first(samples(look), [""] * 12, TEXTS, TESTED, look),
    "axis of a defence": lambda look: axis(
        scores(look, 3), "weight of the term", {"cleanclip": "0", TESTED: "20,000 at 1"}, look
    ),
    "axis of an attack": lambda look: axis(
        scores(look, 2), "poisoned rows", {"badclip": "any that name the target", "x": "75"}, look
    ),
    "tuning": lambda look: tuning(trials(look), 3, look),
}


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(style, "DPI", 100)  # quick
    yield
    plt.close("all")


def texts_of(figure: Figure) -> Iterator[Text]:
    """The texts that are drawn, but for those in legends."""
    yield from figure.texts
    for ax in figure.axes:
        yield from (*ax.texts, ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label)  # type: ignore[attr-defined]
        for which in (ax.xaxis, ax.yaxis):
            low, high = sorted(which.get_view_interval())
            for tick in which.get_major_ticks():
                if low <= tick.get_loc() <= high:
                    yield tick.label1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_cut_or_covered(name: str, look: str, tmp_path: Path) -> None:
    if name == "further_splits" and look == "paper":
        pytest.skip("one test split")
    figure = FIGURES[name](LOOKS[look])
    style.save(figure, [tmp_path / "f.pdf", tmp_path / "f.png"])
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")
    assert b"Type3" not in (tmp_path / "f.pdf").read_bytes()
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert not plt.get_fignums()
    figure.draw_without_rendering()
    renderer = FigureCanvasAgg(figure).get_renderer()
    width, height = figure.get_size_inches() * figure.dpi
    boxes = [
        (text.get_text(), text.get_window_extent(renderer))
        for text in texts_of(figure)
        if text.get_visible() and text.get_text().strip()
    ]
    legends = [*figure.legends, *(ax.legend_ for ax in figure.axes if ax.legend_)]
    boxes += [("legend", legend.get_window_extent(renderer)) for legend in legends]
    for what, box in boxes:
        assert box.x0 > -1, what
        assert box.x1 < width + 1, what
        assert box.y0 > -1, what
        assert box.y1 < height + 1, what
    if name == "tuning":  # trials of nearly the same scores have nearly the same place
        return
    for (what, one), (other, two) in itertools.combinations(boxes, 2):
        common = Bbox.intersection(one, two)
        assert common is None or min(common.width, common.height) < 2, (what, other)
