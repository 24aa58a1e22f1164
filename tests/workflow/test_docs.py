"""README.md and docs/: the blocks are what `make docs` prints, and a page that differs is found."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from docs import build, held_back
from taclean import config as configs
from taclean.results.cost import COLUMNS as COST
from taclean.results.labels import look_of
from taclean.results.table import COLUMNS, write_table
from taclean.util.errors import UserError
from taclean.util.files import sha256
from tests.helpers import ROOT

PAGES = [path.relative_to(ROOT).as_posix() for path in build.pages(ROOT)]


def blocks(*names: str) -> str:
    return "".join(f"A <!-- begin: {name} -->\n<!-- end -->\n" for name in names)


README = blocks("main_table", "claim", "in_words", "cost")


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_what_the_command_prints(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert build.filled(text, ROOT, page) == text, f"{page}: run `make docs`"


def test_the_pictures_are_those_of_the_run() -> None:
    runs = [run for name in build.PICTURES if (run := build.Run(ROOT, name)).there]
    if not runs:
        pytest.skip("docs/data holds no run")
    for run in runs:
        assert bool(run.record["pictures"]) == bool(build.PICTURES[run.name])
        for name, wanted in run.record["pictures"].items():
            assert sha256(ROOT / "docs" / name) == wanted, name
            assert any(name in (ROOT / page).read_text("utf-8") for page in PAGES), name


@pytest.mark.parametrize("picture", sorted((ROOT / "docs").glob("*.png")), ids=lambda p: p.stem)
def test_no_picture_is_cut_off(picture: Path) -> None:
    """As a label was where ticks of 2 and of 2.5 took turns while the layout was solved."""
    pixels = plt.imread(picture)
    assert all((edge == 1).all() for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))


def unpadded(path: Path) -> str:
    """A page without the padding of its tables."""
    return re.sub(" +", " ", path.read_text("utf-8"))


def scores(**lower: float) -> pd.DataFrame:
    """Two attacks, all defences, three seeds; the ASR of a defence is lower by so many points."""
    rows = [
        (attack, defense, seed, 0, split, metric, percent - seed - lower.get(defense, 0), 200)
        for attack in ("clean", "sig", "badclip")
        for defense in ("none", "ft", "cleanclip", "taclean")
        for seed in (0, 1, 2)
        for split in ("test", "shift")
        for metric, percent in (("CA@1", 90.0), ("ASR@1", 80.0), ("ASR@10", 95.0))
        if attack != "clean" or metric == "CA@1"
    ]
    never = [("clean", "none", 0, 0, f"test+{a}", "ASR@1", 1.0, 200) for a in ("sig", "badclip")]
    return pd.DataFrame(rows + never, columns=COLUMNS)


def shown(taken: Path, run: str, *names: str, options: Sequence[str] = ()) -> str:
    """Take the results as `run`; return a page with these blocks of it, without padding."""
    page = taken / "docs/results.md"
    page.write_text(blocks(*(f"{name}_of_{run}" for name in names)), "utf-8")
    build.main(["--take", str(taken / "results"), "--as", run, *options])
    return unpadded(page)


@pytest.fixture
def taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout into which a run was taken."""
    for name in ("config", "taclean/attacks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    results = tmp_path / "results"
    (results / "figures").mkdir(parents=True)
    write_table(scores(taclean=10), results / "table.csv")
    times = [("ft", 6, 41.6, 2.2, 0), ("taclean", 1, 80, None, 12)]
    write_table(pd.DataFrame(times, columns=COST), results / "cost.csv")
    for name in build.PICTURES[build.DEFAULT]:
        (results / "figures" / name).write_bytes(name.encode())
    (tmp_path / "README.md").write_text(README, "utf-8")
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "commit", lambda root: "abc1234")
    build.main(["--take", str(results), "--minutes", "21"])
    return tmp_path


def test_a_run_comes_in_whole_and_its_numbers_onto_the_page(taken: Path) -> None:
    record = json.loads((taken / "docs/data/default/run.json").read_text("utf-8"))
    config = configs.load(ROOT / "config/config.yaml")
    model = config.model.name
    (part,) = record["parts"]
    assert (part["commit"], record["minutes"], record["model"]) == ("abc1234", 21, model)
    assert part["seeds"] == [0, 1, 2]
    assert record["look"] == look_of(config)
    assert part["machine"]
    text = (taken / "README.md").read_text("utf-8")
    assert build.filled(text, taken, "README.md") == text
    page = unpadded(taken / "README.md")
    assert "| FT | 6 | 42 ± 2 | 0 |\n| TA-Cleaner | 1 | 80 | 12 |" in page
    rows = [line for line in page.splitlines() if line.startswith("| TA-Cleaner | 79.0")]
    assert len(rows) == 1
    assert "69.0" in rows[0]  # 80 - 10, less 0, 1 and 2
    assert "200 clean and 200 triggered images" in page
    assert "commit abc1234" in page
    assert "| arXiv 2409.17601, abstract; RN50 (presumed) | -52.02 | -63.88 |" in page
    assert f"| this repository; {model} on emoji | -10.0 (-10.0 to -10.0) |" in page
    assert (taken / "docs/first.png").read_bytes() == b"first.png"
    assert record["pictures"]["first.png"] == sha256(taken / "docs/first.png")


def test_a_run_of_another_name_has_blocks_and_pictures_of_its_own(taken: Path) -> None:
    results = taken / "results"
    (results / "figures/axes").mkdir()
    for name in ("samples", "weight"):
        (results / f"figures/axes/{name}.png").write_bytes(name.encode())
    overlay = taken / "mine.yaml"
    values = "{cleanclip: '0', taclean: '1'}"
    overlay.write_text(f"axes: {{weight: {{label: weight, values: {values}}}}}\n", "utf-8")
    page = shown(taken, "ablation", "axes", options=["--configfile", str(overlay)])
    assert (taken / "docs/ablation_weight.png").read_bytes() == b"weight"
    assert not (taken / "docs/ablation_samples.png").exists()  # of another run in that folder
    assert "![weight](ablation_weight.png)" in page
    assert "| weight | SIG | BadCLIP | CA@1 / ASR@1 minus 1 |" in page
    less = "**+10.0 (+10.0 to +10.0)** / **+10.0 (+10.0 to +10.0)**"
    assert f"| 0 | 89.0 ± 2.5 / 79.0 ± 2.5 | 89.0 ± 2.5 / 79.0 ± 2.5 | {less} |" in page
    assert "| 1 | 79.0 ± 2.5 / 69.0 ± 2.5 | 79.0 ± 2.5 / 69.0 ± 2.5 | – |" in page
    assert "differences on the same victims, n = 3, bold where settled." in page
    with pytest.raises(UserError, match="unknown block 'axes_of_nothing'"):
        build.filled(blocks("axes_of_nothing"), taken, "x.md")


def test_means_and_deviations_over_cleanings(taken: Path) -> None:
    one = scores()
    one = one[(one["seed"] == 0) & ((one["defense"] != "none") | (one["attack"] == "clean"))]
    more = [one.assign(repeat=n, percent=one["percent"] + 2 * n) for n in range(3)]
    write_table(pd.concat(more), taken / "results/table.csv")
    row = "| BadCLIP | " + " | ".join(["92.0 ± 2.0", "82.0 ± 2.0"] * 3) + " |\n"
    assert row in shown(taken, "repeats", "deviations")


def test_victims_of_other_seeds_are_held_against_the_evidence() -> None:
    known = scores()
    mine = scores(ft=40).assign(seed=lambda table: table["seed"] + 10)
    look = build.Run(ROOT, "evidence").look
    with pytest.raises(UserError, match=r"seed 0 is one of the evidence .*; take others"):
        held_back.against(known, scores(), look)
    with pytest.raises(UserError, match="no CA@1 or ASR@1 on 'test'"):
        held_back.against(known, mine.assign(split="val"), look)
    text = held_back.summary(held_back.against(known, mine, look))
    assert text.startswith("seed 10: 12 of 16 scores in the ranges\n")
    assert "36 of 48 (75.0%); 95% are expected" in text
    assert text.count(" ft ") == 12


def test_a_defence_is_compared_with_each_other_on_the_same_victims(taken: Path) -> None:
    for name in build.PICTURES["evidence"]:
        (taken / "results/figures" / name).write_bytes(name.encode())
    table = scores(taclean=10)
    at_ca = (table["metric"] == "CA@1") & (table["defense"] == "taclean")
    table.loc[at_ca & (table["attack"] == "badclip"), "percent"] += 12  # 2 more than the others
    of_ft = (table["metric"] == "ASR@1") & (table["defense"] == "ft") & (table["seed"] == 2)
    table.loc[of_ft & (table["attack"] == "sig") & (table["split"] == "test"), "percent"] = 10
    asr, ca = table[table["metric"] == "ASR@1"], table[table["metric"] == "CA@1"]
    table = pd.concat([table, asr.assign(metric="TCR@1"), asr.assign(metric="TCR@10")])
    table = pd.concat([table, ca.assign(metric="I2T@5")])
    write_table(table, taken / "results/table.csv")
    names = "settled at_equal_ca further_victim probe captions shift retrieval"
    text = shown(taken, "evidence", *names.split())
    lower = "**-10.0 (-10.0 to -10.0)**"
    assert f"| SIG | CleanCLIP | {lower} | {lower} |" in text
    assert f"| BadCLIP | FT | {lower} | **+2.0 (+2.0 to +2.0)** |" in text
    assert "with 95 % interval (Student's t) over 3 seeds; bold where settled." in text
    assert "| CleanCLIP | 84.0 to 94.0 / 74.0 to 84.0 |" in text  # 89 and 79 of 3, sd 1
    assert "| TA-Cleaner | 69.0 ± 2.5 / 69.0 ± 2.5 |" in text.replace("**", "")  # TCR
    assert "LASR" not in text
    assert "left out" not in text  # two seeds would give no ranges
    settled = text.partition("begin: settled")[2].partition("end")[0]
    assert "| ASR@1 | better on 1: BadCLIP | better on all 2 |" in settled
    assert "| CA@1 | " + " | ".join(["better on 1: BadCLIP; **worse** on 1: SIG"] * 2) in settled
    assert "| ASR@1, shift split | better on all 2 | better" in settled
    assert "Of 28 such comparisons, about 1 would" in settled  # 7 scores, 2 attacks, 2 defences
    shift = text.partition("begin: shift")[2].partition("end")[0]
    assert "| FT | 89.0 ± 2.5 / 79.0 ± 2.5 | 89.0 ± 2.5 / 79.0 ± 2.5 |" in shift  # the other split
    recall = text.partition("begin: retrieval")[2]
    assert "| FT | – | 89.0 ± 2.5 | – |" in recall
    assert "| TA-Cleaner | – | 85.0 ± 2.5 | – |" in recall  # of 79 and 91
    assert "| *TA-Cleaner minus FT* | – | **-4.0 (-4.0 to -4.0)** | – |" in recall
    assert "mean over 2 attacks, ± half of the 95 % interval (Student's t) over 3 seeds." in recall


def test_the_scan_of_a_run_comes_with_it(taken: Path) -> None:
    results, timed = taken / "results", ["--minutes", "32"]
    row = {"defense": "none", "target": "banana", "margin": 0.1}
    rows = [
        {"attack": "clean", "seed": 1, "named": "cat", "score": 2.0, "rank": 9} | row,
        {"attack": "sig", "seed": 0, "named": "banana", "score": 8.0, "rank": 1} | row,
        {"attack": "badclip", "seed": 0, "named": "dog", "score": 1.0, "rank": 3} | row,
    ]
    pd.DataFrame(rows).assign(target_score=1.0).to_csv(results / "scan.csv", index=False)
    write_table(scores(), results / "table.csv")
    text = shown(taken, "second_cpu", "scan", options=timed)
    assert "| SIG | 0 | banana | 8.0 | +0.10 | 1 |" in text
    assert "2 poisoned against 1 clean models: **0.50**" in text
    assert "Misses, another class is named: BadCLIP (seed 0)." in text
    (results / "scan.csv").unlink()
    assert "Misses" not in shown(taken, "second_cpu", "scan", options=timed)


def test_the_rise_after_cleaning_has_an_interval(taken: Path) -> None:
    (taken / "results/figures/trajectory.png").write_bytes(b"")
    rows = [("sig", "ft_fast", seed, 0, 20 + 2 * seed, 10 + seed, 80) for seed in (1, 2, 3)]
    rows += [("sig", "taclean_fast", seed, 0, 12, 2, 80) for seed in (1, 2, 3)]
    columns = ["attack", "defense", "seed", "repeat", "asr_peak", "rise", "ca_end"]
    write_table(pd.DataFrame(rows, columns=columns), taken / "results/rebound.csv")
    text = shown(taken, "rebound", "came_back", options=["--configfile", "config/rebound.yaml"])
    assert "24.0 ± 5.0 / 12.0 ± 2.5 / 80.0 ± 0.0 / **-10.0 (-12.5 to -7.5)** |" in text
    assert "in %, ± half of the 95 % interval (Student's t) over 3 seeds." in text


def test_the_commit_of_a_run_says_whether_its_code_differs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no git checkout"):
        build.commit(tmp_path)

    def git(*command: str) -> None:
        name = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *name, *command], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "taclean").mkdir()
    for file in ("taclean/a.py", "README.md"):
        (tmp_path / file).write_text("1\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "one")
    found = build.commit(tmp_path)
    assert len(found) >= 7
    (tmp_path / "README.md").write_text("2\n")
    assert build.commit(tmp_path) == found
    (tmp_path / "taclean/b.py").write_text("2\n")
    assert build.commit(tmp_path) == f"{found}-dirty"


def test_a_number_that_was_changed_by_hand_is_found(taken: Path) -> None:
    page = (taken / "README.md").read_text("utf-8")
    other = page.replace("69.0", "6.0")
    assert other != page
    assert build.filled(other, taken, "README.md") == page
    assert build.filled(README, taken / "new", "README.md") == README  # without a run


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (blocks("other"), "unknown block 'other'; known are time, "),
        ("<!-- begin: time -->\n", "lacks its begin or its end"),
        ("<!-- begin: axes -->\n<!-- begin: time -->\n<!-- end -->", "lacks its begin or its"),
        ("<!-- end -->", "lacks its begin or its end"),
    ],
)
def test_a_page_with_marks_that_are_none(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"README.md: .*{message}"):
        build.filled(text, tmp_path, "README.md")


def test_a_run_that_has_not_ended_is_refused(taken: Path) -> None:
    (taken / "results/figures/first.png").unlink()
    with pytest.raises(SystemExit, match=r"first\.png: no such file; end the run first"):
        build.main(["--take", str(taken / "results"), "--minutes", "21"])
    with pytest.raises(SystemExit, match="--minutes: missing"):
        build.main(["--take", str(taken / "results")])
