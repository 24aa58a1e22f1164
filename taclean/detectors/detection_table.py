"""A table of how well the detectors tell poisoned rows and triggered pictures from clean ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from taclean.results.labels import Look, labelled
from taclean.results.statistics import interval_text, plus_minus, summary
from taclean.results.table import counts_text, markdown_table
from taclean.util.files import read_json

COLUMNS = "attack seed model of detector label auroc fpr95 poisoned clean".split()
LOOKS_AT = {"rows": "rows of the training set", "images": "test pictures"}
MODELS = {"victim": "victim", "clean": "never poisoned"}
HOW_TO_READ = (
    "Each cell: AUROC / false positives at 95 % detection, in %{over}. An AUROC of 50 is chance; "
    "below it, what is poisoned looks less suspicious than the rest. The model that was never "
    "poisoned sees the same rows and pictures; what it finds as well is not the backdoor."
)


def read_detections(paths: Sequence[Path | str], labels: Mapping[str, str]) -> pd.DataFrame:
    """Return a row for each attack, seed, model and detector: columns COLUMNS.

    Args:
        paths: what the stage `detect` wrote.
        labels: names of the detectors in print.
    """
    runs = [read_json(path) for path in paths]
    rows = [{**run, **one} for run in runs for one in run["found"]]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(label=table["detector"].map(labels))


def markdown(table: pd.DataFrame, look: Look) -> str:
    """Return means over seeds with intervals: a row for each detector and model."""
    keys = ["attack", "seed", "model", "detector"]
    percents = table.melt(keys, ["auroc", "fpr95"], "metric", "percent")
    # `summary` is over defences and splits; here models and detectors take their place.
    found = summary(percents.rename(columns={"model": "defense", "detector": "split"}))
    found = labelled(found.assign(text=plus_minus(found)), look, "attack")
    joined = found.groupby(["split", "defense", "attack"], sort=False)["text"].agg(" / ".join)
    cells = joined.unstack(sort=False)
    rows, counts = [], []
    for name, of, label in table[["detector", "of", "label"]].drop_duplicates().to_numpy():
        for model, shown in MODELS.items():
            first = {"Detector": label, "Looks at": of, "Model": shown}
            rows.append(first | cells.loc[(name, model)].to_dict())
    for of, what in LOOKS_AT.items():
        if len(scored := table[table["of"] == of]):
            poisoned, clean = (counts_text(scored[key]) for key in ("poisoned", "clean"))
            counts.append(f"{poisoned} poisoned and {clean} clean {what}")
    over = interval_text(table.assign(repeat=0))
    how = HOW_TO_READ.format(over=f"; {over}" * bool(over))
    text = markdown_table(pd.DataFrame(rows).fillna("–"), left=3)
    return f"{text}\n\n{how} For each model: {', '.join(counts)}.\n"
