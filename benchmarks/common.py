"""Rows of results and their CSV, timing in turns, and artificial data like CC3M's."""

import csv
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from taclean.util.files import replacing
from taclean.util.machine import processor

CSV = Path(__file__).with_name("results.csv")
WORDS = (
    "actor artist person city beach night view game team player front young house garden water "
    "red little blue old summer dress stage event mountain forest lake car street design wall"
).split()


@dataclass(frozen=True)
class Row:
    """One measurement; `ratio` is how many times better ours is, unless `what` says otherwise."""

    machine: str
    what: str
    ours: str
    reference: str
    ratio: str
    unit: str


def row(what: str, ours: float, reference: float | None, unit: str, ratio: float | None) -> Row:
    """Return a row of this machine, with numbers of at most four digits, and print it."""

    def short(value: float | None) -> str:
        return "" if value is None else f"{value:.4g}"

    made = Row(machine(), what, short(ours), short(reference), short(ratio), unit)
    against = f", reference {made.reference}" if made.reference else ""
    print(f"{what}: {made.ours} {unit}{against}, ratio {made.ratio}", flush=True)
    return made


def device() -> torch.device:
    """Return the GPU, or the CPU where there is no GPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def machine() -> str:
    """Return the GPU's name, or the CPU's model and the number of usable cores."""
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return torch.cuda.get_device_name() + (f" x{count}" if count > 1 else "")
    return f"{processor()}, {cores()} cores"


def read(path: Path) -> list[Row]:
    """Read a CSV of results; return no rows if the file is missing."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [Row(**entry) for entry in csv.DictReader(file)]


def write(path: Path, rows: Sequence[Row], everything: bool = False) -> None:
    """Replace the rows of the same machine and `what` in the CSV, or add them.

    With `everything`, all older rows of the machines in `rows` are deleted.
    """
    machines = {r.machine for r in rows if everything}
    kept = (r for r in read(path) if r.machine not in machines)
    table = {(r.machine, r.what): r for r in (*kept, *rows)}
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(field.name for field in fields(Row))
        out.writerows(map(astuple, table.values()))


def seconds(call: Callable[[], object]) -> float:
    """Return the wall time of one call, including the GPU's queue."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def compare(
    ours: Callable[[], object], reference: Callable[[], object], repeats: int
) -> tuple[float, float]:
    """Return the median seconds of both calls, timed in turns after one warm-up each."""
    ours(), reference()
    pairs = [(seconds(ours), seconds(reference)) for _ in range(repeats)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of a call without a reference, after one warm-up."""
    call()
    return statistics.median(seconds(call) for _ in range(repeats))


def captions(count: int, seed: int = 0) -> list[str]:
    """Draw captions as long as CC3M's: mean 10.3 words, deviation 4.5 (Sharma et al. 2018)."""
    rng = np.random.default_rng(seed)
    lengths = rng.lognormal(2.245, 0.418, count).round().clip(3, 40).astype(int)
    return [" ".join(rng.choice(WORDS, length)) for length in lengths]


def photos(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Draw (count, height, width, 3) uint8: smooth shapes with grain, about as hard as photos."""
    generator = torch.Generator().manual_seed(seed)

    def noise(side: int) -> torch.Tensor:
        small = torch.rand(count, 3, side, side, generator=generator)
        return F.interpolate(small, (height, width), mode="bilinear")

    x = 0.6 * noise(6) + 0.3 * noise(40) + 0.1 * noise(min(height, width) // 2)
    return (x * 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
