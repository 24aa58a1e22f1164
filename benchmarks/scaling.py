"""Measure the cost of 1x, 2x and 4x as many rows, and the memory of packing.

The ratio is the cost per row divided by the cost per row at 1x: a linear cost has a ratio of 1.
Constant costs, such as the start of workers or the last checkpoint, make it smaller.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.common import Row, row, seconds
from benchmarks.data_wait import BATCH, MODEL, SIZE, run
from benchmarks.packing import pack, shards
from benchmarks.reading import packed
from benchmarks.reference import ATTACK, PLAINEST
from taclean.attacks import make_trigger
from taclean.clip.models import create
from taclean.evaluation.embeddings import embed
from taclean.evaluation.zeroshot import head, prompt_tokens, scores

UNIT = 512  # rows at 1x
STEPS = (1, 2, 4)


def linear(what: str, cost: Callable[[int], float]) -> list[Row]:
    """Return rows for 1x, 2x and 4x, with the seconds per 1,000 rows and the ratio to 1x."""
    cost(UNIT)  # warm-up
    # The faster of two runs: other work on the machine can only add time.
    took = [min(cost(UNIT * step), cost(UNIT * step)) for step in STEPS]
    per_row = [own / (UNIT * step) * 1e3 for own, step in zip(took, STEPS, strict=True)]
    return [
        row(
            f"{what}, {UNIT * step} rows (ratio to {UNIT})",
            own,
            per_row[0],
            "s/1000 rows",
            own / per_row[0],
        )
        for step, own in zip(STEPS, per_row, strict=True)
    ]


def anonymous(pid: int) -> int:
    """Return the memory in kB of a process and its children, without droppable pages of files."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1])
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(anonymous(int(p)) for p in (task / "children").read_text("utf-8").split())
    except OSError:  # the process has ended
        pass
    return total


def packing_memory(folder: Path, rows: int) -> float:
    """Return the peak memory in MB of packing `rows` rows in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scaling", str(folder), str(rows)]
    process, most = subprocess.Popen(command), 0
    while process.poll() is None:
        most = max(most, anonymous(process.pid))
        time.sleep(0.01)
    if process.returncode:
        raise RuntimeError(f"{command}: exit status {process.returncode}")
    return most / 1e3


def pack_some(folder: Path, rows: int, target: Path) -> None:
    """Pack the first `rows` rows of the shards in `folder`."""
    names = sorted(path.name for path in folder.glob("*.tar"))
    pack(folder, names[: rows // 128], target)


def main() -> list[Row]:
    """Measure evaluation, training and packing."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder, count = Path(name), iter(range(100))
        pairs = packed(folder / "packed", UNIT * max(STEPS), SIZE)
        model = create(MODEL).eval()
        prompts = head(model, prompt_tokens(MODEL, ["dog", "cat"], ["a {}."]))
        trigger = {"t": make_trigger(ATTACK)}

        def evaluate(rows: int) -> float:
            part = pairs.take(np.arange(rows))
            return seconds(lambda: scores(embed(model, part, trigger, 1), prompts))

        rows += linear(f"evaluation, {MODEL} {SIZE} px", evaluate)
        rows += linear(
            f"training, {PLAINEST} {MODEL} {SIZE} px batch {BATCH}",
            lambda rows: run(pairs.take(np.arange(rows)), folder / f"run{next(count)}"),
        )
        shards(folder, UNIT * max(STEPS))
        rows += linear(
            "packing, 224 px",
            lambda rows: seconds(lambda: pack_some(folder, rows, folder / f"pack{next(count)}")),
        )
        low, high = (packing_memory(folder, UNIT * step) for step in (STEPS[0], STEPS[-1]))
        against = f"(ratio to {UNIT}; file pages left out)"
        what = f"peak memory of packing, {UNIT * STEPS[-1]} rows {against}"
        rows.append(row(what, high, low, "MB", high / low))
    return rows


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        pack_some(Path(sys.argv[1]), int(sys.argv[2]), Path(place) / "packed")
