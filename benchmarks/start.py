"""Time the start of each stage's process against importing open_clip alone.

Each stage gets files that do not exist, and ends when it opens the first one: how soon a user's
mistake is told. A stage that needs open_clip imports it after that, in the time of the reference.
A stage that Snakemake forks has it already (workflow_scripts/forks.py).
"""

import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.common import Row, compare, row
from taclean import config as configs
from workflow_scripts import forks

REPEATS = 5
BARE = [sys.executable, "-c", "import open_clip"]
# The path of the stage's config, if the stage has one, and the options that name files.
STAGES = {
    "train": ("base", "data", "val", "checkpoints", "out", "history"),
    "evaluate": ("evaluate/{attack}/none/seed0", "model", "splits", "out"),
    "trigger": ("trigger/{fitted}/seed0", "model", "images", "pretrain", "out", "report"),
    "poison": ("poison/{attack}/seed0", "data", "out"),
    "text": ("text/{text}/{defense}/seed0", "data", "out"),
    "gate": ("", "attack", "history", "out"),
}


def commands(folder: Path) -> dict[str, list[str]]:
    """Return a command for each of STAGES as the rules call it, with missing files."""
    config, file = configs.load(configs.DEFAULT), folder / "config.json"
    file.write_text(json.dumps(config.given()), "utf-8")
    names: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for attack in config.run.attacks:
        names["fitted" if config.attacks[attack].fits else "attack"] = attack
    for defense in config.run.defenses:
        for text in config.defenses[defense].method.texts:
            names |= {"text": text, "defense": defense}
    for stage, (path, *options) in STAGES.items():
        command = [sys.executable, "-m", "taclean", stage]
        if path:
            command += ["--config", str(file), "--stage", path.format(**names)]
        for option in options:
            command += [f"--{option}", str(folder / "none" / f"{option}.safetensors")]
        found[stage] = command
    return found


def start(command: list[str]) -> None:
    """Run a command that ends at a file that does not exist.

    Raises:
        RuntimeError: the command ended in another way.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 2 or "no such file" not in done.stderr.lower():
        raise RuntimeError(f"{command}: exit status {done.returncode}: {done.stderr[-300:]}")


def main() -> list[Row]:
    """Time the start of every stage, by itself and as Snakemake forks it."""
    rows, ways = [], {"": sys.executable}
    if programs := forks.programs():
        ways[", forked"] = str(programs / "python")
    with tempfile.TemporaryDirectory() as folder:
        for stage, (_, *options) in commands(Path(folder)).items():
            for way, python in ways.items():
                command = [python, *options]
                start(command)  # the first ones take longer, until the server has imported all
                mine, other = compare(
                    partial(start, command), partial(subprocess.run, BARE, check=True), REPEATS
                )
                what = f"start of {stage}{way}, against importing open_clip"
                rows.append(row(what, mine, other, "s", other / mine))
    return rows
