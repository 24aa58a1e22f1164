"""Choices on val: trials as entries, the rule of choice on grids made by hand, a small real run;
the largest rate within a budget; the peak when a model is trained further."""

import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from taclean import config as configs
from taclean.config.checks import check
from taclean.report.inputs import read_histories
from taclean.results import histories as made
from taclean.results.histories import GRID, choose, headline, overlay, rates_within
from taclean.results.labels import Look
from taclean.results.table import COLUMNS, RUN
from taclean.stages import stage_config
from taclean.stages.text import shared_name
from tests.helpers import ROOT, jobs, snakemake

DEFAULT = configs.read_yaml(ROOT / "config/config.yaml")


def config(**changes: Any) -> dict[str, Any]:
    tune = {
        "attacks": ["badnet", "wanet"],
        "seeds": [100],
        "within": 3,
        "trials": {
            "ft": [{"train": {"lr": 0.01}}, {"train": None}],
            "taclean": [
                {"train": {"lr": 0.02, "epochs": 5}, "subcaptions": {"kinds": ["noun"]}},
                {"loss": {"lambda_sub": 2.0}},
            ],
        },
    }
    return configs.resolve(configs.merge(DEFAULT, {"tune": tune | changes}))


def stage(values: dict[str, Any], path: str) -> dict[str, Any]:
    return stage_config(check(values), path)


def test_a_trial_is_its_defences_entry_with_what_it_changes() -> None:
    whole = config()
    check(whole)
    own = DEFAULT["defenses"]["taclean"]
    trial = whole["defenses"]["taclean_trial1"]
    assert trial["loss"] == own["loss"]
    assert trial["subcaptions"] == {**own["subcaptions"], "kinds": ["noun"]}
    made = stage(whole, "finetune/badnet/taclean_trial1/seed100")
    assert made["defense"] == "taclean"
    assert made["train"] == {**DEFAULT["finetune"]["train"], "lr": 0.02, "epochs": 5}
    plain, given = (stage(whole, f"finetune/badnet/{name}/seed100") for name in ("ft", "ft_trial2"))
    assert plain | {"stage": ""} == given | {"stage": ""}
    assert configs.resolve(whole) == whole
    assert [*check(whole).trials.values()][1]["overrides"] == {"train": None}


def test_a_trial_of_a_variant_begins_with_the_variant() -> None:
    few = {"taclean_few": {"kind": "taclean", "subcaptions": {"samples": 7}, "label": "Few"}}
    trials = {"taclean_few": [{"loss": {}}]}
    tune = {"attacks": ["badnet"], "seeds": [1], "within": 3, "trials": trials}
    whole = configs.resolve(configs.merge(DEFAULT, {"defenses": few, "tune": tune}))
    check(whole)
    trial = whole["defenses"]["taclean_few_trial1"]
    assert (trial["kind"], trial["subcaptions"]["samples"]) == ("taclean", 7)
    assert "label" not in trial


def test_a_changed_or_added_trial_touches_no_other() -> None:
    trials = config()["tune"]["trials"]
    changed = {**trials, "taclean": [{"train": {"epochs": 9}}, trials["taclean"][1]]}
    more = {name: [*found, {"train": {"epochs": 7}}] for name, found in trials.items()}
    before = config()
    for after in (config(trials=changed), config(trials=more)):
        for name in ("ft_trial1", "ft_trial2", "taclean_trial2"):
            path = f"finetune/badnet/{name}/seed100"
            assert stage(before, path) == stage(after, path)
        for text in ("variants", "subcaptions"):
            shared = shared_name(check(before), text, "taclean_trial2")
            assert shared == shared_name(check(after), text, "taclean_trial2")
            path = f"text/{text}/{shared}/seed100"
            assert stage(before, path) == stage(after, path)


def scores(*rows: tuple[str, int, float, float]) -> pd.DataFrame:
    """A grid of (defence, trial, CA, ASR), each on two attacks that lie 2 points about them."""
    return pd.DataFrame(
        [
            (defense, trial, f'{{"train": {{"lr": 0.00{trial}}}}}', attack, 100, *found)
            for defense, trial, ca, asr in rows
            for attack, by in (("badnet", -2), ("sig", 2))
            for found in [(ca + by, asr + by, 30.0, 88.0 + by, 95.0)]
        ],
        columns=GRID,
    )


TRIALS = scores(
    ("ft", 1, 87.0, 60.0),
    ("ft", 2, 85.0, 20.0),  # exactly three points below the victims
    ("ft", 3, 84.9, 10.0),  # better, and just too far
    ("mine", 1, 80.0, 5.0),
    ("mine", 2, 82.0, 50.0),  # none is near; this one loses least
    ("mine", 3, 70.0, 0.0),
    ("tied", 1, 86.0, 30.0),
    ("tied", 2, 87.0, 30.0),
    ("tied", 3, 87.0, 31.0),
)


def trials_of(table: pd.DataFrame, which: str) -> dict[str, int]:
    return table[table[which]].set_index("defense")["trial"].to_dict()


def test_the_largest_rate_within_the_limit_is_chosen_and_an_oracle_has_the_lowest_asr() -> None:
    table = choose(TRIALS, 3)
    assert trials_of(table, "chosen") == {"ft": 2, "mine": 2, "tied": 3}
    assert trials_of(table, "oracle") == {"ft": 2, "mine": 2, "tied": 2}
    chosen = table[table["chosen"]].set_index("defense")
    assert chosen["kept"].to_dict() == {"ft": True, "mine": False, "tied": True}
    assert chosen.loc["ft", ["CA", "ASR", "victim_CA"]].tolist() == [85.0, 20.0, 88.0]
    wide = choose(TRIALS, 100)
    assert trials_of(wide, "chosen") == {"ft": 3, "mine": 3, "tied": 3}
    assert trials_of(wide, "oracle") == {"ft": 3, "mine": 3, "tied": 2}
    # What a defender cannot see does not matter; of equal rates the highest CA@1 is chosen.
    blind = choose(TRIALS.assign(ASR=range(len(TRIALS), 0, -1)), 3)
    assert trials_of(blind, "chosen") == trials_of(table, "chosen")
    equal = choose(TRIALS.assign(overrides='{"train": null}'), 3)
    assert trials_of(equal, "chosen") == {"ft": 1, "mine": 2, "tied": 2}


def test_what_is_chosen_is_an_overlay_that_says_how(tmp_path: Path) -> None:
    one = TRIALS[TRIALS["defense"] != "tied"].replace({"defense": {"mine": "cleanclip"}})
    assert "; trial 2 has ASR@1 30.0, which no defender sees" in overlay(TRIALS, 3)
    path = tmp_path / "chosen.yaml"
    path.write_text(overlay(one, 3), "utf-8")
    text = path.read_text("utf-8")
    assert text == overlay(one, 3)
    assert "over badnet, sig (seed 100) from 3 trials each:" in text
    assert "# ft: trial 2, CA@1 85.0 (victims 88.0), ASR@1 20.0, TA@1 30.0\n" in text
    assert "ASR@1 50.0, TA@1 30.0; no trial is within 3 points, it loses the least" in text
    chosen = {"train": {"lr": 0.002}}
    assert yaml.safe_load(text) == {"defenses": {"ft": chosen, "cleanclip": chosen}}
    whole = configs.load(ROOT / "config/config.yaml", path)
    assert whole.defenses["ft"].given()["train"]["lr"] == 0.002


def test_the_grid_reads_the_last_epoch_and_the_victim(tmp_path: Path) -> None:
    path = tmp_path / "sig/ft_trial2/seed100/history.csv"
    path.parent.mkdir(parents=True)
    path.write_text("epoch,CA@1,ASR@1,TA@1\n0,88.5,97,1\n1,60,50,10\n2,84,20.5,40\n", "utf-8")
    change = {"train": {"lr": 1e-5}}
    run = {"defense": "ft", "trial": 2, "overrides": change, "attack": "sig", "seed": 100}
    found = made.grid(read_histories([str(path)]), [run])
    (row,) = found.to_dict("records")
    assert (row["CA"], row["ASR"], row["TA"]) == (84, 20.5, 40)
    assert (row["victim_CA"], row["victim_ASR"]) == (88.5, 97)
    assert yaml.safe_load(overlay(found, 9)) == {"defenses": {"ft": change}}


# ---- rates at a budget, and what comes back ------------------------------------------------------

RATES = {
    f"{name}_{n}": (name, rate) for name in ("ft", "par") for n, rate in ((1, 1e-4), (2, 1e-3))
}
# CA@1 on val after each cleaning of seeds 1 and 2, whose victims have 90.
AFTER = {"ft_1": (89, 89), "ft_2": (86, 87), "par_1": (88.9, 80), "par_2": (89.5, 70)}


def histories() -> pd.DataFrame:
    rows = [
        ("badclip", entry, seed, 0, epoch, 90 if epoch == 0 else ca)
        for entry, of_seeds in AFTER.items()
        for seed, ca in zip((1, 2), of_seeds, strict=True)
        for epoch in (2, 0)
    ]
    return pd.DataFrame([*rows, ("badclip", "other", 1, 0, 0, 1)], columns=[*RUN, "epoch", "CA@1"])


@pytest.mark.parametrize(
    ("budget", "wanted"),
    [
        (1, {"ft": (1e-4, 1e-4), "par": (1e-3, 0)}),
        (3, {"ft": (1e-4, 1e-3), "par": (1e-3, 0)}),
        (4, {"ft": (1e-3, 1e-3), "par": (1e-3, 0)}),
        (0, {"ft": (0, 0), "par": (0, 0)}),
        (99, {"ft": (1e-3, 1e-3), "par": (1e-3, 1e-3)}),
    ],
)
def test_the_largest_rate_within_the_budget_counts(budget: float, wanted: dict) -> None:
    found = rates_within(histories(), RATES, budget)
    rates = found.set_index(["method", "seed"])["rate"]
    assert {name: (rates[name, 1], rates[name, 2]) for name in ("ft", "par")} == wanted
    assert set(found.loc[found["rate"] == 0, "defense"]) <= {"none"}
    # ASR on val, which a defender cannot see, changes nothing.
    assert rates_within(histories().assign(**{"ASR@1": range(17)}), RATES, budget).equals(found)


def test_a_victim_beyond_the_budget_keeps_its_scores() -> None:
    scores = {("none", 1): 99.0, ("none", 2): 98.0, ("ft_1", 1): 50.0, ("ft_2", 2): 7.0}
    scores |= {("ft_1", 2): 40.0, ("ft_2", 1): 5.0, ("par_2", 1): 20.0}
    rows = [
        ("badclip", defense, seed, 0, "test", "ASR@1", percent, 100)
        for (defense, seed), percent in scores.items()
    ]
    other = ("badclip", "ft_then", 1, 0, "test", "ASR@1", 33.0, 100)
    table = pd.DataFrame([*rows, other], columns=COLUMNS)
    scores = made.by_budget(table, histories(), RATES, [3, 99], {"badclip": "badclip"})
    assert list(scores.columns) == ["budget", *COLUMNS]
    found = scores[scores["budget"] == 3]
    got = {(row.defense, row.seed): row.percent for row in found.itertuples()}
    wanted = {("ft", 1): 50, ("ft", 2): 7, ("par", 1): 20, ("par", 2): 98, ("ft_then", 1): 33}
    assert got == wanted | {("none", 1): 99, ("none", 2): 98}  # other entries stay
    lines = [line for line in headline(scores, Look()).splitlines() if line.startswith("| ")]
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines] == [
        ["Budget", "Attack", "No defence", "ft", "par", "ft then"],
        ["3", "badclip", "98.5", "28.5", "59.0", "33.0"],
        ["99", "badclip", "98.5", "6.0", "20.0", "33.0"],
        ["Budget", "Attack", "ft", "par"],  # what "ft then" has more, on victim 1
        ["3", "badclip", "-17.0", "+13.0"],
        ["3", "mean", "-17.0", "+13.0"],
        ["99", "badclip", "+28.0", "+13.0"],
        ["99", "mean", "+28.0", "+13.0"],
    ]
    failed = scores.assign(failed=scores["defense"].map({"par": "no trigger"}))
    told = headline(failed, Look(defenses={"par": ("P|R", "#000000")}))
    assert "Could not work, so that" in told
    assert ": P|R on badclip (no trigger)." in told
    assert r"| P\|R |" in re.sub(" +", " ", told)


def test_defences_are_compared_at_the_same_loss_of_accuracy() -> None:
    scores = {"none": (90, 80), "ft_1": (88, 60), "ft_2": (84, 20), "par_1": (86, 50)}
    scores["par_2"] = (87, 10)  # a loss that falls again
    rows = [
        ("sig", defense, seed, 0, "test", metric, percent - seed, 100)
        for seed in (1, 2, 3)
        for defense, both in scores.items()
        for metric, percent in zip(("CA@1", "ASR@1"), both, strict=True)
    ]
    table = pd.DataFrame([*rows, ("sig", "other", 1, 0, "test", "CA@1", 1, 100)], columns=COLUMNS)
    runs = made.cleanings(table, RATES)
    assert runs.set_index(["method", "rate", "seed"])["lost"]["ft", 1e-3, 2] == 6
    found = made.at_loss(runs, [1, 3, 9], "test")
    cells = {
        (row.defense, row.budget): row.percent for row in found[found["seed"] == 3].itertuples()
    }
    assert cells == {
        ("ft", 1): 67, ("ft", 3): 47, ("ft", 9): 17, ("par", 1): 69.5, ("par", 3): 54.5,
        ("par", 9): 7,
    }  # fmt: skip
    # A variant is compared, too.
    text = headline(found, Look(variants=frozenset({"ft"})), "Budget: lost.")
    assert "| 3 | sig | 48.0 ± 2.5 | 55.5 ± 2.5 |" in " ".join(text.split())
    assert "| 3 | sig | **+7.5 (+7.5 to +7.5)** |" in " ".join(text.split())
    assert "Budget: lost." in text


def test_the_peak_is_the_first_highest_score() -> None:
    columns = ["attack", "defense", "seed", "repeat", "step", "CA@1", "ASR@1"]
    courses = {"badclip": [3.0, 40.0, 61.5, 61.5, 20.0], "clean": [math.nan] * 5}
    rows = [
        (attack, "par_then", 7, 0, step, 80 + step / 10, asr)
        for attack, course in courses.items()
        for step, asr in zip((20, 0, 5, 10, 300), [course[3], *course[:3], course[4]], strict=True)
    ]
    poisoned, never = made.rebound(pd.DataFrame(rows, columns=columns)).itertuples(index=False)
    assert tuple(poisoned) == ("badclip", "par_then", 7, 0, 3.0, 61.5, 58.5, 10, 20.0, 80.0, 110.0)
    assert list(never._fields) == made.REBOUND
    assert math.isnan(never.rise)
    assert (never.ca_start, never.ca_end) == (80, 110)


# ---- a small real run ----------------------------------------------------------------------------

TUNE = """
tune:
  attacks: [badnet]
  seeds: [100]
  within: 3
  trials:
    ft: [{train: {lr: 1.0e-4}}, {train: {lr: 1.0e-3}}]
    taclean: [{train: {lr: 1.0e-4}}, {loss: {lambda_sub: LAMBDA}}]
"""


def tuned(folder: Path, weight: float, *options: str) -> str:
    files, text = [ROOT / "config/test/smoke.yaml"], TUNE.replace("LAMBDA", str(weight))
    return snakemake(folder, "tune", *options, files=files, text=text)


def test_a_tuning_plans_trainings_and_no_scores(tmp_path: Path) -> None:
    said = tuned(tmp_path, 2.0, "--dry-run")
    counts = jobs(said)
    assert (counts["pretrain"], counts["finetune"]) == (1, 4)
    assert counts["text"] == 2  # both trials share theirs
    assert "evaluate" not in counts
    assert "pack/test" not in said


@pytest.mark.slow
def test_a_tuning_runs_and_a_changed_trial_runs_alone(tmp_path: Path) -> None:
    tuned(tmp_path, 2.0)
    folder = tmp_path / "results/tune"
    names = {"grid.csv", "chosen.yaml", "tradeoff.pdf", "tradeoff.png"}
    assert {file.name for file in folder.iterdir()} == names
    found = pd.read_csv(folder / "grid.csv")
    assert list(found.columns) == GRID
    assert found[["defense", "trial"]].to_numpy().tolist() == [
        ["ft", 1], ["ft", 2], ["taclean", 1], ["taclean", 2],
    ]  # fmt: skip
    assert found["victim_CA"].nunique() == 1
    for row in found.to_dict("records"):
        run = f"results/runs/badnet/{row['defense']}_trial{row['trial']}/seed100"
        assert row["CA"] == pd.read_csv(tmp_path / run / "history.csv")["CA@1"].iloc[-1]
    configs.load(ROOT / "config/config.yaml", folder / "chosen.yaml")
    text = tuned(tmp_path, 3.0, "--dry-run")
    planned = re.findall(r"^(?:local)?rule (\w+):", text, re.MULTILINE)
    assert planned == ["finetune", "tune_grid", "tune"]
    assert "defense=taclean_trial2" in text
