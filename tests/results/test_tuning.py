"""Tuning: trials as entries, the rule of choice on grids made by hand, and a small real run."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from taclean import config as configs
from taclean.config.checks import check
from taclean.report.figures import style
from taclean.report.figures.tuning import front, tuning
from taclean.results.labels import Look
from taclean.results.tuning import GRID, choose, grid, overlay
from taclean.stages import stage_config
from taclean.stages.text import shared_name
from taclean.util.errors import UserError
from tests.helpers import ROOT, jobs, snakemake

DEFAULT = configs.read_yaml(ROOT / "config/config.yaml")


def config(**changes: Any) -> dict[str, Any]:
    tune = {
        "attacks": ["badnet", "wanet"],
        "seeds": [100],
        "within": 3,
        "trials": {
            "ft": [{"train": {"lr": 0.01}}, {}],
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
    equal = choose(TRIALS.assign(overrides="{}"), 3)
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
    path = tmp_path / "history.csv"
    path.write_text("epoch,CA@1,ASR@1,TA@1\n0,88.5,97,1\n1,60,50,10\n2,84,20.5,40\n", "utf-8")
    change = {"train": {"lr": 1e-5}}
    run = {"defense": "ft", "trial": 2, "overrides": change, "attack": "sig", "seed": 100}
    (row,) = grid([path], [run]).to_dict("records")
    assert (row["CA"], row["ASR"], row["TA"]) == (84, 20.5, 40)
    assert (row["victim_CA"], row["victim_ASR"]) == (88.5, 97)
    text = overlay(grid([path], [run]), 9)
    assert yaml.safe_load(text) == {"defenses": {"ft": change}}
    path.write_text("epoch,CA@1\n0,88\n", "utf-8")
    with pytest.raises(UserError, match=r"history\.csv: no column ASR@1, TA@1"):
        grid([path], [run])


def test_the_line_joins_trials_that_no_other_beats(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(style, "DPI", 50)
    table = choose(TRIALS, 3)
    best = {d: front(table[table["defense"] == d])["trial"].tolist() for d in ("mine", "tied")}
    assert best == {"mine": [3, 1, 2], "tied": [2]}
    style.save(tuning(TRIALS, 3, Look()), [tmp_path / "t.png", tmp_path / "t.pdf"])
    assert (tmp_path / "t.png").stat().st_size > 5000


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
    path = folder / "tune.yaml"
    path.write_text(TUNE.replace("LAMBDA", str(weight)), "utf-8")
    return snakemake(folder, "tune", *options, files=[ROOT / "config/test/smoke.yaml", path])


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
        history = pd.read_csv(tmp_path / run / "history.csv")
        assert row["CA"] == history["CA@1"].iloc[-1]
    configs.load(ROOT / "config/config.yaml", folder / "chosen.yaml")
    text = tuned(tmp_path, 3.0, "--dry-run")
    planned = re.findall(r"^(?:local)?rule (\w+):", text, re.MULTILINE)
    assert planned == ["finetune", "tune_grid", "tune"]
    assert "defense=taclean_trial2" in text
