"""Time random reads of packed rows against opening and decoding JPEG files one by one."""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import reference
from benchmarks.common import Row, captions, compare, photos, row
from benchmarks.packing import jpegs
from taclean.clip.models import tokenize
from taclean.data.pack import pack_rows
from taclean.data.readers import Reader, make_table
from taclean.data.split import Pairs

ROWS, BATCH = 4096, 64


class Photos(Reader):
    """64 different pictures in memory, each many times."""

    gives = "pairs"

    def __init__(self, rows: int, size: int) -> None:
        self.rows, self.pixels = rows, photos(64, size, size)

    def table(self) -> pd.DataFrame:
        """List the rows."""
        keys = [str(i) for i in range(self.rows)]
        return make_table(keys, keys, captions(self.rows), label=0)

    def image(self, where: str) -> np.ndarray:
        """Return the pixels of a row."""
        return self.pixels[int(where) % 64]


def packed(folder: Path, rows: int, size: int) -> Pairs:
    """Pack `rows` rows of `size` px."""
    reader = Photos(rows, size)
    pack_rows(
        folder, reader, reader.table(), size=size, tokenize=partial(tokenize, "RN50-quickgelu")
    )
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
