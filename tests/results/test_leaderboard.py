"""The leaderboard: rows of a run, a check of submitted rows, and the means on its page."""

from argparse import Namespace
from pathlib import Path

import pandas as pd
import pytest

from taclean.results import leaderboard
from taclean.results.table import pick, read_csv
from taclean.results.templates import rendered
from taclean.stages.leaderboard import _of_run
from taclean.util.files import sha256
from tests.helpers import refused

DIGEST = "5ea1" * 16
INDEX = {"victims": {f"pretrain/badnet/seed{seed}": {} for seed in (1, 2, 3)}}
ABOUT = {"version": "1", "commit": "abc", "victims": DIGEST, "machine": "a CPU"}
COLUMNS = "budget attack defense seed repeat split metric percent n".split()


def rows() -> pd.DataFrame:
    scores = [
        (budget, attack, defense, seed, 0, split, metric, percent + seed, n)
        for budget in (3.0, 1.0)
        for attack in ("clean", "badnet")
        for seed in (1, 2, 3)
        for defense, asr in (("none", 90), ("mine", 10))
        for split, metric, percent, n in
        (("test", "CA@1", 80, 200), ("test", "ASR@1", asr, 100), ("shift", "CA@1", 7, 100))
    ]  # fmt: skip
    cost = pd.DataFrame({"defense": ["mine"], "seconds": [12.34]})
    return leaderboard.entries(pd.DataFrame(scores, columns=COLUMNS), cost, "test", ABOUT)


def test_a_run_gives_a_row_for_each_cleaning_and_budget() -> None:
    found = rows()
    assert list(found.columns) == leaderboard.COLUMNS
    assert len(found) == 2 * 3 * 2  # methods, seeds, budgets; not the clean model
    (row,) = pick(found, method="mine", seed=2, budget=3).to_dict("records")
    assert (row["ca"], row["ca_n"], row["asr"], row["asr_n"]) == (82, 200, 12, 100)
    assert (row["seconds"], row["victims"]) == (12.3, DIGEST)
    leaderboard.check(found, found.head(0), INDEX, DIGEST)


SCORES = [(3, "sig", "mine", 1, 0, "test", metric, 50, 100) for metric in ("CA@1", "ASR@1")]
SCORED = pd.DataFrame(SCORES, columns=COLUMNS)


@pytest.mark.parametrize(
    ("scores", "cost", "words"),
    [
        (SCORED.assign(split="other"), "mine,9", ["not CA@1 and ASR@1", "on the split test"]),
        (SCORED.head(1), "mine,9", ["not CA@1 and ASR@1"]),
        (SCORED.drop(columns="metric"), "mine,9", ["budgets.csv: no column metric"]),
        (pd.concat([SCORED, SCORED]), "mine,9", ["budgets.csv, line 4", "there twice"]),
        (SCORED.assign(n=[100, None]), "mine,9", ["budgets.csv, line 3: n is 'nan', empty"]),
        (SCORED, "mine,9\nmine,9", ["cost.csv: no rows, or a defence twice; remove the file"]),
        (SCORED, "", ["cost.csv: no rows, or a defence twice"]),
        (SCORED.assign(n="9" * 400), "mine,9", ["line 2: n is '999", "too large"]),
    ],
)
def test_results_that_do_not_fit_give_no_rows(tmp_path: Path, scores, cost: str, words) -> None:
    scores.to_csv(tmp_path / "budgets.csv", index=False)
    (tmp_path / "cost.csv").write_text(f"defense,seconds\n{cost}\n")
    options = Namespace(results=tmp_path, commit="abc", configfile=[], victims="v.zip")
    refused(lambda: _of_run(options, {"files": {}}, DIGEST), *words)


def test_results_of_other_victims_give_no_rows(tmp_path: Path) -> None:
    SCORED.to_csv(tmp_path / "budgets.csv", index=False)
    (tmp_path / "cost.csv").write_text("defense,seconds\nmine,9\n")
    victim, base = (f"{name}/seed1/model.safetensors" for name in ("runs/sig/none", "clean"))
    for name in (victim, base):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name)
    options = Namespace(results=tmp_path, commit="abc", configfile=[], victims="v.zip")
    files = {victim: sha256(tmp_path / victim), base: "as bf16 in the archive"}
    assert len(_of_run(options, {"files": files}, DIGEST)) == 1
    other = {"files": {victim: "other"}}
    refused(lambda: _of_run(options, other, DIGEST), victim, "not the archive's", "v.zip")
    (tmp_path / victim).unlink()
    refused(lambda: _of_run(options, {"files": files}, DIGEST), victim, "not the archive's")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"victims": "other"}, ["row 1", "other victims"]),
        ({"seed": 9}, ["no such victim"]),
        ({"asr": 12.5}, ["asr is no share of asr_n pictures"]),
        ({"ca": 120.0}, ["ca is no share"]),
        ({"attack": None}, ["attack is empty"]),
        ({"repeat": [0.5] * 12}, ["repeat is no whole number"]),
        ({"budget": -5.0}, ["budget is no number from 0 to 100"]),
        ({"method": "a\nb"}, ["method is no name"]),
        ({"asr_n": [200] + [100] * 11, "asr": 50.0}, ["asr_n is not the same in all rows"]),
        ({"ca_n": 400}, ["row 1", "ca_n is not the same in all rows of this victim"]),
        ({"budget": 3.0}, ["given twice"]),
        ({"commit": "def"}, ["row 1", "another commit; rename the method"]),
        ({"method": "mine", "repeat": range(12)}, ["own scores (method none) are missing"]),
    ],
)
def test_wrong_rows_are_refused(change: dict, words: list[str]) -> None:
    refused(lambda: leaderboard.check(rows().assign(**change), rows(), INDEX, DIGEST), *words)


def test_a_commit_that_looks_like_a_number_stays(tmp_path: Path) -> None:
    rows().assign(commit="0012e567", method="07").to_csv(tmp_path / "rows.csv", index=False)
    found = read_csv(tmp_path / "rows.csv", leaderboard.COLUMNS)
    assert set(found["commit"] + found["method"]) == {"0012e56707"}


def test_victims_that_score_otherwise_are_refused() -> None:
    known = rows()
    near, far = known.assign(asr=known["asr"] + 1), known.assign(asr=known["asr"] + 2)
    leaderboard.check(near, known, INDEX, DIGEST)
    words = ["badnet, seed 1", "asr is 93.0 and 91.0"]
    refused(lambda: leaderboard.check(far, known, INDEX, DIGEST), *words)


def test_new_rows_replace_those_of_the_same_cleaning() -> None:
    known = rows()
    both = leaderboard.merge(known, known.assign(ca=0.0), "last")
    assert len(both) == len(known)
    assert (both["ca"] == 0).all()
    assert (leaderboard.merge(known, known.assign(ca=0.0), "first")["ca"] > 0).all()
    assert len(leaderboard.merge(known, known.assign(victims="other"), "last")) == 2 * len(known)


def test_the_page_has_the_means_with_their_intervals() -> None:
    means = leaderboard.means(rows()).set_index(["method", "budget"])
    assert means.loc[("mine", 3.0), "asr"] == 12
    assert means.loc[("mine", 3.0), "asr_text"] == "12.0 ± 2.5"  # t of 2 degrees: 4.303 / sqrt(3)
    page = rendered("leaderboard.html", rows=means.reset_index().to_dict("records"))
    assert page.count("<tr class") == 4
    assert '<option value="' + DIGEST in page
