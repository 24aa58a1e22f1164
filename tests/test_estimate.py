"""The plan: its sums against plain arithmetic, and rates that are measured for real."""

import time
from pathlib import Path

import pytest

from taclean import config as configs
from taclean import estimate
from taclean.cli import main
from tests.helpers import ROOT

RATES = {
    "machine": "made up",
    "pack": 100.0,
    "train": {"pretrain": 50.0, "ft": 50.0, "cleanclip": 25.0, "taclean": 20.0},
    "evaluate": 200.0,
    "validate": 400.0,
    "prompts": 1000.0,
    "gpu_memory": 8_700_000_000,
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
    validated = 5000 * (6 * 2 * 6 + 3 * 6 * 2 * 11)
    assert rows.loc["validate", ["rows", "hours"]].tolist() == [validated, validated / 400 / 3600]
    heads = 1 + 6 * 4 + 6 * 6 + 3 * 6 * 11
    assert rows.loc["zero-shot head", ["jobs", "rows"]].tolist() == [heads, 80_000]
    assert rows.loc["pack pretrain", "hours"] == pytest.approx(500_000 / 100 / 3600)
    assert (table.total_hours == table.jobs * table.hours).all()
    pixels = (500_000 + 100_000 + 10_000 + 5_000 + 50_000) * 3 * 224 * 224
    assert disk["packed"] == pytest.approx(pixels / 1e9, rel=0.01)
    assert disk["memory"] == pytest.approx(4 * 102e6 * 4 / 1e9, rel=0.02)  # RN50: 102 M weights


SEEDS = {"run": {"seeds": [0, 1, 2]}}


@pytest.mark.parametrize(
    ("changes", "jobs"),
    [
        ({}, {"base": 1, "pretrain badnet": 1, "finetune ft": 6, "evaluate attacked": 24}),
        (SEEDS, {"base": 1, "pretrain badnet": 3, "trigger ssba": 3, "finetune ft": 18}),
        ({**SEEDS, "base": {"per_seed": True}}, {"base": 3}),
        ({"run": {"repeats": 3}}, {"pretrain badnet": 1, "finetune ft": 18, "evaluate clean": 1}),
        ({"run": {"repeats": 3}}, {"evaluate attacked": 6 * (1 + 3 * 3)}),
        ({"run": {"controls": True}}, {"finetune taclean": 7, "evaluate clean": 4}),
    ],
)
def test_seeds_repeats_and_controls_multiply_what_depends_on_them(changes, jobs) -> None:
    table = estimate.plan(load(**changes), RATES)[0].set_index("stage")["jobs"]
    assert table[list(jobs)].to_dict() == jobs


@pytest.mark.parametrize(("size", "shown"), [(None, "of unknown size"), (246 * 10**9, "246.0 GB")])
def test_the_report_has_the_download_and_the_memory_of_the_gpu(monkeypatch, size, shown) -> None:
    monkeypatch.setattr(estimate, "bytes_to_fetch", lambda spec, folder: size)
    text = estimate.report(load("paper.yaml"), RATES)
    assert f"download of pixparse/cc3m-wds {shown}" in text
    assert "GPU memory: 8.7 GB" in text


def test_a_rate_is_that_of_the_steps_alone(monkeypatch) -> None:
    wait = {"muon": 0.2, "adamw": 0.1}  # the base model's optimiser, and a cleaning's
    step = lambda self: time.sleep(wait[self.settings.optimizer])  # noqa: E731
    monkeypatch.setattr(estimate.Training, "step", step)
    took = {"fp32": [1.0, 0.4], "auto": [1.0, 0.2]}  # a first call takes longer

    def embedded(*given, precision, **more):
        time.sleep(took[precision].pop(0))

    monkeypatch.setattr(estimate, "embed", embedded)
    monkeypatch.setattr(estimate, "scores", lambda *given: None)
    small = {"finetune": {"train": {"batch": 8}}, "run": {"defenses": ["ft"]}}
    rates = estimate.measure(load(**small, evaluate={"precision": "fp32"}))
    assert rates["train"]["ft"] == pytest.approx(80, rel=0.3)
    assert rates["train"]["base"] == pytest.approx(40, rel=0.3)
    assert rates["evaluate"] == pytest.approx(64 / 0.4, rel=0.3)
    assert rates["validate"] == pytest.approx(64 / 0.2, rel=0.3)


def test_rates_are_measured_here(tmp_path: Path, capsys) -> None:
    overlay = tmp_path / "small.yaml"
    overlay.write_text("finetune: {train: {batch: 8}}\n", "utf-8")
    main(["plan", "--config", str(overlay)])
    shown = capsys.readouterr().out
    assert "One after another:" in shown
    assert "Memory of a training job:" in shown
