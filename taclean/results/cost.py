"""What each defence costs, from the files that Snakemake writes of every job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from taclean.results.labels import Look, ordered
from taclean.results.table import read_csv

COLUMNS = ["defense", "cleanings", "seconds", "sd", "peak_mb", "text_seconds"]


def cost(runs: Sequence[Mapping[str, Any]], look: Look) -> pd.DataFrame:
    """A row for each defence: columns COLUMNS, means over its cleanings but for the peak.

    Args:
        runs: of each cleaning its `defense`, the benchmark file of its `training` and those of its
            `texts`. A file that is not there, since nobody measured that job, does not count.

    Returns:
        `seconds` a training took, with its standard deviation (empty for one cleaning); the
        largest resident memory in MB (2**20 bytes; of a GPU's nothing is known); and the seconds
        of the texts, in full where defences share them. Jobs that share a machine take longer, and
        one that was killed counts from where it went on.

    Raises:
        UserError: a file is no benchmark of Snakemake.
    """
    rows = []
    for run in runs:
        trained = _measured([run["training"]])
        if trained.empty:
            continue
        texts = _measured(run["texts"])
        rows.append(
            {
                "defense": run["defense"],
                "seconds": trained["s"].sum(),
                "peak_mb": trained["max_rss"].max(),
                "text_seconds": texts["s"].sum(),
            }
        )
    if not rows:
        return pd.DataFrame(columns=COLUMNS)
    every = pd.DataFrame(rows).groupby("defense")
    table = every[["seconds", "text_seconds"]].mean()
    table["cleanings"], table["sd"] = every.size(), every["seconds"].std()
    table["peak_mb"] = every["peak_mb"].max()
    order = ordered(table.index, look.defenses)
    return table.loc[order].reset_index()[COLUMNS]


def _measured(files: Iterable[Path | str]) -> pd.DataFrame:
    columns = ["s", "max_rss"]
    found = [read_csv(file, columns, separator="\t") for file in files if Path(file).is_file()]
    table = pd.concat([pd.DataFrame(columns=columns), *(part[columns] for part in found)])
    return table.apply(pd.to_numeric, errors="coerce")
