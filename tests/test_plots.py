"""The long table, the main table and the figures, from small synthetic artifacts."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from taclean import plots
from taclean.errors import UserError
from taclean.plots import style
from taclean.plots.examples import _chosen, _highlighted, _turns
from taclean.plots.samples import pca
from taclean.plots.style import flow, legend_below, text_width, wrap
from taclean.tables import (
    ATTACKS,
    DEFENSES,
    header,
    latex,
    long_table,
    main_blocks,
    markdown,
    ordered,
    read_table,
    script_log,
    write_main_table,
    write_table,
)

N, OTHERS = 200, 198
KS = (1, 3, 5, 10)


def score(metric: str, percent: float, n: int) -> dict[str, dict[str, int]]:
    """The same percentage at every k."""
    return {f"{metric}@{k}": {"hits": round(percent * n / 100), "n": n} for k in KS}


def write_scores(folder: Path, attack: str, defense: str, seed: int, splits: dict) -> Path:
    path = folder / attack / defense / f"seed{seed}" / "scores.json"
    path.parent.mkdir(parents=True)
    run = {"attack": attack, "defense": defense, "seed": seed, "target": "banana"}
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
    return long_table(scores)


# ---- tables ----------------------------------------------------------------------------------


def test_names_are_those_of_the_registries() -> None:
    from taclean import attacks, defenses

    assert set(ATTACKS) == {"clean", *attacks.ATTACKS}
    assert set(DEFENSES) == {"none", *defenses.DEFENSES}


def test_ordered_puts_unknown_names_last() -> None:
    assert ordered(["zeta", "sig", "alpha", "badnet", "sig"], ATTACKS) == [
        "badnet", "sig", "zeta", "alpha",
    ]  # fmt: skip


def test_long_table_exactly(tmp_path: Path) -> None:
    one = {
        "shift": {"CA@1": {"hits": 1, "n": 3}},
        "test": {
            "TA@1": {"hits": 3, "n": 7},
            "ASR@10": {"hits": 6, "n": 7},
            "ASR@1": {"hits": 7, "n": 7},
            "CA@1": {"hits": 2, "n": 8},
        },
    }
    two = {"test+badnet": {"ASR@1": {"hits": 0, "n": 7}}, "test": {"CA@1": {"hits": 8, "n": 8}}}
    paths = [
        write_scores(tmp_path, "badnet", "ft", 0, one),
        write_scores(tmp_path, "clean", "none", 0, two),
    ]
    write_table(long_table(paths), tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_bytes() == (
        b"attack,defense,seed,split,metric,percent,n\n"
        b"clean,none,0,test,CA@1,100.0000,8\n"
        b"clean,none,0,test+badnet,ASR@1,0.0000,7\n"
        b"badnet,ft,0,test,CA@1,25.0000,8\n"
        b"badnet,ft,0,test,ASR@1,100.0000,7\n"
        b"badnet,ft,0,test,ASR@10,85.7143,7\n"
        b"badnet,ft,0,test,TA@1,42.8571,7\n"
        b"badnet,ft,0,shift,CA@1,33.3333,3\n"
    )
    assert read_table(tmp_path / "table.csv").equals(long_table(paths))
    assert not list(tmp_path.glob(".*tmp*"))


def test_order_of_the_files_does_not_matter(scores: list[Path]) -> None:
    table = long_table(scores)
    assert table.equals(long_table(scores[::-1]))
    runs = table.drop_duplicates(["attack", "defense", "seed"])[["attack", "defense", "seed"]]
    assert runs.to_numpy().tolist() == [
        [a, d, s] for a in ("clean", "badnet", "sig") for d in ("none", "taclean") for s in (0, 1)
    ]


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"test": {"CA@1": {"hits": 0, "n": 0}}}, "n = 0"),
        ({"test": {"CA@1": {"hits": 1}}}, "not a scores file"),
        ({"test": {"F1@1": {"hits": 1, "n": 2}}}, "not a scores file"),
        (["test"], "not a scores file"),
    ],
)
def test_bad_scores(tmp_path: Path, splits: dict, message: str) -> None:
    path = write_scores(tmp_path, "sig", "none", 0, splits)
    with pytest.raises(UserError, match=message) as error:
        long_table([path])
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_tables(scores: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two files of sig/taclean/seed1"):
        long_table([*scores, scores[0]])
    with pytest.raises(UserError, match="no scores"):
        long_table([])
    (tmp_path / "t.csv").write_text("attack,defense\nsig,none\n")
    with pytest.raises(UserError, match="no column seed"):
        read_table(tmp_path / "t.csv")
    with pytest.raises(UserError, match="no such file"):
        read_table(tmp_path / "u.csv")


def test_main_table_with_seeds(table: pd.DataFrame) -> None:
    text = markdown(table)
    assert "seeds 0, 1; mean ± sample standard deviation" in text
    assert "200 clean and 100 triggered images (test split)" in text
    lines = text.splitlines()
    assert "| Defence | BadNet | SIG |" in lines
    # 90 and 91: mean 90.5, sample std 0.7
    assert "| No defence | 80.0 ± 0.0 / 90.5 ± 0.7 | 80.0 ± 0.0 / 92.5 ± 0.7 |" in lines
    assert "| TA-Cleaner | 70.0 ± 0.0 / **5.5 ± 0.7** | 70.0 ± 0.0 / **7.5 ± 0.7** |" in lines
    assert "| *Never poisoned* | 85.0 ± 0.0 / 1.0 ± 0.0 | 85.0 ± 0.0 / 1.0 ± 0.0 |" in lines
    assert "| *Never poisoned* | 60.0 ± 0.0 / – | 60.0 ± 0.0 / – |" in lines  # no shift+badnet
    assert "| Defence | test split | shift split |" in lines
    assert [block.title.split(":")[0] for block in main_blocks(table)] == [
        "Test split", "Test split", "Shift split", "Never poisoned",
    ]  # fmt: skip


def test_main_table_of_one_seed_and_subset(table: pd.DataFrame) -> None:
    one = table[(table["seed"] == 0) & (table["attack"] == "sig")]
    text = markdown(one)
    assert "±" not in text
    assert "| TA-Cleaner | 70.0 / **7.0** |" in text
    assert "| *Never" not in text
    alone = one[one["defense"] == "taclean"]
    assert "**" not in markdown(alone)  # nothing to be better than
    tie = pd.concat([alone, alone.assign(defense="ft")])
    assert markdown(tie).count("**7.0**") == 6  # two rows; ASR@1, ASR@10 and the shift split
    clean = table[table["attack"] == "clean"]
    assert len(main_blocks(clean)) == 1
    with pytest.raises(UserError, match="no scores"):
        main_blocks(table.assign(split="val", attack="sig"))


def test_latex(table: pd.DataFrame, tmp_path: Path) -> None:
    odd = pd.concat([table, table[table["attack"] == "sig"].assign(attack="sig_50%")])
    text = latex(odd)
    assert r"No defence & 80.0$_{\pm0.0}$ & 90.5$_{\pm0.7}$" in text
    assert r"\textbf{5.5$_{\pm0.7}$}" in text
    assert r"{sig\_50\%}" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 4
    assert text.count("{") == text.count("}")
    body = text.replace(r"\%", "").replace("% \\usepackage{booktabs,graphicx}", "")
    assert "{%\n" in body
    assert body.count("%") == body.count("{%\n")  # no stray comment sign
    write_main_table(odd, [tmp_path / "m.md", tmp_path / "m.tex"])
    assert (tmp_path / "m.tex").read_text() == text
    with pytest.raises(UserError, match=r"as \.md or \.tex"):
        write_main_table(odd, [tmp_path / "m.html"])


def test_header_says_when_counts_differ(table: pd.DataFrame) -> None:
    table.loc[table["seed"] == 1, "n"] += 1000
    assert "200–1,200 clean" in header(table)


def test_script_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "a.log"
    with pytest.raises(SystemExit) as stop, script_log([str(log)]):
        raise UserError("x.json: bad; make it again")
    assert stop.value.code == "error: x.json: bad; make it again"
    assert log.read_text() == "error: x.json: bad; make it again\n"
    with pytest.raises(ZeroDivisionError), script_log([str(log)]):
        print(1 / 0)
    assert "Traceback" in log.read_text()
    with script_log([]):
        pass


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
    return plots.Samples(
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
QUAD = [
    sample(attack, defense, fooled, pictures=defense == "none")
    for attack in ("badnet", "badclip")
    for defense, fooled in (("none", 10), ("ft", 8), ("cleanclip", 5), ("taclean", 2))
]

FIGURES = {
    "curves": lambda _: plots.curves(
        [history(), history(), history(asr=False)],
        [run("sig", "ft"), run("sig", "taclean"), run("clean", "ft")],
        n=500,
    ),
    "curves, seeds": lambda _: plots.curves(
        [history(), history()], [run("sig", "ft"), run("sig", "ft", 1)]
    ),
    "curves, one epoch": lambda _: plots.curves([history(1)], [run("sig", "ft")]),
    "curves, no ASR": lambda _: plots.curves([history(asr=False)], [run("sig", "ft")]),
    "asr_ca, seeds": plots.asr_ca,
    "asr_ca, one": lambda t: plots.asr_ca(t[(t["attack"] == "sig") & (t["defense"] == "none")]),
    "asr_ca, clean": lambda t: plots.asr_ca(t[t["attack"] == "clean"]),
    "tradeoff, seeds": plots.tradeoff,
    "tradeoff, one": lambda t: plots.tradeoff(t[(t["attack"] == "sig") & (t["seed"] == 0)]),
    "tradeoff, clean": lambda t: plots.tradeoff(t[t["attack"] == "clean"]),
    "triggers": lambda _: plots.triggers(QUAD),
    "triggers, one image": lambda _: plots.triggers([sample("sig", "none", 1, n=1)]),
    "embeddings": lambda _: plots.embeddings(QUAD),
    "embeddings, subset": lambda _: plots.embeddings(QUAD[:1] + QUAD[7:]),
    "embeddings, one image": lambda _: plots.embeddings([sample("sig", "none", 1, n=1)]),
    "recovered": lambda _: plots.recovered(QUAD),
    "recovered, none": lambda _: plots.recovered([QUAD[0], sample("badnet", "taclean", 12)]),
    "recovered, no taclean": lambda _: plots.recovered(QUAD[:3]),
    "subcaptions": lambda _: plots.subcaptions(SUBCAPTIONS, PICTURES, 0),
    "subcaptions, none": lambda _: plots.subcaptions(SUBCAPTIONS[:0], PICTURES, 0),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_written_and_all_text_is_inside(
    name: str, table: pd.DataFrame, tmp_path: Path
) -> None:
    figure = FIGURES[name](table)
    plots.save(figure, [tmp_path / "f.pdf", tmp_path / "f.png"])
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")
    assert b"Type3" not in (tmp_path / "f.pdf").read_bytes()
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert not plt.get_fignums()
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = {text.get_text(): text.get_window_extent(renderer) for text in figure.texts}
    boxes |= {f"axes {i}": ax.get_tightbbox(renderer) for i, ax in enumerate(figure.axes)}
    boxes |= {str(legend): legend.get_window_extent(renderer) for legend in figure.legends}
    for what, box in boxes.items():
        assert box.x0 > -1, what
        assert box.x1 < width + 1, what
        assert box.y0 > -1, what
        assert box.y1 < height + 1, what


@pytest.mark.parametrize("name", ["asr_ca, seeds", "embeddings", "subcaptions"])
def test_figure_is_the_same_twice(name: str, table: pd.DataFrame, tmp_path: Path) -> None:
    for copy, order in (("a", 1), ("b", -1)):
        paths = [tmp_path / f"{copy}.pdf", tmp_path / f"{copy}.png"]
        plots.save(FIGURES[name](table), paths[::order])
    for suffix in ("pdf", "png"):
        one, two = ((tmp_path / f"{copy}.{suffix}").read_bytes() for copy in "ab")
        assert one == two
        assert b"CreationDate" not in one


def test_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.pdf or \.png"):
        plots.save(plt.figure(), [tmp_path / "f.jpg"])
    plt.close("all")


def test_read_samples(tmp_path: Path) -> None:
    saved = dataclasses.asdict(sample("sig", "none", 3))
    arrays = {k: v for k, v in saved.items() if k not in ("attack", "defense", "seed")}
    path = tmp_path / "samples.npz"
    np.savez(path, **arrays)
    read = plots.read_samples(path, run("sig", "none"), pictures=True)
    assert (read.attack, read.classes[0], read.target, len(read)) == ("sig", "banana", 0, 12)
    assert (read.triggered_images == saved["triggered_images"]).all()
    assert plots.read_samples(path, run("sig", "none")).images is None
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="not a samples file"):
        plots.read_samples(path, run("sig", "none"))
    with pytest.raises(UserError, match="no such file"):
        plots.read_samples(tmp_path / "x.npz", run("sig", "none"))
    del arrays["clean"]
    np.savez(path, **arrays)
    with pytest.raises(UserError, match="clean"):
        plots.read_samples(path, run("sig", "none"))


def test_read_history(tmp_path: Path) -> None:
    history().to_csv(tmp_path / "h.csv", index=False)
    assert plots.read_history(tmp_path / "h.csv")["ASR@1"].tolist() == [90, 45, 30]
    (tmp_path / "h.csv").write_text("epoch,CA@1\n")
    with pytest.raises(UserError, match="no epochs"):
        plots.read_history(tmp_path / "h.csv")


def test_missing_pictures() -> None:
    with pytest.raises(UserError, match="badnet/none: holds no pictures"):
        plots.triggers([sample("badnet", "none", 3, pictures=False)])
    with pytest.raises(UserError, match="none given"):
        plots.triggers([sample("badnet", "ft", 3)])
    with pytest.raises(UserError, match="row 3, but the split has 2 pictures"):
        plots.subcaptions(SUBCAPTIONS, PICTURES[:2], 0)
    plt.close("all")


def test_read_subcaptions_keeps_words_that_look_like_missing_values(tmp_path: Path) -> None:
    odd = SUBCAPTIONS.assign(replacement=["null", "None", "NA", "nan"])
    odd.to_csv(tmp_path / "s.csv", index=False)
    np.save(tmp_path / "i.npy", PICTURES)
    table, images = plots.read_subcaptions(tmp_path / "s.csv", tmp_path / "i.npy")
    assert table["replacement"].tolist() == ["null", "None", "NA", "nan"]
    assert images.shape == PICTURES.shape


def test_choice_of_examples() -> None:
    assert _chosen(SUBCAPTIONS, 6)["row"].tolist() == [3, 1]  # first epoch, no picture twice
    turns = _turns({"a": [(0, 1), (1, 1), (2, 2)], "b": [(0, 1), (5, 3)]})
    assert turns == [("a", 0), ("b", 5), ("a", 2), ("b", 0), ("a", 1)]


def test_highlight_takes_whole_words() -> None:
    pieces = _highlighted("A catalogue and a Cat, red.", "cat", "red")
    assert [piece.text.strip() for piece in pieces] == ["A catalogue and a", "Cat,", "red."]
    assert [piece.text for piece in _highlighted("A dog.", "cat", "red")] == ["A dog."]


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
    assert legend_below(figure, handles) == 3
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


def test_tables_import_neither_torch_nor_matplotlib() -> None:
    """Importing the table module stays cheap: it runs in a job of its own."""
    code = "import taclean.tables, sys; assert not {'torch', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
