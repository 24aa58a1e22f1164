"""The plan: its sums against plain arithmetic, and rates that are measured for real."""

from pathlib import Path

import pytest

from taclean import config as configs
from taclean.cli import main
from taclean.training import estimate
from tests.helpers import ROOT

RATES = {
    "machine": "made up",
    "pack": 100.0,
    "train": {"pretrain": 50.0, "ft": 50.0, "cleanclip": 25.0, "taclean": 20.0},
    "evaluate": 200.0,
    "prompts": 1000.0,
}


def load(*overlays: str, **changes: object) -> configs.Config:
    files = (ROOT / "config/config.yaml", *(ROOT / "config" / overlay for overlay in overlays))
    return configs.check(configs.merge(configs.read(*files), changes))


def test_hours_are_rows_over_rate() -> None:
    same = {"badclip": {"train": {"epochs": 5}}}  # as the other attacks
    paper = load("paper.yaml", run={"seeds": [0]}, attacks=same)
    table, disk = estimate.plan(paper, RATES)
    rows = table.set_index("stage")
    assert "base" not in rows.index  # its weights are imported
    assert rows.loc["pretrain badnet", "rows"] == 500_000 * 5
    assert rows.loc["pretrain badnet", "hours"] == pytest.approx(500_000 * 5 / 50 / 3600)
    assert rows.loc["finetune taclean", "jobs"] == 6
    assert rows.loc["finetune taclean", "hours"] == pytest.approx(100_000 * 10 / 20 / 3600)
    # Without an attack: clean and six triggers; attacked: clean and one. 4: none and 3 defences.
    assert rows.loc["evaluate clean", ["jobs", "rows"]].tolist() == [1, 7 * 50_000]
    assert rows.loc["evaluate attacked", ["jobs", "rows"]].tolist() == [6 * 4, 2 * 50_000]
    # Before the first epoch and after each: 6 pretrainings of 5, 3 x 6 fine-tunes of 10.
    assert rows.loc["validate", "rows"] == 5000 * (6 * 2 * 6 + 3 * 6 * 2 * 11)
    heads = 1 + 6 * 4 + 6 * 6 + 3 * 6 * 11
    assert rows.loc["zero-shot head", ["jobs", "rows"]].tolist() == [heads, 80_000]
    assert rows.loc["pack pretrain", "hours"] == pytest.approx(500_000 / 100 / 3600)
    assert (table.total_hours == table.jobs * table.hours).all()
    pixels = (500_000 + 100_000 + 10_000 + 5_000 + 50_000) * 3 * 224 * 224
    assert disk["packed"] == pytest.approx(pixels / 1e9, rel=0.01)
    assert disk["memory"] == pytest.approx(4 * 102e6 * 4 / 1e9, rel=0.02)  # RN50: 102 M weights


def test_seeds_multiply_what_depends_on_them() -> None:
    one, three = (estimate.plan(load(*files), RATES)[0] for files in ((), ("seeds.yaml",)))
    assert (three.jobs[three.stage == "base"] == 1).all()
    seeded = one.stage.str.startswith(("pretrain", "finetune", "trigger", "evaluate"))
    assert (three.jobs[seeded] == 3 * one.jobs[seeded]).all()


def test_seeds_with_base_models_of_their_own_train_as_many() -> None:
    (_, shared), (table, disk) = (
        estimate.plan(load("seeds.yaml", base={"per_seed": own}), RATES) for own in (False, True)
    )
    assert (table.jobs[table.stage == "base"] == 3).all()
    assert disk["results"] > shared["results"]


def test_repeats_multiply_cleanings_and_their_scores() -> None:
    one, three = (estimate.plan(load(run={"repeats": n}), RATES)[0] for n in (1, 3))
    jobs, more = (table.set_index("stage")["jobs"] for table in (one, three))
    cleanings = jobs.index.str.startswith("finetune")
    assert (more[cleanings] == 3 * jobs[cleanings]).all()
    assert more["pretrain badnet"] == jobs["pretrain badnet"]
    assert more["evaluate clean"] == 1
    assert more["evaluate attacked"] == 6 * (1 + 3 * 3)


def test_controls_are_cleaned_where_asked_for() -> None:
    table = estimate.plan(load(run={"controls": True}), RATES)[0]
    jobs = table.set_index("stage")["jobs"]
    assert jobs["finetune taclean"] == 7
    assert jobs["evaluate clean"] == 4


def test_rates_are_measured_here(tmp_path: Path, capsys) -> None:
    overlay = tmp_path / "small.yaml"
    overlay.write_text("finetune: {train: {batch: 8}}\n", "utf-8")
    main(["plan", "--config", str(overlay)])
    shown = capsys.readouterr().out
    assert "One after another:" in shown
    assert "Memory of a training job:" in shown
