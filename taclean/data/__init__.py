"""Sources of samples, packed splits, and augmentation. This file imports no torch and no pandas."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """Fold all white space, so that a caption is one line of `captions.txt`."""
    return " ".join(caption.split())


def load_array(path: Path | str, dtype: type, ndim: int) -> np.ndarray:
    """Memory-map a .npy file; a UserError names one that is missing, damaged or of another form."""
    with reading(path, "damaged", ValueError, OSError, EOFError):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype != dtype or array.ndim != ndim:
        raise UserError(f"{path}: not {np.dtype(dtype)} with {ndim} dimensions; pack it again")
    return array
