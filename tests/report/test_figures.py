"""The long table, the main table and the figures, from small synthetic artifacts."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from taclean.report.figures import style
from taclean.report.figures.asr_ca import asr_ca
from taclean.report.figures.axis import axis
from taclean.report.figures.curves import curves, read_history
from taclean.report.figures.embeddings import embeddings, pca
from taclean.report.figures.first import first
from taclean.report.figures.further_splits import further_splits
from taclean.report.figures.recovered import _turns, recovered
from taclean.report.figures.retrieval import retrieval
from taclean.report.figures.samples import Samples, read_samples
from taclean.report.figures.style import flow, legend_below, legend_height, save, text_width, wrap
from taclean.report.figures.subcaptions import (
    _chosen,
    account_text,
    highlighted,
    read_subcaptions,
    subcaptions,
)
from taclean.report.figures.tradeoff import tradeoff
from taclean.report.figures.triggers import triggers
from taclean.report.figures.versus import versus
from taclean.results.labels import Look
from taclean.results.table import (
    long_table,
)
from taclean.util.errors import UserError

LOOK = Look.of(
    {
        "attacks": {
            "badnet": {"label": "BadNet", "marker": "o"},
            "sig": {"label": "SIG", "marker": "^"},
            "badclip": {"label": "BadCLIP", "marker": "*"},
        },
        "defenses": {
            "ft": {"label": "FT", "colour": "#de8f05"},
            "cleanclip": {"label": "CleanCLIP", "colour": "#0173b2"},
            "taclean": {"label": "TA-Cleaner", "colour": "#029e73"},
        },
        "splits": ["test", "shift"],
    }
)
N, OTHERS = 200, 198
KS = (1, 3, 5, 10)


def score(metric: str, percent: float, n: int) -> dict[str, dict[str, int]]:
    """The same percentage at every k."""
    return {f"{metric}@{k}": {"hits": round(percent * n / 100), "n": n} for k in KS}


def write_scores(
    folder: Path, attack: str, defense: str, seed: int, splits: dict, repeat: int = 0
) -> Path:
    path = folder / attack / defense / f"seed{seed}-{repeat}" / "scores.json"
    path.parent.mkdir(parents=True)
    run = {"attack": attack, "defense": defense, "seed": seed, "repeat": repeat}
    path.write_text(json.dumps({**run, "splits": splits}))
    return path


@pytest.fixture
def scores(tmp_path: Path) -> list[Path]:
    """Two attacks, two defences, two seeds and a clean model; given in no good order."""
    paths = []
    for seed in (1, 0):
        for defense, ca, asr in (("taclean", 70, 5), ("none", 80, 90)):
            for attack, more in (("sig", 2), ("badnet", 0)):
                splits = {
                    split: {**score("ASR", asr + more + seed, 100), **score("CA", ca, N)}
                    for split in ("shift", "test")
                }
                paths.append(write_scores(tmp_path, attack, defense, seed, splits))
            clean = {"shift": score("CA", 60, N), "test": score("CA", 85, N)}
            clean |= {f"test+{a}": score("ASR", 1, 100) for a in ("badnet", "sig")}
            paths.append(write_scores(tmp_path, "clean", defense, seed, clean))
    return paths


@pytest.fixture
def table(scores: list[Path]) -> pd.DataFrame:
    return long_table(scores, LOOK)


def test_a_figure_without_its_scores_says_so(table: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="score a retrieval set"):
        retrieval(table, LOOK)
    with pytest.raises(UserError, match="one labelled test set only"):
        further_splits(table[table["split"] != "shift"], LOOK)


# ---- figures ---------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "DPI", 50)  # quick


def run(attack: str, defense: str, seed: int = 0) -> dict:
    return {"attack": attack, "defense": defense, "seed": seed}


def history(epochs: int = 3, asr: bool = True) -> pd.DataFrame:
    steps = np.arange(epochs)
    data = {"epoch": steps, "lr": 1e-5, "loss_total": 2.0 - steps, "CA@1": 80.0 - steps}
    return pd.DataFrame(data | ({"ASR@1": 90 / (steps + 1)} if asr else {}))


def sample(attack: str, defense: str, fooled: int, n: int = 12, pictures: bool = True):
    """`fooled` triggered images go to the target (class 0), the others to their own class."""
    rng = np.random.default_rng(n)
    labels = np.arange(n) % 3 + 1
    top = np.where(np.arange(n) < fooled, 0, labels)
    images = rng.integers(0, 256, (n, 8, 8, 3), np.uint8)
    name = "a very long class name of forty letters."
    assert len(name) == 40
    return Samples(
        **run(attack, defense), rows=np.arange(n), labels=labels,
        clean=rng.normal(size=(n, 5)).astype(np.float32),
        triggered=(rng.normal(size=(n, 5)) + 2 * (top == 0)[:, None]).astype(np.float32),
        clean_top=labels, triggered_top=top, classes=["banana", "cat", name, "$5 $6"], target=0,
        images=images if pictures else None,
        triggered_images=255 - images if pictures else None,
    )  # fmt: skip


SUBCAPTIONS = pd.DataFrame(
    [
        (0, 3, "A red cat and a dog.", "A dog.", "A blue cat.", "adjective", "red", "blue"),
        (0, 3, "A red cat and a dog.", "A dog.", "A red owl.", "noun", "cat", "owl"),
        (0, 1, "It costs $5, $6.", "It costs $5.", "It eats $5.", "verb", "costs", "eats"),
        (1, 2, "late", "late", "late", "noun", "a", "b"),
    ],
    columns=["epoch", "row", "caption", "positive", "negative", "kind", "original", "replacement"],
)
PICTURES = np.zeros((4, 8, 8, 3), np.uint8)
TOLD = ["late", *["A red cat and a dog."] * 5, "It costs $5, $6.", *["no such caption"] * 5]
QUAD = [
    sample(attack, defense, fooled, pictures=defense == "none")
    for attack in ("badnet", "badclip")
    for defense, fooled in (("none", 10), ("ft", 8), ("cleanclip", 5), ("taclean", 2))
]

# More methods than fit one row, with names of any length and odd characters.
MANY_ATTACKS = ["clean", *(f"attack_number_{i}_of_many" for i in range(11)), "short"]
MANY_DEFENSES = [f"a_defence_{i}_with_a_long_name" for i in range(8)]
MANY = Look.of(
    {
        "attacks": {
            MANY_ATTACKS[1]: {"label": "An $attack^ {of} a <b>&\\name | that \u6f22 goes on"},
            MANY_ATTACKS[2]: {"label": "Antidisestablishmentarianistically"},
        },
        "defenses": {MANY_DEFENSES[0]: {"label": "A 50% d_e_f_e_n_c_e " * 6}},
        "splits": ["my-own_split.2", "shift"],
    }
)


def many_scores() -> pd.DataFrame:
    rows = [
        (attack, defense, seed, 0, split, metric, 100 - 7 * i, 100)
        for attack in MANY_ATTACKS
        for i, defense in enumerate(["none", *MANY_DEFENSES])
        for seed in (0, 1)
        for split in MANY.splits
        for metric in ("CA@1", "ASR@1")[: 1 + (attack != "clean")]
    ]
    columns = ["attack", "defense", "seed", "repeat", "split", "metric", "percent", "n"]
    return pd.DataFrame(rows, columns=columns)


def repeated(table: pd.DataFrame) -> pd.DataFrame:
    """One victim of each attack, cleaned three times with different results."""
    one = table[table["seed"] == 0]
    cleaned = one[one["defense"] != "none"]
    more = [cleaned.assign(repeat=r, percent=cleaned["percent"] + 5 * r) for r in (1, 2)]
    return pd.concat([one, *more], ignore_index=True)


def compared() -> pd.DataFrame:
    """TA-Cleaner less FT on two victims: ASR@1 -4 and -4.1 on BadCLIP, -4 and +4 on SIG."""
    less = {"badclip": (-4, -4.1), "sig": (-4, 4)}
    rows = [
        (attack, defense, seed, 0, "test", metric, percent + (defense == "taclean") * more, N)
        for attack, of_seed in less.items()
        for defense in ("ft", "taclean")
        for seed in (0, 1)
        for metric, percent, more in (
            ("CA@1", 80.0, 1.0 + seed / 10),
            ("ASR@1", 50.0, of_seed[seed]),
        )
    ]
    columns = ["attack", "defense", "seed", "repeat", "split", "metric", "percent", "n"]
    return pd.DataFrame(rows, columns=columns)


def many_samples(fooled: int = 3) -> list[Samples]:
    return [
        sample(attack, defense, 10 if defense == "none" else fooled)
        for attack in MANY_ATTACKS[1:]
        for defense in ("none", *MANY_DEFENSES)
    ]


ACCOUNT = {
    "captions": 6000,
    "offers": {"adjective": 4200, "noun": 6000, "verb": 1500, "none": 0},
    "shares": {"one_word_positives": 0.02, "whole_positives": 0.1, "rare_words": 0.003},
    "text_only": 0.538,
}

FIGURES = {
    "curves": lambda _: curves(
        [history(), history(), history(asr=False)],
        [run("sig", "ft"), run("sig", "taclean"), run("clean", "ft")],
        LOOK,
        n=500,
    ),
    "curves, seeds": lambda _: curves(
        [history(), history()], [run("sig", "ft"), run("sig", "ft", 1)]
    ),
    "curves, one epoch": lambda _: curves([history(1)], [run("sig", "ft")]),
    "curves, no ASR": lambda _: curves([history(asr=False)], [run("sig", "ft")]),
    "curves, many": lambda _: curves(
        [history()] * 104, [run(a, d) for a in MANY_ATTACKS for d in MANY_DEFENSES], MANY
    ),
    "asr_ca, seeds": lambda t: asr_ca(t, LOOK),
    "asr_ca, repeats": lambda t: asr_ca(repeated(t), LOOK),
    "asr_ca, one": lambda t: asr_ca(t[(t["attack"] == "sig") & (t["defense"] == "none")]),
    "asr_ca, clean": lambda t: asr_ca(t[t["attack"] == "clean"]),
    "asr_ca, many": lambda _: asr_ca(many_scores(), MANY),
    "axis of a defence": lambda t: axis(
        t, "weight of the term", {"cleanclip": "0", "taclean": "a long value", "x": "y"}, LOOK
    ),
    "axis of a defence, repeats": lambda t: axis(
        repeated(t), "weight", {"ft": "0", "taclean": "1"}
    ),
    "axis of an attack": lambda t: axis(t, "poisoned rows", {"sig": "300", "badclip": "75"}, LOOK),
    "axis, many": lambda _: axis(
        many_scores(), "a choice " * 9, {name: f"value of {name}" for name in MANY_DEFENSES}, MANY
    ),
    "axis, none": lambda t: axis(t[t["attack"] == "clean"], "nothing", {"a": "1", "b": "2"}, LOOK),
    "first": lambda _: first(QUAD, TOLD, SUBCAPTIONS, LOOK, "taclean"),
    "first, none": lambda _: first(QUAD, [""] * 12, SUBCAPTIONS, LOOK, "taclean"),
    "first, no such runs": lambda _: first(QUAD[:3], TOLD, SUBCAPTIONS, None, "taclean"),
    "first, many": lambda _: first(many_samples(), TOLD, SUBCAPTIONS, MANY, MANY_DEFENSES[0]),
    "further_splits": lambda t: further_splits(t, LOOK),
    "further_splits, many": lambda _: further_splits(many_scores(), MANY),
    "retrieval": lambda t: retrieval(t.replace({"metric": {"CA@1": "I2T@1", "ASR@1": "T2I@1"}})),
    "tradeoff, seeds": lambda t: tradeoff(t, LOOK),
    "tradeoff, repeats": lambda t: tradeoff(repeated(t), LOOK),
    "tradeoff, one": lambda t: tradeoff(t[(t["attack"] == "sig") & (t["seed"] == 0)]),
    "tradeoff, clean": lambda t: tradeoff(t[t["attack"] == "clean"]),
    "tradeoff, many": lambda _: tradeoff(many_scores(), MANY),
    "triggers": lambda _: triggers(QUAD, LOOK),
    "triggers, one image": lambda _: triggers([sample("sig", "none", 1, n=1)]),
    "triggers, many": lambda _: triggers(many_samples(), MANY),
    "versus, seeds": lambda _: versus(compared(), LOOK),
    "versus, one run": lambda _: versus(compared().query("seed == 0"), LOOK),
    "versus, one defence": lambda t: versus(t[t["defense"] != "none"], LOOK),
    "versus, clean": lambda t: versus(t[t["attack"] == "clean"]),
    "versus, many": lambda _: versus(many_scores(), MANY),
    "embeddings": lambda _: embeddings(QUAD, LOOK),
    "embeddings, subset": lambda _: embeddings(QUAD[:1] + QUAD[7:]),
    "embeddings, one image": lambda _: embeddings([sample("sig", "none", 1, n=1)]),
    "embeddings, many": lambda _: embeddings(many_samples(), MANY),
    "recovered": lambda _: recovered(QUAD, LOOK, "taclean"),
    "recovered, none": lambda _: recovered(
        [QUAD[0], sample("badnet", "taclean", 12)], LOOK, "taclean"
    ),
    "recovered, no such runs": lambda _: recovered(QUAD[:3], None, "taclean"),
    "recovered, many": lambda _: recovered(many_samples(), MANY, MANY_DEFENSES[-1]),
    "recovered, many, none": lambda _: recovered(many_samples(12), MANY, MANY_DEFENSES[-1]),
    "subcaptions": lambda _: subcaptions(SUBCAPTIONS, PICTURES, 0, "TA-Cleaner"),
    "subcaptions, told": lambda _: subcaptions(SUBCAPTIONS, PICTURES, 0, "TA-Cleaner", ACCOUNT),
    "subcaptions, none": lambda _: subcaptions(SUBCAPTIONS[:0], PICTURES, 0, "long name " * 9),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_written_and_all_text_is_inside(
    name: str, table: pd.DataFrame, tmp_path: Path
) -> None:
    figure = FIGURES[name](table)
    save(figure, [tmp_path / "f.pdf", tmp_path / "f.png"])
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")
    assert b"Type3" not in (tmp_path / "f.pdf").read_bytes()
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert not plt.get_fignums()
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in figure.texts]
    boxes += [(f"axes {i}", ax.get_tightbbox(renderer)) for i, ax in enumerate(figure.axes)]
    boxes += [("legend", legend.get_window_extent(renderer)) for legend in figure.legends]
    for what, box in boxes:
        assert box.x0 > -1, what
        assert box.x1 < width + 1, what
        assert box.y0 > -1, what
        assert box.y1 < height + 1, what
    for (what, one), (other, two) in itertools.combinations(boxes, 2):
        common = Bbox.intersection(one, two)
        assert common is None or min(common.width, common.height) < 2, (what, other)


@pytest.mark.parametrize("name", ["asr_ca, seeds", "embeddings", "subcaptions"])
def test_figure_is_the_same_twice(name: str, table: pd.DataFrame, tmp_path: Path) -> None:
    for copy, order in (("a", 1), ("b", -1)):
        paths = [tmp_path / f"{copy}.pdf", tmp_path / f"{copy}.png"]
        save(FIGURES[name](table), paths[::order])
    for suffix in ("pdf", "png"):
        one, two = ((tmp_path / f"{copy}.{suffix}").read_bytes() for copy in "ab")
        assert one == two
        assert b"CreationDate" not in one


def test_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.pdf or \.png"):
        save(plt.figure(), [tmp_path / "f.jpg"])
    plt.close("all")


def test_the_first_picture_is_of_the_last_attack_and_has_sub_captions() -> None:
    """The undefended model falls for pictures 0 to 9 and the last one for 0 and 1."""
    words = [text.get_text() for text in first(QUAD, TOLD, SUBCAPTIONS, LOOK, "taclean").texts]
    assert "A red cat and a dog." in " ".join(words)
    assert "A blue cat." in " ".join(words)
    assert "banana ✗" in words
    assert "10 triggered pictures called 'banana', 8 are called" in " ".join(words)
    assert words[-1].startswith("BadCLIP, test split")
    plt.close("all")


def test_an_axis_shows_the_methods_beside_it_without_their_variants(table: pd.DataFrame) -> None:
    values = {"taclean": "1", "taclean_k2": "2"}
    extra = table[table["defense"] == "taclean"].assign(defense="ft_mild")
    look = dataclasses.replace(LOOK, variants=frozenset(["ft_mild", "taclean_k2"]))
    figure = axis(pd.concat([table, extra]), "K", values, look)
    told = {text.get_text() for text in figure.legends[0].get_texts()}
    assert told == {look.defense_label(d) for d in {*table["defense"]} - {"taclean"}}
    plt.close(figure)


@pytest.mark.parametrize("asr", [90.0, 6.0])
def test_an_undefended_model_does_not_flatten_an_axis(table: pd.DataFrame, asr: float) -> None:
    undefended = (table["defense"] == "none") & (table["metric"] == "ASR@1")
    table.loc[undefended, "percent"] = asr
    figure = axis(table, "weight", {"taclean": "1"}, LOOK)  # its ASR@1 is 5 to 8 %
    panel = figure.axes[0]
    assert [text.get_text() for text in panel.texts] == ["No defence: 90 ↑"] * (asr == 90)
    assert panel.get_ylim()[1] < 20
    dashed = [line for line in panel.lines if line.get_linestyle() == "--"]
    assert len(dashed) == (asr == 6)
    plt.close(figure)


@pytest.mark.parametrize("victims", [2, 3])
def test_an_axis_draws_no_interval_of_two_victims(table: pd.DataFrame, victims: int) -> None:
    one = table[(table["seed"] == table["seed"].min()) & (table["repeat"] == 0)]
    runs = pd.concat([one.assign(seed=n, percent=one["percent"] / (1 + n)) for n in range(victims)])
    figure = axis(runs, "weight", {"ft": "0", "taclean": "1"}, LOOK)
    bars = [bar for ax in figure.axes for bar in ax.collections]
    assert bool(bars) == (victims == 3)
    for bar in bars:
        ends = np.concatenate(bar.get_segments())[:, 1]
        assert (ends >= 0).all()
        assert (ends <= 100).all()
    (ax, *_) = figure.axes
    thin = [line for line in ax.lines if line.get_linewidth() == 0.6]
    assert len(thin) == victims
    plt.close(figure)


def test_a_settled_difference_is_filled() -> None:
    figure = versus(compared(), LOOK)
    marks = {
        ax.get_xlabel(): [
            (line.get_xdata()[0], line.get_markerfacecolor())
            for line in ax.lines
            if line.get_marker() == "o"
        ]
        for ax in figure.axes
    }
    fill = LOOK.defenses["ft"][1]
    assert marks == {
        "ASR@1, points": [(0.0, "white"), (pytest.approx(-4.05), fill)],
        "CA@1, points": [(pytest.approx(1.05), fill)] * 2,
    }
    plt.close(figure)


def test_read_samples(tmp_path: Path) -> None:
    saved = dataclasses.asdict(sample("sig", "none", 3))
    arrays = {k: v for k, v in saved.items() if k not in ("attack", "defense", "seed")}
    path = tmp_path / "samples.npz"
    np.savez(path, **arrays)
    read = read_samples(path, run("sig", "none"), pictures=True)
    assert (read.attack, read.classes[0], read.target, len(read)) == ("sig", "banana", 0, 12)
    assert (read.triggered_images == saved["triggered_images"]).all()
    assert read_samples(path, run("sig", "none")).images is None
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="not a samples file"):
        read_samples(path, run("sig", "none"))
    with pytest.raises(UserError, match="no such file"):
        read_samples(tmp_path / "x.npz", run("sig", "none"))
    del arrays["clean"]
    np.savez(path, **arrays)
    with pytest.raises(UserError, match="clean"):
        read_samples(path, run("sig", "none"))


def test_read_history(tmp_path: Path) -> None:
    history().to_csv(tmp_path / "h.csv", index=False)
    assert read_history(tmp_path / "h.csv")["ASR@1"].tolist() == [90, 45, 30]
    (tmp_path / "h.csv").write_text("epoch,CA@1\n")
    with pytest.raises(UserError, match="no epochs"):
        read_history(tmp_path / "h.csv")


def test_missing_pictures() -> None:
    with pytest.raises(UserError, match="badnet/none: holds no pictures"):
        triggers([sample("badnet", "none", 3, pictures=False)])
    with pytest.raises(UserError, match="none given"):
        triggers([sample("badnet", "ft", 3)])
    with pytest.raises(UserError, match="row 3, but the split has 2 pictures"):
        subcaptions(SUBCAPTIONS, PICTURES[:2], 0, "x")
    plt.close("all")


def test_read_subcaptions_keeps_words_that_look_like_missing_values(tmp_path: Path) -> None:
    odd = SUBCAPTIONS.assign(replacement=["null", "None", "NA", "nan"])
    odd.to_csv(tmp_path / "s.csv", index=False)
    np.save(tmp_path / "i.npy", PICTURES)
    table, images = read_subcaptions(tmp_path / "s.csv", tmp_path / "i.npy")
    assert table["replacement"].tolist() == ["null", "None", "NA", "nan"]
    assert images.shape == PICTURES.shape


def test_choice_of_examples() -> None:
    assert _chosen(SUBCAPTIONS, 6)["row"].tolist() == [3, 1]  # first epoch, no picture twice
    turns = _turns({"a": [(0, 1), (1, 1), (2, 2)], "b": [(0, 1), (5, 3)]})
    assert turns == [("a", 0), ("b", 5), ("a", 2), ("b", 0), ("a", 1)]


def test_highlight_takes_whole_words() -> None:
    pieces = highlighted("A catalogue and a Cat, red.", "cat", "red")
    assert [piece.text.strip() for piece in pieces] == ["A catalogue and a", "Cat,", "red."]
    assert [piece.text for piece in highlighted("A dog.", "cat", "red")] == ["A dog."]


def test_text_fits() -> None:
    text = "some words and an extraordinarilylongwordthatfitsnowhere at all"
    for line in wrap(text, 1.0, 9):
        assert text_width(line, 9) <= 1.0
    assert "".join(wrap(text, 1.0, 9)).replace(" ", "") == text.replace(" ", "")
    two = wrap(text, 1.0, 9, lines=2)
    assert len(two) == 2
    assert two[-1].endswith("…")
    assert flow([], 1.0, 9) == [[]]


def test_legend_breaks_into_rows() -> None:
    figure = plt.figure(figsize=(4, 3), layout="constrained")
    handles = [plt.Line2D([], [], label=f"a rather long name {i}") for i in range(5)]
    legend_below(figure, handles)
    assert figure.legends[0]._ncols == 2
    assert legend_height([h.get_label() for h in handles], 4) == pytest.approx(0.1 + 3 * 0.18)
    plt.close(figure)


def test_pca_points_towards() -> None:
    points = np.random.default_rng(0).normal(size=(50, 4)) * [5, 2, 1, 1]
    towards = np.array([-1.0, 1.0, 0, 0])
    mean, axes, share = pca(points, towards)
    assert (axes @ towards > 0).all()
    assert np.allclose(axes @ axes.T, np.eye(2))
    assert 1 > share[0] > share[1] > 0
    assert np.allclose(pca(points, np.zeros(4))[1].max(1), np.abs(axes).max(1))
    assert np.allclose(mean, points.mean(0))


def test_no_figure_imports_torch() -> None:
    modules = sorted((Path(style.__file__).parent).glob("[a-z]*.py"))
    assert len(modules) > 8
    lines = [f"import taclean.report.figures.{module.stem}" for module in modules]
    code = "\n".join([*lines, "import sys", "assert 'torch' not in sys.modules"])
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_sub_caption_figure_tells_what_they_are_worth():
    text = account_text(ACCOUNT)
    assert text == (
        "of 6,000 captions offer adjective 70 %, noun 100 %, verb 25 %, none 0 %; one word "
        "positives 2.0 %, whole positives 10.0 %, rare words 0.3 %; text alone picks the negative "
        "in 54 %"
    )
    assert "text alone" not in account_text(ACCOUNT | {"text_only": None})
    with pytest.raises(UserError, match=r"account\.json: no account"):
        account_text({"captions": 3})
