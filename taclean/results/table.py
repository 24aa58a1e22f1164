"""The table of all scores, table.csv, and texts about the numbers in it."""

import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from taclean.results.labels import CLEAN, Look, ordered
from taclean.util.errors import UserError
from taclean.util.files import read_json, reading, replacing

CA, ASR, I2T, T2I = "CA@1", "ASR@1", "I2T@1", "T2I@1"
# Zero-shot classification; retrieval; a linear probe; captions of the target (see main_table).
NAMES = ("CA", "ASR", "TA", "I2T", "T2I", "LCA", "LASR", "TCR")
METRICS = [f"{name}@{k}" for name in NAMES for k in (1, 3, 5, 10)]
RUN = ["attack", "defense", "seed", "repeat"]
COLUMNS = [*RUN, "split", "metric", "percent", "n"]
AGAIN = "remove the file, and the next run writes it again, or correct it"
# Columns of the tables that hold text, also where it looks like a number, and numbers.
TEXTS = dict.fromkeys(["attack", "defense", "method", "version", "commit"], str)
NUMBERS = r"seed|repeat|percent|n|epoch|step|trial|budget|seconds|(ca|asr)(_n)?|\w*(CA|ASR|TA).*"


@contextmanager
def script_log(log: Sequence[str]) -> Iterator[None]:
    """End a workflow script with its error, also in `log[0]`: a UserError is one line."""
    try:
        yield
    except Exception as error:
        message = f"error: {error}" if isinstance(error, UserError) else traceback.format_exc()
        Path(log[0]).write_text(f"{message}\n", "utf-8")
        sys.exit(message)


def long_table(paths: Sequence[Path | str], look: Look) -> pd.DataFrame:
    """Return a row for each score of all runs, ordered by `look`, seed, repeat and METRICS.

    `paths` are the runs' `scores.json`. Where a defence could not work in some runs, the column
    `failed` has the reasons.
    """
    rows = [row for path in paths for row in _scores(path)]
    table = pd.DataFrame(rows, columns=[*COLUMNS, "failed"])
    table = table[[*COLUMNS, *(["failed"] if table["failed"].notna().any() else [])]]
    attacks, splits = ordered(table["attack"], look.attacks), scored_splits(table, look)
    splits += [f"{split}+{attack}" for attack in attacks for split in splits]
    order = {
        "attack": attacks,
        "defense": ordered(table["defense"], look.defenses),
        "split": ordered(table["split"], splits),
        "metric": ordered(table["metric"], METRICS),
    }

    def place(keys: pd.Series) -> pd.Series:
        return keys.map(order[keys.name].index) if keys.name in order else keys

    return table.sort_values([*RUN, "split", "metric"], key=place, ignore_index=True)


def _scores(path: Path | str) -> list[tuple[Any, ...]]:
    """Return the rows of a run's `scores.json`: columns COLUMNS and the reason of a failure."""
    run, wrong = read_json(path), (AttributeError, KeyError, TypeError, ZeroDivisionError)
    with reading(path, "no scores of a run", *wrong, cure=AGAIN):
        rows = [
            (*(run[key] for key in RUN), split, metric, s["hits"], s["n"], run.get("failed"))
            for split, scores in run["splits"].items()
            for metric, s in scores.items()
        ]
        if not rows or not all(0 <= hits <= n for *_, hits, n, _ in rows):
            raise KeyError("hits")
        return [(*row, round(100 * hits / n, 4), n, why) for *row, hits, n, why in rows]


def write_table(table: pd.DataFrame, path: Path | str) -> None:
    """Write a table of numbers as CSV with four decimals, whole or not at all."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.4f", lineterminator="\n")


def read_table(path: Path | str, *more: str) -> pd.DataFrame:
    """Read `table.csv`, or one with `more` keys; a UserError names an impossible value."""
    table = read_csv(path, [*more, *COLUMNS])
    if table.empty:
        raise UserError(f"{path}: no rows; evaluate at least one run")
    for name in (*more, *COLUMNS):
        _refuse(table, name, table[name].isna(), path, "empty")
    for name in ("seed", "repeat"):
        _refuse(table, name, (table[name] < 0) | (table[name] % 1 > 0), path, "no whole number")
    known = table["metric"].isin(METRICS) & ~table.duplicated([*more, *COLUMNS[:6]])
    _refuse(table, "metric", ~known, path, "unknown or there twice")
    usual = table.groupby(["split", "metric"])["n"].transform("median")
    _refuse(table, "n", table["n"] != usual, path, "another number than in other lines")
    shares = is_share(table["percent"], table["n"])
    _refuse(table, "percent", ~shares, path, "no percentage of n pictures")
    return table


def is_share(percent: pd.Series, n: pd.Series) -> pd.Series:
    """Return where a percentage with four decimals is that of a whole number out of n."""
    hits = percent * n / 100
    return percent.between(0, 100) & (n >= 1) & ((hits - hits.round()).abs() <= 1e-6 * n)


def _refuse(table: pd.DataFrame, name: str, where: pd.Series, path: Path | str, what: str) -> None:
    for row in table.index[where][:1]:
        found = f"{name} is {str(table[name][row])[:70]!r}, {what}"
        raise UserError(f"{path}, line {row + 2}: {found}; {AGAIN}")


def read_csv(path: Path | str, columns: Sequence[str]) -> pd.DataFrame:
    """Read a CSV file; a UserError says that it lacks one of `columns` or has text for a number."""
    with reading(path, "not a CSV file", ValueError), Path(path).open("rb") as file:  # no address
        # "none" is a defence and "null" may be a word of a caption; neither is a missing value.
        table = pd.read_csv(file, dtype=TEXTS, keep_default_na=False, na_values=[""])
    if not isinstance(table.index, pd.RangeIndex):
        raise UserError(f"{path}: a line has more cells than the first; {AGAIN}")
    if missing := [column for column in columns if column not in table]:
        raise UserError(f"{path}: no column {', '.join(missing)}; {AGAIN}")
    for name in filter(re.compile(NUMBERS).fullmatch, map(str, table)):
        numbers = pd.to_numeric(table[name].map(str), errors="coerce")  # pandas fails at 400 digits
        wrong = table[name].notna() & ~(numbers.abs() < 1e15)
        _refuse(table, name, wrong, path, "no number, or too large a one")
    return table


def markdown_table(frame: pd.DataFrame, left: int = 1) -> str:
    """Return a frame of text as Markdown without its index; all but `left` columns align right."""

    def cell(text: Any) -> Any:  # a label may have a |
        return re.sub(r"(?<!\\)\|", r"\|", text) if isinstance(text, str) else text

    frame = frame.map(cell).rename(columns=cell)
    align = ["left"] * left + ["right"] * (len(frame.columns) - left)
    return frame.to_markdown(index=False, disable_numparse=True, colalign=align)


def pick(table: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    """Return the rows whose columns equal the arguments."""
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def of_the_attacker(metric: str) -> bool:
    """Return whether a score counts successes of the attacker, so that lower is better."""
    return metric.split("@")[0] in ("ASR", "LASR", "TCR")


def scored_splits(table: pd.DataFrame, look: Look) -> list[str]:
    """Return the test splits that were scored, in order.

    "SPLIT+ATTACK", which is SPLIT with the trigger of ATTACK, is not a split of its own.
    """
    names = ordered(table["split"], look.splits)
    return [n for n in names if n in look.splits or n.rpartition("+")[0] not in names]


def main_split(table: pd.DataFrame, look: Look) -> str:
    """Return the split that tables and figures show: the first that has a clean accuracy."""
    splits = scored_splits(table, look)
    return next((s for s in splits if len(pick(table, split=s, metric=CA))), splits[0])


def main_rows(table: pd.DataFrame, look: Look) -> pd.DataFrame:
    """Return ASR@1 and CA@1 of the poisoned models on the main split."""
    rows = table[table["metric"].isin([ASR, CA]) & (table["attack"] != CLEAN)]
    return pick(rows, split=main_split(table, look))


def seeds_text(seeds: Iterable[int]) -> str:
    """Return 'seed 0' or 'seeds 0, 1, 2'; four or more in a row are 'seeds 201 to 205'."""
    found = sorted({int(seed) for seed in seeds})
    if len(found) > 3 and found[-1] - found[0] == len(found) - 1:
        return f"seeds {found[0]} to {found[-1]}"
    return f"seed{'s' if len(found) != 1 else ''} {', '.join(map(str, found))}"


def counts_text(counts: Iterable[int]) -> str:
    """Return '2,970', or '2,950–2,970' if the counts differ."""
    found = [int(count) for count in counts]
    low, high = min(found), max(found)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def images_text(table: pd.DataFrame, split: str) -> str:
    """Return how many images and captions of a split were scored; '' if it has no scores.

    For example '3,000 clean and 2,970 triggered images' or '3,000 images and 3,000 captions'.
    """
    counts = {m: pick(table, split=split, metric=m)["n"] for m in (CA, ASR, I2T, T2I)}
    n = {metric: counts_text(found) for metric, found in counts.items() if len(found)}
    images = [f"{n[m]} {kind}" for m, kind in ((CA, "clean"), (ASR, "triggered")) if m in n]
    captions = [f"{n[T2I]} captions"] if T2I in n else []
    if images:
        return ", ".join([f"{' and '.join(images)} images", *captions])
    return " and ".join([*([f"{n[I2T]} images"] if I2T in n else []), *captions])


def split_title(split: str) -> str:
    """Return 'Test split' for `test`."""
    return f"{split[:1].upper()}{split[1:]} split"
