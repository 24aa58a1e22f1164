"""Reads the files that a figure is drawn from, by the name of the figure's argument."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from taclean.data import load_array
from taclean.results.table import read_csv, read_table
from taclean.util.files import read_json, reading


class Samples(NamedTuple):
    """The predictions of a model for the first n test pictures of other classes than the target."""

    rows: np.ndarray  # (n,) rows of the split
    labels: np.ndarray  # (n,) true labels
    clean: np.ndarray  # (n, d) float32 image embeddings
    triggered: np.ndarray
    clean_top: np.ndarray  # (n,) predicted labels
    triggered_top: np.ndarray
    classes: np.ndarray  # the names of the labels
    target: np.ndarray | int  # the label that the attacker wants
    images: np.ndarray = np.empty(0)  # (n, H, W, 3) uint8; only of models without a defence
    triggered_images: np.ndarray = np.empty(0)
    seed: int = 0

    @property
    def fooled(self) -> np.ndarray:
        """(n,) bool: whether the model calls the triggered picture the target."""
        return self.triggered_top == self.target

    @property
    def right(self) -> np.ndarray:
        """(n,) bool: whether the model gives the triggered picture its own class."""
        return self.triggered_top == self.labels


ByAttack = Mapping[str, Mapping[str, Samples]]  # attack -> defense -> samples


class Texts(NamedTuple):
    """Sub-captions: the rows of `subcaptions.csv` and its `account.json`."""

    table: pd.DataFrame
    account: Mapping[str, Any]


def run_of(path: Path | str) -> dict[str, Any]:
    """Return the attack, defense, seed and repeat of a file in results/runs."""
    attack, defense, name = Path(path).parts[-4:-1]
    seed, repeat = re.fullmatch(r"seed(\d+)(?:-repeat(\d+))?", name).groups()  # type: ignore[union-attr]
    return {"attack": attack, "defense": defense, "seed": int(seed), "repeat": int(repeat or 0)}


def read_samples(paths: Sequence[str]) -> dict[str, dict[str, Samples]]:
    """Return the samples of some runs as attack -> defense -> samples."""
    found: dict[str, dict[str, Samples]] = {}
    for path in paths:
        run = run_of(path)
        errors = (BadZipFile, OSError, TypeError, ValueError)
        with reading(path, "damaged", *errors), np.load(path) as arrays:
            samples = Samples(**arrays, seed=run["seed"])
        found.setdefault(run["attack"], {})[run["defense"]] = samples
    return found


def read_histories(paths: Sequence[str]) -> pd.DataFrame:
    """Return the epochs of all runs in one table, with the columns of `run_of`."""
    histories = [read_csv(path, ["epoch"]).assign(**run_of(path)) for path in paths]
    return pd.concat(histories, ignore_index=True)


READERS: dict[str, Callable[[Any], Any]] = {
    "table": read_table,
    "grid": lambda path: read_csv(path, ["defense", "trial"]),
    "samples": read_samples,
    "histories": read_histories,
    "texts": lambda folder: Texts(
        read_csv(f"{folder}/subcaptions.csv", ["caption"]), read_json(f"{folder}/account.json")
    ),
    "captions": lambda path: Path(path).read_text("utf-8").splitlines(),
    "images": lambda path: load_array(path, np.uint8, 4),
}


def read_inputs(files: Mapping[str, Any]) -> dict[str, Any]:
    """Read each file, or list of files, by its argument's name, one of READERS."""
    return {name: READERS[name](file) for name, file in files.items()}
