"""The long table of all scores, and what tables and figures say of its numbers."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from taclean.results.labels import Look, ordered
from taclean.util.errors import UserError
from taclean.util.files import read_json, replacing

CA, ASR, I2T, T2I = "CA@1", "ASR@1", "I2T@1", "T2I@1"
# Classification; recall; a linear probe; captions of the target that a trigger brings up.
METRICS = ("CA", "ASR", "TA", "I2T", "T2I", "LCA", "LASR", "TCR")
RUN = ["attack", "defense", "seed", "repeat"]
COLUMNS = [*RUN, "split", "metric", "percent", "n"]


@contextmanager
def script_log(log: Sequence[str]) -> Iterator[None]:
    """Run the body of a workflow script: errors go to `log[0]` too, a UserError as one line."""
    try:
        yield
    except UserError as error:
        message = f"error: {error}"
    except Exception:
        if len(log):
            Path(log[0]).write_text(traceback.format_exc(), "utf-8")
        raise
    else:
        return
    if len(log):
        Path(log[0]).write_text(message + "\n", "utf-8")
    sys.exit(message)


def seeds_text(seeds: Iterable[int]) -> str:
    """'seed 0', 'seeds 0, 1, 2'; from four in a row on 'seeds 201 to 205'."""
    found = sorted({int(seed) for seed in seeds})
    if len(found) > 3 and found[-1] - found[0] == len(found) - 1:
        return f"seeds {found[0]} to {found[-1]}"
    return f"seed{'s' if len(found) != 1 else ''} {', '.join(map(str, found))}"


def counts_text(counts: Iterable[int]) -> str:
    """'2,970', or '2,950–2,970' where the counts differ."""
    found = [int(count) for count in counts]
    low, high = min(found), max(found)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


# ---- the long table --------------------------------------------------------------------------


def of_the_attacker(metric: str) -> bool:
    """Whether a score counts triggered images that do what the attacker wants: lower is better."""
    return metric.split("@")[0] in ("ASR", "LASR", "TCR")


def _metric_key(metric: str) -> tuple[int, int]:
    name, _, k = metric.partition("@")
    return METRICS.index(name), int(k)


def _score_rows(path: Path | str) -> list[dict[str, Any]]:
    run = read_json(path)
    try:
        return [
            {
                "attack": str(run["attack"]),
                "defense": str(run["defense"]),
                "seed": int(run["seed"]),
                "repeat": int(run["repeat"]),
                "split": str(split),
                "metric": metric,
                "percent": round(100 * int(score["hits"]) / int(score["n"]), 4),
                "n": int(score["n"]),
            }
            for split, scores in run["splits"].items()
            for metric, score in sorted(scores.items(), key=lambda item: _metric_key(item[0]))
        ]
    except ZeroDivisionError:
        raise UserError(f"{path}: a score over n = 0 images; give its split more rows") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a scores file ({error!r}); evaluate that run again") from None


def long_table(paths: Sequence[Path | str], look: Look | None = None) -> pd.DataFrame:
    """Collect the scores of all runs, in the order of the look, the seeds, repeats and METRICS.

    Raises:
        UserError: no files, a malformed one, or two of the same run.
    """
    look = look or Look()
    if not paths:
        raise UserError("results/table.csv: no scores.json to collect; choose at least one run")
    table = pd.DataFrame([row for path in paths for row in _score_rows(path)], columns=COLUMNS)
    double = table[table.duplicated([*RUN, "split", "metric"])]
    if len(double):
        attack, defense, seed, repeat = double.iloc[0][RUN]
        run = f"{attack}/{defense}/seed{seed}" + (f"-repeat{repeat}" if repeat else "")
        raise UserError(f"scores.json: two files of {run}; keep one")
    attacks = ordered(table["attack"], look.attacks)
    splits = scored_splits(table, look)
    splits += [f"{split}+{attack}" for attack in attacks for split in splits]
    rank = {
        "attack": attacks,
        "defense": ordered(table["defense"], look.defenses),
        "seed": sorted(set(table["seed"])),
        "repeat": sorted(set(table["repeat"])),
        "split": ordered(table["split"], splits),
        "metric": sorted(set(table["metric"]), key=_metric_key),
    }
    keys = pd.DataFrame({key: table[key].map(order.index) for key, order in rank.items()})
    return table.loc[keys.sort_values(list(rank)).index].reset_index(drop=True)


def write_table(table: pd.DataFrame, path: Path | str) -> None:
    """Write `table.csv`, or another table of numbers, atomically."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.4f", lineterminator="\n")


def read_table(path: Path | str) -> pd.DataFrame:
    """Read `table.csv`.

    Raises:
        UserError: it is missing, empty or has other columns.
    """
    table = read_csv(path, COLUMNS)
    if table.empty:
        raise UserError(f"{path}: no rows; evaluate at least one run")
    return table


def read_csv(path: Path | str, columns: Sequence[str], separator: str = ",") -> pd.DataFrame:
    """Read a CSV file that has at least `columns`.

    Raises:
        UserError: it is missing, no CSV or lacks a column.
    """
    try:
        # "none" is a defence and "null" may be a word of a caption, never a missing value.
        table = pd.read_csv(path, sep=separator, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; make it again") from None
    except (ValueError, pd.errors.ParserError) as error:
        raise UserError(f"{path}: not a CSV file ({error}); make it again") from None
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)}; make it again")
    return table


def pick(table: pd.DataFrame, **wanted: str) -> pd.DataFrame:
    """The rows whose columns equal the arguments."""
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


# ---- splits ----------------------------------------------------------------------------------


def scored_splits(table: pd.DataFrame, look: Look) -> list[str]:
    """The test sets that were scored, in order; "SPLIT+ATTACK" is SPLIT with a trigger, none."""
    names = ordered(table["split"], look.splits)
    return [n for n in names if n in look.splits or n.rpartition("+")[0] not in names]


def main_split(table: pd.DataFrame, look: Look) -> str:
    """The test set that the figures are of: the first with a clean accuracy."""
    splits = scored_splits(table, look)
    return next((s for s in splits if len(pick(table, split=s, metric=CA))), splits[0])


def images_text(table: pd.DataFrame, split: str) -> str:
    """'3,000 clean and 2,970 triggered images' of a split, '' where it has no scores.

    Of one with captions '3,000 images and 3,000 captions', or ', 3,000 captions' after the first.
    """
    counts = {m: pick(table, split=split, metric=m)["n"] for m in (CA, ASR, I2T, T2I)}
    said = {m: counts_text(n) for m, n in counts.items() if len(n)}
    shown = [f"{said[m]} {of}" for m, of in ((CA, "clean"), (ASR, "triggered")) if m in said]
    if shown:
        return ", ".join([f"{' and '.join(shown)} images", *_of(said, T2I, "captions")])
    return " and ".join([*_of(said, I2T, "images"), *_of(said, T2I, "captions")])


def _of(said: Mapping[str, str], metric: str, what: str) -> list[str]:
    return [f"{said[metric]} {what}"] if metric in said else []


def split_title(split: str) -> str:
    """'Test split'."""
    return f"{split[:1].upper()}{split[1:]} split"
