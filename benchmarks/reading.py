"""Time random reads of packed rows against opening and decoding JPEG files one by one."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import reference
from benchmarks.common import Row, captions, compare, photos, row
from benchmarks.packing import jpegs
from taclean.clip.models import tokenize
from taclean.data.index import make_index
from taclean.data.pack import pack_rows
from taclean.data.readers import ListReader, Sample
from taclean.data.split import Pairs

ROWS, BATCH = 4096, 64


def packed(folder: Path, rows: int, size: int) -> Pairs:
    """Pack `rows` rows of `size` px with 64 different pictures."""
    pixels = photos(64, size, size)
    samples = [
        Sample(str(i), caption, 0, pixels[i % 64]) for i, caption in enumerate(captions(rows))
    ]
    reader = ListReader("photos", samples, None)
    pack_rows(
        folder, reader, make_index(reader), None, None,
        size=size, tokenize=partial(tokenize, "RN50-quickgelu"),
    )  # fmt: skip
    return Pairs.open(folder)


def main() -> list[Row]:
    """Time batches of random rows."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = packed(folder / "packed", ROWS, 224)
        files = [folder / f"{i}.jpg" for i in range(64)]
        for file, data in zip(files, jpegs(64), strict=True):
            file.write_bytes(data)
        mine, other = compare(
            lambda: [pairs.batch(rng.permutation(ROWS)[:BATCH]) for _ in range(16)],
            lambda: [reference.decode(file) for file in files],
            7,
        )
    mine, other = mine / (16 * BATCH), other / 64
    return [row("reading a random row of 224 px", 1 / mine, 1 / other, "row/s", other / mine)]
