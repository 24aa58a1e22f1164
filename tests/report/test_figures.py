"""Figures from small synthetic results: no text is cut or covered, and files are the same twice."""

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
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from taclean import config as configs
from taclean.data.labels import class_names
from taclean.report.figures import style
from taclean.report.figures.axes import axes
from taclean.report.figures.bars import asr_ca, further_splits, retrieval
from taclean.report.figures.curves import curves, trajectory
from taclean.report.figures.gallery import in_turn, recovered, subcaptions
from taclean.report.figures.samples import embeddings, first, triggers
from taclean.report.figures.tradeoff import rates, tradeoff, tuning
from taclean.report.figures.versus import versus
from taclean.report.inputs import Samples, Texts, read_inputs, run_of
from taclean.results.histories import GRID
from taclean.results.labels import Look, look_of
from taclean.results.statistics import summary
from taclean.results.table import COLUMNS, pick
from taclean.results.templates import bold
from tests.helpers import refused

IMAGENET = class_names("imagenet", "")
LONG = sorted(IMAGENET, key=len)[-5:]  # 'black-and-tan coonhound' and its like
EVIDENCE, PAPER, DEFAULT = (
    Look.of(look_of(configs.load(configs.DEFAULT, *files)))
    for files in (["config/evidence.yaml"], ["config/paper.yaml"], [])
)
LOOKS = {"evidence": EVIDENCE, "paper": PAPER}
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


RATES = {f"{name}_rate{n}": (name, 10.0**n) for name in ("ft", TESTED) for n in (1, 2)}


def at_rates(look: Look) -> pd.DataFrame:
    """The scores of each defence at two rates, of which the second removes more."""
    table = scores(look, 2)
    parts = [table[table["defense"] == "none"]]
    for entry, (name, rate) in RATES.items():
        own = table[table["defense"] == name].assign(defense=entry)
        own["percent"] = own["percent"] * (1 - rate / 300)
        parts.append(own)
    return pd.concat(parts)


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
    "trajectory": lambda look: trajectory(
        histories(look).assign(step=lambda t: t["epoch"] * 100), look
    ),
    "rates": lambda look: rates(at_rates(look), RATES, [1, 3, 5], look),
    "embeddings": lambda look: embeddings(samples(look), look),
    "triggers": lambda look: triggers(samples(look), look),
    "first": lambda look: first(samples(look), TOLD, TEXTS, look),
    "first, without a picture": lambda look: first(samples(look), [""] * 12, TEXTS, look),
    "axis of a defence": lambda look: axes(
        scores(look, 3), "weight of the term", {"cleanclip": "0", TESTED: "20,000 at 1"}, look
    ),
    "axis of an attack": lambda look: axes(
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
    width = figure.bbox.width
    boxes = [
        (text.get_text(), text.get_window_extent(renderer))
        for text in texts_of(figure)
        if text.get_visible() and text.get_text().strip()
    ]
    legends = [*figure.legends, *(ax.legend_ for ax in figure.axes if ax.legend_)]
    boxes += [("legend", legend.get_window_extent(renderer)) for legend in legends]
    for what, box in boxes:  # the picture grows upwards and downwards, but not in width
        assert -0.03 * width < box.x0 < box.x1 < 1.03 * width, what
    if name == "tuning":  # trials of nearly the same scores have nearly the same place
        return
    for (what, one), (other, two) in itertools.combinations(boxes, 2):
        common = Bbox.intersection(one, two)
        assert common is None or min(common.width, common.height) < 2, (what, other)


@pytest.mark.parametrize("name", ["asr_ca, seeds", "embeddings", "first"])
def test_files_are_the_same_twice(name: str, tmp_path: Path) -> None:
    for copy, order in (("a", 1), ("b", -1)):
        paths = [tmp_path / f"{copy}.pdf", tmp_path / f"{copy}.png"]
        style.save(FIGURES[name](DEFAULT), paths[::order])
    for suffix in ("pdf", "png"):
        one, two = ((tmp_path / f"{copy}.{suffix}").read_bytes() for copy in "ab")
        assert one == two
        assert b"CreationDate" not in one


@pytest.mark.parametrize(("seeds", "repeats"), [(3, 2), (1, 3), (2, 1)])
def test_bars_and_intervals_are_those_of_the_statistics(seeds: int, repeats: int) -> None:
    table = scores(DEFAULT, seeds, repeats)
    ax = asr_ca(table, DEFAULT).axes[1]  # CA@1
    attacks = [name for name in DEFAULT.attacks if name != "clean"]
    lines = iter(line for line in ax.lines if len(line.get_ydata()) == 2)
    for bars, defense in zip(ax.containers, DEFAULT.defenses, strict=True):
        for bar, attack in zip(bars, attacks, strict=True):
            runs = pick(table, split="test", metric="CA@1", attack=attack, defense=defense)
            (found,) = summary(runs).itertuples()
            assert bar.get_height() == pytest.approx(found.mean)
            ends = next(lines).get_ydata() if seeds == 3 else []
            own = (found.mean - found.half, found.mean + found.half)
            assert ends == pytest.approx(np.clip(own, 0, 100) if seeds == 3 else [])


def test_a_figure_without_its_scores_says_so() -> None:
    table = scores(DEFAULT)
    refused(lambda: retrieval(table, DEFAULT), "no split for I2T@1")
    refused(lambda: further_splits(pick(table, split="test"), DEFAULT), "no split for ASR@1")


def test_the_first_picture_is_of_the_last_attack_and_has_sub_captions() -> None:
    """The undefended model falls for pictures 0 to 9 and the last one for 0 and 1."""
    figure = first(samples(DEFAULT), TOLD, TEXTS, DEFAULT)
    words = [text.get_text() for text in figure.axes[2].texts]
    assert "A red cat and a dog." in words
    assert "A blue cat. (red → blue)" in words
    assert f"says {LONG[0]} ✗" in " ".join(words).replace("\n", " ")
    subtitle = figure.texts[1].get_text().replace("\n", " ")
    assert subtitle.startswith("BadCLIP, test split")
    assert f"10 triggered pictures called '{LONG[0]}', 8 are called" in subtitle


def test_an_axis_shows_the_methods_beside_it_without_their_variants() -> None:
    table = scores(DEFAULT, 2)
    extra = pick(table, defense=TESTED)
    table = pd.concat([table, *(extra.assign(defense=name) for name in ("ft_mild", "taclean_k2"))])
    look = dataclasses.replace(DEFAULT, variants=frozenset(["ft_mild", "taclean_k2"]))
    figure = axes(table, "K", {TESTED: "1", "taclean_k2": "2"}, look)
    shown = {text.get_text() for text in figure.legends[0].get_texts()}
    assert shown == {look.defense_label(d) for d in DEFAULT.defenses if d != TESTED}


@pytest.mark.parametrize("victims", [2, 3])
def test_an_axis_draws_no_interval_of_two_victims(victims: int) -> None:
    ax = axes(scores(DEFAULT, victims), "weight", {"ft": "0", TESTED: "1"}, DEFAULT).axes[0]
    assert bool(ax.collections) == (victims == 3)
    assert len([line for line in ax.lines if line.get_linewidth() == 0.6]) == victims


def test_a_settled_difference_is_filled() -> None:
    """TA-Cleaner minus FT on three seeds: about the same ASR@1 with BadCLIP, not with SIG."""
    less = {"badclip": (-4, -4.1, -4.05), "sig": (-4, 4, 0)}
    table = pd.concat(
        pd.DataFrame([(attack, defense, seed, 0, "test", "ASR@1", percent, 9)], columns=COLUMNS)
        for attack, seed in itertools.product(less, range(3))
        for defense, percent in (("ft", 50.0), (TESTED, 50 + less[attack][seed]))
    )
    ax = versus(table, dataclasses.replace(DEFAULT, splits=("test",))).axes[0]
    (marks,) = (
        part
        for part in ax.collections
        if len(part.get_offsets()) and hasattr(part, "get_sizes") and len(part.get_sizes())
    )
    by_place = dict(zip(np.round(marks.get_offsets()[:, 0], 2), marks.get_facecolor(), strict=True))
    assert by_place[0.0].tolist() == [1, 1, 1, 1]
    assert by_place[-4.05].tolist() != [1, 1, 1, 1]


# ---- galleries -----------------------------------------------------------------------------------


def test_recovered_pictures_take_turns_and_are_escaped() -> None:
    found = samples(DEFAULT)
    html = recovered(found, DEFAULT)
    assert html.count("<img") == 6  # one of each attack
    assert f"✗ {LONG[0]}" in html
    assert "BadCLIP 8 of 10" in html
    assert 'class="good">✓' in html
    one = {"badnet": dict.fromkeys(DEFAULT.defenses, found["badnet"]["none"])}
    assert "There is no picture" in recovered(one, DEFAULT)
    odd = found["badnet"]["none"]._replace(classes=np.array(["<b>", *LONG[1:]]))
    html = recovered({"badnet": found["badnet"] | {"none": odd}}, DEFAULT)
    assert "&lt;b&gt;" in html


def test_sub_captions_are_shown_with_their_pictures() -> None:
    html = subcaptions(TEXTS, np.zeros((4, 8, 8, 3), np.uint8), TESTED, DEFAULT)
    assert html.count("<img") == 3  # no picture twice, no later epoch
    assert 'A <b class="bad">blue</b> cat.' in html
    assert "eats</b> &lt;5." in html
    assert "late" not in html
    assert in_turn(LINES)["row"].tolist() == [3, 1, 2]  # the kinds in turn
    assert bold("A catalogue and a Cat, red.", "cat").count("<b") == 1
    assert "catalogue and a <b" in bold("A catalogue and a Cat, red.", "cat")
    assert bold("A dog.", "cat") == "A dog."


# ---- inputs --------------------------------------------------------------------------------------


def test_inputs_are_read_by_the_name_of_the_argument(tmp_path: Path) -> None:
    for defense in ("none", "ft"):
        folder = tmp_path / f"results/runs/sig/{defense}/seed3-repeat1"
        folder.mkdir(parents=True)
        arrays = samples(DEFAULT)["sig"][defense]._asdict()
        del arrays["seed"]
        np.savez(folder / "samples.npz", **arrays)
        (folder / "history.csv").write_text("epoch,CA@1,ASR@1\n0,80,90\n1,70,\n")
    runs = [tmp_path / f"results/runs/sig/{d}/seed3-repeat1" for d in ("none", "ft")]
    assert run_of(runs[1] / "x") == {"attack": "sig", "defense": "ft", "seed": 3, "repeat": 1}
    (tmp_path / "subcaptions.csv").write_text(LINES.to_csv(index=False))
    (tmp_path / "account.json").write_text(json.dumps(ACCOUNT))
    found: dict[str, Any] = read_inputs(
        {
            "samples": [str(run / "samples.npz") for run in runs],
            "histories": [str(run / "history.csv") for run in runs],
            "texts": str(tmp_path),
        }
    )
    assert list(found["samples"]["sig"]) == ["none", "ft"]
    assert found["samples"]["sig"]["ft"].seed == 3
    assert found["samples"]["sig"]["none"].fooled.sum() == 10
    assert found["histories"]["defense"].tolist() == ["none", "none", "ft", "ft"]
    assert "null" in found["texts"].table["positive"].tolist()  # a word, not a missing value


LOADED = """
import os, sys
from importlib import import_module
from taclean.report import code_of
for module in sys.argv[1:]:
    for name in [name for name in sys.modules if name.startswith("taclean.")]:
        del sys.modules[name]
    import_module(f"taclean.{module}")
    files = {m.__file__ for n, m in sys.modules.items() if n.startswith(OWN) and m.__file__}
    loaded = {file for file in files if not file.endswith("__init__.py")}
    found = {os.path.abspath(file) for file in code_of(module) if file.endswith(".py")}
    assert loaded == found, (module, loaded ^ found)
"""


def test_the_code_of_a_figure_is_every_module_of_the_report_that_it_loads() -> None:
    names = [path.stem for path in Path(style.__file__).parent.glob("[a-z]*.py")]
    modules = [f"report.figures.{name}" for name in names]
    code = LOADED.replace("OWN", '("taclean.report.", "taclean.results.")')
    command = [sys.executable, "-c", code, *modules, "report.page", "results.main_table"]
    subprocess.run(command, check=True)
