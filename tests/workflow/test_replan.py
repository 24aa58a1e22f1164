"""An edit of the code that makes a table or a figure plans these, and no others."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEPT = ("Snakefile", "rules", "workflow_scripts", "taclean", "config", "profiles", "envs")
TARGETS = ("all", "results/figures/retrieval.png", "results/figures/versus.png")
OF_TABLE = {
    "main_table", "spread", "plot_asr_ca", "plot_further_splits", "plot_retrieval", "plot_tradeoff",
    "plot_versus",
}  # fmt: skip
OF_SAMPLES = {"plot_first", "plot_triggers", "plot_embeddings", "plot_recovered"}
EVERY = {"table", "cost", "plot_curves", "plot_subcaptions", "page"} | OF_TABLE | OF_SAMPLES
EDITED, MADE = time.time() - 9000, time.time() - 5000


def snakemake(source: Path, directory: Path, *options: str) -> str:
    result = subprocess.run(
        ["snakemake", "--cores", "1", "--directory", str(directory), *TARGETS, *options],
        env={**os.environ, "PYTHONPATH": str(source)},
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def planned(source: Path, directory: Path) -> set[str]:
    text = snakemake(source, directory, "--dry-run")
    return set(re.findall(r"^(?:local)?rule (\w+):", text, re.MULTILINE)) - {"all"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources that a test may edit, older than any result."""
    folder = tmp_path_factory.mktemp("source")
    for name in KEPT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    for path in folder.rglob("*"):
        os.utime(path, (EDITED, EDITED))
    return folder


@pytest.fixture(scope="module")
def done(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every result is there."""
    folder = tmp_path_factory.mktemp("done")
    outputs = [line.split("\t")[0] for line in snakemake(source, folder, "--summary").splitlines()]
    for output in outputs[1:]:
        (folder / output).parent.mkdir(parents=True, exist_ok=True)
        (folder / output).touch()
        os.utime(folder / output, (MADE, MADE))
    assert planned(source, folder) == set()
    return folder


@pytest.mark.parametrize(
    ("file", "jobs"),
    [
        ("taclean/report/figures/tradeoff.py", {"plot_tradeoff", "page"}),
        ("workflow_scripts/plot_curves.py", {"plot_curves", "page"}),
        (
            "taclean/report/figures/bars.py",
            {"plot_asr_ca", "plot_further_splits", "plot_retrieval", "page"},
        ),
        ("taclean/report/figures/samples.py", OF_SAMPLES | {"page"}),
        ("taclean/results/main_table.py", {"main_table", "page"}),
        ("taclean/results/verdict.py", {"page"}),
        ("taclean/assets/page/page.html", {"page"}),
        ("rules/report/asr_ca.rst", {"page"}),
        ("workflow_scripts/table.py", {"table", "cost", "page"} | OF_TABLE),
        ("taclean/results/cost.py", {"cost"}),
        ("taclean/results/statistics.py", OF_TABLE | {"page"}),
        ("taclean/results/table.py", EVERY),
        ("taclean/report/figures/style.py", EVERY - {"table", "cost", "main_table", "spread"}),
        ("taclean/evaluation/evaluate.py", set()),
    ],
)
def test_an_edit_plans_what_it_draws(source: Path, done: Path, file: str, jobs: set[str]) -> None:
    path = source / file
    with path.open("a", encoding="utf-8") as code:
        code.write("\n# Edited.\n")
    try:
        assert planned(source, done) == jobs
    finally:
        os.utime(path, (EDITED, EDITED))


LOADED = """
import json, re, sys
from pathlib import Path
loaded = {}
for script in sorted(Path("workflow_scripts").glob("*.py")):
    for name in [name for name in sys.modules if name.partition(".")[0] == "taclean"]:
        del sys.modules[name]
    for line in re.findall("^from taclean.* import .*$", script.read_text(), re.MULTILINE):
        exec(line)
    files = {m.__file__ for n, m in sys.modules.items() if n.partition(".")[0] == "taclean"}
    files = {str(Path(file).relative_to(Path.cwd())) for file in files}
    loaded[script.stem] = [file for file in files if not file.endswith("__init__.py")]
print(json.dumps(loaded))
"""


def test_inputs_are_all_modules_that_a_script_loads(source: Path, tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", LOADED],
        env={**os.environ, "PYTHONPATH": str(source)},
        cwd=source,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = json.loads(found.stdout)
    text = snakemake(source, tmp_path, "--dry-run", "--forceall")
    rules = re.findall(r"^(?:local)?rule (\w+):\n    input: (.*)", text, re.MULTILINE)
    inputs = {rule: set(re.findall(r"taclean/[\w/]+\.py", line)) for rule, line in rules}
    assert set(loaded) >= EVERY
    for rule in EVERY:
        assert inputs[rule] == set(loaded[rule]), rule
