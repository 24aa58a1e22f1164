"""Labels, the table of all scores, and the main table in Markdown, LaTeX, HTML and plain text."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from taclean.results import main_table as main
from taclean.results import statistics as stats
from taclean.results import table as results
from taclean.results.labels import PALETTE, Look, ordered
from taclean.util.errors import UserError
from workflow_scripts.watch import plain

LOOK = Look.of(
    {
        "attacks": {"badnet": {"label": "BadNet", "marker": "o"},
                    "sig": {"label": "SIG", "marker": "^"}},
        "defenses": {"ft": {"label": "FT", "colour": "#de8f05"},
                     "taclean": {"label": "TA-Cleaner", "colour": "#029e73"}},
        "splits": ["test", "shift"]
    }
)  # fmt: skip


def rows(text: str) -> list[str]:
    """Lines without the padding of tables."""
    return [re.sub(" +", " ", line) for line in text.splitlines()]


@pytest.fixture
def table() -> pd.DataFrame:
    """Two attacks, two defences, three seeds and a clean model."""
    found = [
        (attack, defense, seed, 0, split, metric, percent, n)
        for attack, more in (("sig", 2), ("badnet", 0))
        for defense, ca, asr in (("none", 80, 90), ("taclean", 70, 5))
        for seed in (0, 1, 2)
        for split in ("test", "shift")
        for metric, percent, n in (
            ("CA@1", ca, 200), ("ASR@1", asr + more + seed, 100), ("ASR@10", 99, 100)
        )
    ]  # fmt: skip
    found += [
        ("clean", "none", seed, 0, split, metric, percent, 200)
        for seed in (0, 1, 2)
        for split, metric, percent in (
            ("test", "CA@1", 85), ("shift", "CA@1", 60),
            ("test+badnet", "ASR@1", 1), ("test+sig", "ASR@1", 1)
        )
    ]  # fmt: skip
    return pd.DataFrame(found, columns=results.COLUMNS)


def test_labels_order_markers_and_colours() -> None:
    assert list(LOOK.attacks) == ["clean", "badnet", "sig"]
    assert LOOK.markers(["sig", "new_one", "clean"]) == {"clean": "X", "sig": "^", "new_one": "P"}
    assert LOOK.attack_label("new_one") == "new one"
    assert LOOK.colours(["taclean", "none"]) == {"none": "#7f7f7f", "taclean": "#029e73"}
    assert LOOK.colours(["other"]) == {"other": PALETTE[0]}
    assert Look.of({}) == Look()
    mixed = ["zeta", "sig", "alpha", "badnet"]
    assert ordered(mixed, LOOK.attacks) == ["badnet", "sig", "zeta", "alpha"]


def test_no_two_methods_look_the_same() -> None:
    """Variants bring the label and the colour of their method; 40 methods have enough of both."""
    same = {f"v_{i}": {"label": "Same", "colour": "#029E73"} for i in range(3)}
    late = {"late": {"label": "Late", "colour": PALETTE[0]}, "none": {"label": "x"}}
    look = Look.of({"defenses": same | late, "attacks": {f"a{i}": {} for i in range(40)}})
    assert look.defenses["none"] == ("No defence", "#7f7f7f")
    assert look.defenses["v_0"] == ("Same", "#029e73")
    assert look.defenses["v_1"] == ("Same (v 1)", PALETTE[1])  # `late` has the first
    many = look.colours([*look.defenses, *(f"x{i}" for i in range(35))])
    assert len(set(many.values())) == len(many) == 40
    markers = look.markers([*look.attacks, "more"])
    assert len(set(markers.values())) == len(markers) == 42


def write_scores(folder: Path, attack: str, defense: str, splits: dict, repeat: int = 0) -> Path:
    path = folder / f"{attack}-{defense}-{repeat}.json"
    run = {"attack": attack, "defense": defense, "seed": 0, "repeat": repeat}
    counts = {
        split: {metric: {"hits": hits, "n": n} for metric, (hits, n) in found.items()}
        for split, found in splits.items()
    }
    path.write_text(json.dumps({**run, "splits": counts}))
    return path


def test_long_table_exactly(tmp_path: Path) -> None:
    test = {"TA@1": (3, 7), "ASR@10": (6, 7), "ASR@1": (7, 7), "CA@1": (2, 8)}
    one = {"shift": {"CA@1": (1, 3)}, "test": test}
    two = {"test+badnet": {"ASR@1": (0, 7)}, "test": {"CA@1": (8, 8)}}
    paths = [
        write_scores(tmp_path, "badnet", "ft", {"shift": {"CA@1": (2, 3)}}, 1),
        write_scores(tmp_path, "badnet", "ft", one),
        write_scores(tmp_path, "clean", "none", two),
    ]
    results.write_table(results.long_table(paths, LOOK), tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_bytes() == (
        b"attack,defense,seed,repeat,split,metric,percent,n\n"
        b"clean,none,0,0,test,CA@1,100.0000,8\n"
        b"clean,none,0,0,test+badnet,ASR@1,0.0000,7\n"
        b"badnet,ft,0,0,test,CA@1,25.0000,8\n"
        b"badnet,ft,0,0,test,ASR@1,100.0000,7\n"
        b"badnet,ft,0,0,test,ASR@10,85.7143,7\n"
        b"badnet,ft,0,0,test,TA@1,42.8571,7\n"
        b"badnet,ft,0,0,shift,CA@1,33.3333,3\n"
        b"badnet,ft,0,1,shift,CA@1,66.6667,3\n"
    )
    assert results.read_table(tmp_path / "table.csv").equals(results.long_table(paths, LOOK))
    assert results.long_table(paths, LOOK).equals(results.long_table(paths[::-1], LOOK))
    assert not list(tmp_path.glob(".*tmp*"))
    values = json.loads(paths[1].read_text("utf-8"))
    paths[1].write_text(json.dumps(values | {"failed": "no trigger"}), "utf-8")
    failed = results.long_table(paths, LOOK)
    percent = failed["percent"][failed["failed"].notna()]
    assert percent.tolist() == [25, 100, 85.7143, 42.8571, 33.3333]
    assert failed[results.COLUMNS].equals(results.read_table(tmp_path / "table.csv"))


HEAD = ",".join(results.COLUMNS) + "\n"
CELL = "sig,ft,0,0,test,CA@1,"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("attack,defense\nsig,none\n", "no column seed"),
        (HEAD, "no rows"),
        ("", "not a CSV file"),
        (f"{HEAD}{CELL}50,200\n{CELL}high,200\n", "line 3: percent is"),
        (f"{HEAD}{CELL}50.1,200\n", "line 2: percent is '50.1', no percentage of n"),
        (f"{HEAD}{CELL}-1,200\n", "line 2: percent is '-1', no percentage of n"),
        (HEAD + "".join(f"sig,ft,{n},0,test,CA@1,5,{2 if n else 20}0\n" for n in range(3)), "2: n"),
        (HEAD + 2 * f"{CELL}5,20\n", "line 3: metric is 'CA@1', unknown or there twice"),
        (HEAD + ",ft,0,0,test,CA@1,50,200\n", "line 2: attack is 'nan', empty; remove the file"),
        (None, "no such file"),
    ],
)
def test_a_table_edited_by_hand_is_one_line(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv.gz"  # the content decides
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        results.read_table(path)


@pytest.mark.parametrize(
    "edit", [{"seed": None}, {"splits": 3}, {"splits": {"test": {"CA@1": {"hits": 3, "n": 2}}}}, {}]
)
def test_scores_edited_by_hand_are_one_line(edit: dict, tmp_path: Path) -> None:
    path = write_scores(tmp_path, "sig", "ft", {"test": {"CA@1": (1, 8)}})
    values = json.loads(path.read_text("utf-8")) | edit
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None} if edit else []))
    with pytest.raises(UserError, match=r"0.json: no scores of a run .*; remove the file"):
        results.long_table([path], LOOK)


def test_script_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with pytest.raises(SystemExit) as stop, results.script_log([str(log)]):
        raise UserError("x.json: bad; make it again")
    assert stop.value.code == "error: x.json: bad; make it again"
    assert log.read_text() == "error: x.json: bad; make it again\n"
    with pytest.raises(SystemExit, match="Traceback"), results.script_log([str(log)]):
        print(1 / 0)
    assert "Traceback" in log.read_text()


def test_main_table_with_seeds(table: pd.DataFrame) -> None:
    text = main.markdown(table, LOOK)
    assert "seeds 0, 1, 2; mean ± half of its 95 % interval (Student's t) over 3 seeds." in text
    assert "200 clean and 100 triggered images (test split)" in text
    lines = rows(text)
    assert "| Defence | BadNet | SIG |" in lines
    # 90 to 92: mean 91, sample std 1, t(2) at 97.5 % 4.303, root of 3
    assert "| No defence | 80.0 ± 0.0 / 91.0 ± 2.5 | 80.0 ± 0.0 / 93.0 ± 2.5 |" in lines
    assert "| TA-Cleaner | 70.0 ± 0.0 / **6.0 ± 2.5** | 70.0 ± 0.0 / **8.0 ± 2.5** |" in lines
    settled = " / ".join(("**−10.0 ± 0.0**", "**−85.0 ± 0.0**"))
    assert f"| − No defence | {settled} | {settled} |" in lines
    assert "| *Never poisoned* | 85.0 / 1.0 | 85.0 / 1.0 |" in lines  # one model for all seeds
    assert "| *Never poisoned* | 60.0 / – | 60.0 / – |" in lines  # no shift+badnet
    assert "| Defence | test split | shift split |" in lines
    assert list(dict(main.blocks(table, LOOK))) == [
        "Test split: CA@1 and ASR@1",
        "Test split: ASR@10",
        "Shift split: CA@1 and ASR@1",
        "Test split: TA-Cleaner minus each other, same victims",
        "Never poisoned: CA@1 of the clean model after each defence",
    ]
    mixed = table.sort_values("defense", ascending=False, kind="stable")  # as at a budget
    assert main.markdown(mixed, LOOK) == text
    table.loc[table["seed"] == 1, "n"] += 1000
    assert "200–1,200 clean" in main.header(table, LOOK)
    two = main.markdown(table[table["seed"] < 2], LOOK)
    assert "seeds 0, 1; mean with no 95 % interval (n = 2, not enough)." in two
    assert not re.search("±|minus each other", two)


def test_main_table_of_one_seed_and_subset(table: pd.DataFrame) -> None:
    one = table[(table["seed"] == 0) & (table["attack"] == "sig")]
    text = main.markdown(one, LOOK)
    assert not re.search(r"±|\| \*Never", text)
    assert "| TA-Cleaner | 70.0 / **7.0** |" in rows(text)
    alone = one[one["defense"] == "taclean"]
    assert "**" not in main.markdown(alone, LOOK)  # there is nothing to compare with
    texts = [stats.half_text(half) for half in (np.nan, 49.94, 50)] + [stats.ends_text(-60, 41)]
    assert texts == ["", " ± 49.9", " ± 50+", " ± 50+"]  # wider than the scale tells nothing
    tie = pd.concat([alone, alone.assign(defense="ft")])
    assert main.markdown(tie, LOOK).count("**7.0**") == 4  # two rows; test and shift split
    assert len(dict(main.blocks(table[table["attack"] == "clean"], LOOK))) == 1
    with pytest.raises(UserError, match="no CA@1"):
        main.main_table(table.assign(metric="TA@1"), LOOK)


def test_the_lowest_rate_is_the_lowest_as_printed() -> None:
    """1.15 and 1.149 print as 1.1; the model never poisoned and clean accuracies never count."""
    values = {"a": 1.15, "b": 1.149, "c": 1.16, "d": 3.0}
    found = [("sig", d, 0, 0, "test", "ASR@1", v, 9) for d, v in values.items()]
    found += [("sig", d, 0, 0, "test", "CA@1", v, 9) for d, v in values.items()]
    found.append(("clean", "none", 0, 0, "test+sig", "ASR@1", 0.0, 9))
    table = main.main_table(pd.DataFrame(found, columns=results.COLUMNS), Look())
    bold = table[table["bold"]]
    assert bold[["defense", "metric"]].to_numpy().tolist() == [["a", "ASR@1"], ["b", "ASR@1"]]


def test_odd_names_in_every_format(table: pd.DataFrame) -> None:
    odd = pd.concat([table, table[table["attack"] == "sig"].assign(attack="sig_50%|<b>")])
    text = main.latex(odd, LOOK)
    assert r"No defence & 80.0$_{\pm0.0}$ & 91.0$_{\pm2.5}$" in text
    assert r"\textbf{6.0$_{\pm2.5}$}" in text
    assert r"{sig 50\%|<b>}" in text
    assert r"$-$ No defence & \textbf{$-$10.0$_{\pm0.0}$}" in text
    assert r"$\Delta$CA@1" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 5
    assert text.count(r"\midrule") == 7  # 5 heads; 2 before the model that was never poisoned
    assert text.count("{") == text.count("}")
    body = text.replace(r"\%", "").replace("% \\usepackage{booktabs,graphicx}", "")
    assert body.count("%") == body.count("{%\n")  # no stray comment sign
    _, block = next(main.blocks(odd, LOOK))
    assert r"sig 50%\|\<b>" in main.block_markdown(block)
    page = main.html(block)
    assert "<td><span>70.0 ± 0.0</span><span><b>6.0 ± 2.5</b></span></td>" in page
    assert "<th>sig 50%|&lt;b&gt;</th>" in page
    lines = plain(table[table["seed"] == 0], LOOK).splitlines()
    assert lines[0].startswith("Test split: CA@1 and ASR@1 in %")
    assert lines[-1].split() == "SIG 80.0 / 92.0 70.0 / *7.0 85.0 / 1.0".split()


def test_every_test_set_reaches_the_main_table() -> None:
    """One has classes of its own, one captions; the first split with a CA is the main one."""
    models = ("sig", "none", 0), ("sig", "ft", 60), ("clean", "none", 0)
    probed = {"LCA@1": (51, 200), "LASR@1": (91, 100), "TCR@1": (92, 100)}
    sets = {
        "pairs": {"I2T@1": (30, 100), "T2I@1": (20, 500)},
        "photos": {"CA@1": (50, 200), "ASR@1": (90, 100), **probed},
        "ten": {"CA@1": (25, 40)},
        "photos+sig": {"ASR@1": (1, 100), "LASR@1": (3, 100)},
    }
    table = pd.DataFrame(
        [
            (attack, defense, 0, 0, split, metric, percent - (metric == "LASR@1") * less, n)
            for attack, defense, less in models
            for split, scores in sets.items()
            for metric, (percent, n) in scores.items()
            if (split == "photos+sig" or results.of_the_attacker(metric))
            <= ((attack == "clean") == ("+" in split))
        ],
        columns=results.COLUMNS,
    )
    look = Look.of({"splits": ["pairs", "photos", "ten"]})
    assert results.scored_splits(table, look) == ["pairs", "photos", "ten"]
    assert results.main_split(table, look) == "photos"
    found = dict(main.blocks(table, look))
    assert list(found) == [
        "Photos split: CA@1 and ASR@1",
        "Photos split: LCA@1 and LASR@1",
        "Photos split: TCR@1",
        "Pairs split: I2T@1 and T2I@1",
        "Ten split: CA@1",
        "Never poisoned: CA@1 of the clean model after each defence",
        "Never poisoned: I2T@1 and T2I@1 of the clean model after each defence",
    ]
    probe = found["Photos split: LCA@1 and LASR@1"]
    assert probe.loc[probe["bold"], "mean"].tolist() == [31]
    assert probe.loc[probe["reference"], "mean"].tolist() == [51, 3]
    lines = rows(main.markdown(table, look))
    assert "linear probe" in lines[2]
    assert "100 images and 500 captions (pairs split)" in lines[2]
    assert "| ft | 30.0 / 20.0 |" in lines
    assert "| *Never poisoned* | 50.0 / 1.0 |" in lines
    assert results.images_text(table, "nosuch") == ""
