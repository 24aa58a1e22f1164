"""The cost of each defence, from the benchmark files that Snakemake writes for every job."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from taclean.results.labels import Look, ordered

COLUMNS = ["defense", "cleanings", "seconds", "sd", "text_seconds"]


def cost(runs: Sequence[Mapping[str, Any]], look: Look) -> pd.DataFrame:
    """Return a row for each defence: columns COLUMNS.

    `seconds` is the mean time of a training, from where it resumed, and `sd` its standard
    deviation; `text_seconds` the mean time to make the texts, in full even where defences share
    them.

    Each run has the `defense` of a cleaning, the benchmark file of its `training` and those of its
    `texts`. A file that is missing was not measured.
    """
    rows = []
    for run in runs:
        seconds = [
            sum(pd.read_csv(file, sep="\t")["s"].sum() for file in files if Path(file).is_file())
            for files in ([run["training"]], run["texts"])
        ]
        if Path(run["training"]).is_file():
            rows.append((run["defense"], *seconds))
    each = pd.DataFrame(rows, columns=["defense", "seconds", "text_seconds"]).groupby("defense")
    found = each["seconds"].agg(cleanings="size", seconds="mean", sd="std")
    found["text_seconds"] = each["text_seconds"].mean()
    return found.loc[ordered(found.index, look.defenses)].reset_index()[COLUMNS]
