"""The tutorial as a user follows it: victims are frozen, a stranger's defence gets its row."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest

from taclean import config as configs
from taclean.config import registry
from taclean.results.labels import label_of, look_of
from taclean.stages import bench, recipe, stage_config
from tests.helpers import ROOT, environment, forks, jobs, refused, run, snakemake
from tools.notebook import PAGE, notebook

SMALL = "config/test/smoke.yaml"
NOTEBOOK = json.loads(PAGE.with_suffix(".ipynb").read_text("utf-8"))
TEMPLATE = ROOT / "examples/my_defence.py"


def options(file: Path | str, **more: Any) -> Any:
    given = {"victims": None, "attacks": None, "seeds": None, "configfile": []}
    return SimpleNamespace(file=str(file), **given | more)


def test_the_notebook_is_the_page() -> None:
    assert notebook(PAGE.read_text("utf-8")) == NOTEBOOK


def test_a_file_of_the_user_becomes_the_last_defence(tmp_path: Path) -> None:
    values = configs.read(configs.DEFAULT, ROOT / "config/bench.yaml")
    own = bench.overlay(options(TEMPLATE, seeds=[1, 2]))
    config = configs.check(configs.resolve(configs.merge(values, own)))
    assert config.run.defenses == ["ft", "cleanclip", "taclean", "my_defence"]
    assert config.run.seeds == [1, 2]
    path = "finetune/badnet/my_defence_rate1/seed1"
    before = stage_config(config, path)
    assert before["defense"] == str(TEMPLATE)
    copy = tmp_path / "my_defence.py"
    copy.write_text(TEMPLATE.read_text("utf-8") + "\n# another line\n", "utf-8")
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "defenses: {my_defence: {loss: {weight: 2.0}}}\nrun: {defenses: [ft, my_defence]}"
    )
    own = bench.overlay(options(copy, configfile=[mine]))
    assert own["run"]["defenses"] == ["ft", "my_defence"]
    config = configs.check(configs.resolve(configs.merge(values, own)))
    registry.own_code.cache_clear()  # as in another process
    assert stage_config(config, path)["code"] != before["code"]  # so that it is trained again


def test_an_edit_during_a_run_keeps_the_planned_digest_and_odd_names_their_label(tmp_path) -> None:
    file = tmp_path / "my-own défence.py"
    file.write_text(TEMPLATE.read_text("utf-8"), "utf-8")
    values = configs.read(configs.DEFAULT, ROOT / "config/bench.yaml")
    own = bench.overlay(options(file))
    config = configs.check(configs.resolve(configs.merge(values, own)))
    name = config.run.defenses[-1]
    assert look_of(config)["defenses"][name]["label"] == "My defence"
    rate = f"{name}_rate1"
    assert label_of(rate, config.defenses[rate]) == "My defence rate1"
    planned = recipe(config, path := f"finetune/badnet/{name}_rate1/seed201")
    file.write_text(file.read_text("utf-8") + "\n", "utf-8")
    assert recipe(config, path) == planned  # a job, a process of its own, finds another and stops
    registry.own_code.cache_clear()
    assert recipe(config, path) != planned


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("mine.py", None, ["there is no defence", "mine.py"]),
        ("ft.py", TEMPLATE.read_text("utf-8"), ["ft is a defence of taclean"]),
        ("json.py", TEMPLATE.read_text("utf-8"), ["json.py: cannot be imported", "named json"]),
        ("mine.py", "import nothing_there", ["mine.py: cannot be imported", "(line 1)"]),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, name: str, text: str | None, words: list) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, "utf-8")
    refused(lambda: bench.overlay(options(tmp_path / name)), *words)


def test_paths_in_the_config_are_relative_to_the_folder_of_the_run(tmp_path, monkeypatch) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("attacks: {mine: {kind: ../mine.py, poisoned: 9, gate: 0}}", "utf-8")
    shutil.copy(ROOT / "taclean/attacks/badnet.py", tmp_path / "mine.py")
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.setattr(subprocess, "Popen", Mock(side_effect=InterruptedError))
    given = {"attacks": ["mine"], "configfile": [own], "directory": tmp_path / "bench"}
    with pytest.raises(InterruptedError):  # not before the chain starts
        bench.run(options(TEMPLATE, cores="1", **given))


@pytest.mark.slow
def test_the_tutorial_ends_with_a_row_and_a_figure(tmp_path: Path) -> None:
    cells = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    script = "\n\n".join(cells).replace("config/quick.yaml", f"{tmp_path}/small.yaml")
    small = configs.read_yaml(ROOT / SMALL)
    small["run"] = {"attacks": ["badnet"], "rates": [1e-3], "budgets": [90]}
    (tmp_path / "small.yaml").write_text(json.dumps(small), "utf-8")
    for name in ("config", "Snakefile", "rules", "taclean", "workflow_scripts", "profiles"):
        (tmp_path / name).symlink_to(ROOT / name)
    own = environment() | {"PATH": forks(), "MPLBACKEND": "agg"}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=own, text=True,
                          capture_output=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pretrain/badnet/seed201" in done.stdout
    assert "Near" in done.stdout
    assert "Left out, because the attack did not take" in done.stdout  # of so few steps
    scores = pd.read_csv(tmp_path / "tutorial/results/budgets.csv", keep_default_na=False)
    assert {"none", "ft", "cleanclip", "taclean", "near"} == {*scores["defense"]}
    assert (tmp_path / "tutorial/asr.png").stat().st_size > 1000
    # Another folder takes the archive and trains no victim; without it, all would be planned.
    archive = tmp_path / "tutorial/results/victims.zip"
    other = tmp_path / "frozen.yaml"
    other.write_text(json.dumps({"run": {"victims": str(archive)}}), "utf-8")
    files = [ROOT / "config/bench.yaml", tmp_path / "small.yaml", other]
    planned = jobs(snakemake(tmp_path / "other", "-n", files=files))
    assert not {"base", "clean_base", "pretrain", "poison"} & set(planned)
    assert (planned["frozen"] > 0, planned["pack_first"]) == (True, 1)  # val alone
    planned = jobs(snakemake(tmp_path / "other", "-n", "detect", files=files))
    assert planned["poison"] == planned["detect_victim"] > 0  # whose rows the archive lacks
    assert "pretrain" not in planned
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(json.dumps({"attacks": {"badnet": {"poisoned": 7}}}), "utf-8")
    said = snakemake(tmp_path / "other", "-n", files=[*files, wrong], fails=True)
    assert "run.victims" in said
    assert "differs in poison.changed" in said


def test_bench_says_what_is_wrong_in_a_line() -> None:
    done = run(sys.executable, "-m", "taclean", "bench", os.devnull, fails=True)
    assert done.stderr.splitlines() == [
        f"taclean bench: error: {os.devnull}: no Python file; give a file of one class, NAME.py"
    ]
