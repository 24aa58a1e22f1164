"""What the topics share: rows and their CSV, interleaved timing, and material of CC3M's kind."""

from __future__ import annotations

import csv
import os
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from taclean.util.files import replacing

CSV = Path(__file__).with_name("results.csv")
WORDS = (
    "actor artist person city beach night view game team player front young house garden water "
    "red little blue old summer dress stage event mountain forest lake car street design wall"
).split()


@dataclass(frozen=True)
class Row:
    """One measurement. `ratio` says how many times better ours is, unless `what` says otherwise."""

    machine: str
    what: str
    ours: str
    reference: str
    ratio: str
    unit: str


def row(what: str, ours: float, reference: float | None, unit: str, ratio: float | None) -> Row:
    """Make a row of this machine with four figures at most."""

    def short(value: float | None) -> str:
        return "" if value is None else f"{value:.4g}"

    made = Row(machine(), what, short(ours), short(reference), short(ratio), unit)
    against = f", reference {made.reference}" if made.reference else ""
    print(f"{what}: {made.ours} {unit}{against}, ratio {made.ratio}", flush=True)
    return made


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def machine() -> str:
    """The GPU's name, or the CPU's model and how many cores are used."""
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return torch.cuda.get_device_name() + (f" x{count}" if count > 1 else "")
    info = Path("/proc/cpuinfo").read_text("utf-8")
    found = {
        key: match[1].strip()
        for key in ("model name", "cpu family", "model")
        if (match := re.search(rf"^{key}\s*:(.*)$", info, re.MULTILINE))
    }
    name = found.get("model name", "CPU")
    if not re.search(r"\d", name) and "model" in found:  # a cloud's name that says nothing
        name += f" family {found.get('cpu family')} model {found['model']}"
    return f"{name}, {cores()} cores"


def read(path: Path) -> list[Row]:
    """Read a results CSV; none is no rows."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [Row(**entry) for entry in csv.DictReader(file)]


def write(path: Path, rows: Sequence[Row], everything: bool = False) -> None:
    """Put `rows` in place of those of the same machine and `what`; all others stay.

    With `everything`, other rows of the machines in `rows` go: a whole run measured none of them.
    """
    machines = {r.machine for r in rows if everything}
    kept = (r for r in read(path) if r.machine not in machines)
    table = {(r.machine, r.what): r for r in (*kept, *rows)}
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(field.name for field in fields(Row))
        out.writerows(map(astuple, table.values()))


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call, the GPU's queue included."""
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
    """Median seconds of both, in turns, after one warm-up each."""
    ours(), reference()
    pairs = [(seconds(ours), seconds(reference)) for _ in range(repeats)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Median seconds of what has no reference, after one warm-up."""
    call()
    return statistics.median(seconds(call) for _ in range(repeats))


def captions(count: int, seed: int = 0) -> list[str]:
    """Captions as long as CC3M's: mean 10.3 words, deviation 4.5 (Sharma et al. 2018)."""
    rng = np.random.default_rng(seed)
    lengths = rng.lognormal(2.245, 0.418, count).round().clip(3, 40).astype(int)
    return [" ".join(rng.choice(WORDS, length)) for length in lengths]


def photos(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """(count, height, width, 3) uint8: smooth shapes with grain, about as hard as photographs."""
    generator = torch.Generator().manual_seed(seed)

    def noise(side: int) -> torch.Tensor:
        small = torch.rand(count, 3, side, side, generator=generator)
        return F.interpolate(small, (height, width), mode="bilinear")

    x = 0.6 * noise(6) + 0.3 * noise(40) + 0.1 * noise(min(height, width) // 2)
    return (x * 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
