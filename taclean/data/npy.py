"""Rows of a .npy file, read and written in place."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np


class NpyRows:
    """Rows of a .npy file by pread and pwrite: a memory map would count its pages as memory."""

    def __init__(self, path: Path):
        array = np.load(path, mmap_mode="r+")
        self.offset, self.dtype, self.shape = array.offset, array.dtype, array.shape[1:]
        self.row = array.dtype.itemsize * math.prod(self.shape)
        self.fd = os.open(path, os.O_RDWR)

    @staticmethod
    def create(path: Path, dtype: type, shape: tuple[int, ...]) -> None:
        # Untouched, so the file is sparse and the map costs no memory.
        np.lib.format.open_memmap(path, "w+", dtype, shape)

    def write(self, rows: Sequence[int], values: np.ndarray) -> None:
        """Write `values` (B, ...) to `rows` (B), neighbours at once."""
        values = np.ascontiguousarray(values, self.dtype)
        ends = np.flatnonzero(np.diff(rows, append=-2) != 1) + 1
        for start, end in itertools.pairwise([0, *ends.tolist()]):
            data = values[start:end].data.cast("B")
            at = self.offset + rows[start] * self.row
            while data:
                written = os.pwrite(self.fd, data, at)
                data, at = data[written:], at + written

    def read(self, row: int, count: int) -> np.ndarray:
        data = os.pread(self.fd, count * self.row, self.offset + row * self.row)
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape)

    def close(self) -> None:
        os.fsync(self.fd)
        os.close(self.fd)
