"""Sources of samples, packed splits, and augmentation. This file imports no torch and no pandas."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from taclean.util.errors import UserError
from taclean.util.files import reading

if TYPE_CHECKING:
    from pandas import DataFrame as Table
else:
    Table = Any  # for annotations; importing pandas takes a third of a second

# The files of a packed split.
FILES = ("images.npy", "tokens.npy", "captions.txt", "labels.npy", "ids.npy", "pictures.npy")
Tokenize = Callable[[Sequence[str]], np.ndarray]


def one_line(caption: str) -> str:
    """Fold all white space and keep 2,000 characters; 77 tokens take fewer."""
    return " ".join(caption.split())[:2000]


@contextmanager
def array_file(path: Path, dtype: Any, shape: Sequence[int]) -> Iterator[BinaryIO]:
    """Open a new .npy file of zeros at its first row, to be written in place.

    No memory map: some network file systems, such as BeeGFS, refuse shared writable ones.
    """
    form = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": tuple(shape)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, form)
        file.truncate(file.tell() + math.prod(shape) * np.dtype(dtype).itemsize)
        yield file


def load_array(path: Path | str, dtype: type, ndim: int) -> np.ndarray:
    """Memory-map a .npy file; a UserError names one that is missing, damaged or of another form."""
    with reading(path, "damaged", ValueError, OSError, EOFError):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype != dtype or array.ndim != ndim:
        raise UserError(f"{path}: not {np.dtype(dtype)} with {ndim} dimensions; pack it again")
    return array
