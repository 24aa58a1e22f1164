"""The long table of all scores, and the main table made from it."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from taclean.errors import UserError
from taclean.files import read_json, replacing

# Names as printed, in the order of every table and figure.
ATTACKS = {
    "clean": "Never poisoned",
    "badnet": "BadNet",
    "blended": "Blended",
    "sig": "SIG",
    "ssba": "SSBA",
    "trojvqa": "TrojVQA",
    "badclip": "BadCLIP",
}
DEFENSES = {
    "none": "No defence",
    "ft": "FT",
    "cleanclip": "CleanCLIP",
    "taclean": "TA-Cleaner",
}
SPLITS = ("test", "shift")
METRICS = ("CA", "ASR", "TA", "I2T", "T2I")  # the last two: recall of retrieval sets
COLUMNS = ["attack", "defense", "seed", "split", "metric", "percent", "n"]


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


def ordered(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """`names` without repeats: those of `known` in its order, then the others as they appear."""
    names, known = list(dict.fromkeys(names)), list(known)
    return [name for name in known if name in names] + [n for n in names if n not in known]


def seeds_text(seeds: Iterable[int]) -> str:
    """'seed 0', 'seeds 0, 1, 2'."""
    found = sorted({int(seed) for seed in seeds})
    return f"seed{'s' if len(found) != 1 else ''} {', '.join(map(str, found))}"


def counts_text(counts: Iterable[int]) -> str:
    """'2,970', or '2,950–2,970' where the counts differ."""
    found = [int(count) for count in counts]
    low, high = min(found), max(found)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


# ---- the long table --------------------------------------------------------------------------


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


def long_table(paths: Sequence[Path | str]) -> pd.DataFrame:
    """Collect the scores of all runs, in the order of ATTACKS, DEFENSES, seeds, SPLITS and METRICS.

    Raises:
        UserError: no files, a malformed one, or two of the same run.
    """
    if not paths:
        raise UserError("results/table.csv: no scores.json to collect; choose at least one run")
    table = pd.DataFrame([row for path in paths for row in _score_rows(path)], columns=COLUMNS)
    double = table[table.duplicated(["attack", "defense", "seed", "split", "metric"])]
    if len(double):
        attack, defense, seed = double.iloc[0][["attack", "defense", "seed"]]
        raise UserError(f"scores.json: two files of {attack}/{defense}/seed{seed}; keep one")
    attacks = ordered(table["attack"], ATTACKS)
    splits = [*SPLITS, *(f"{split}+{attack}" for attack in ATTACKS for split in SPLITS)]
    rank = {
        "attack": attacks,
        "defense": ordered(table["defense"], DEFENSES),
        "seed": sorted(set(table["seed"])),
        "split": ordered(table["split"], splits),
        "metric": sorted(set(table["metric"]), key=_metric_key),
    }
    keys = pd.DataFrame({key: table[key].map(order.index) for key, order in rank.items()})
    return table.loc[keys.sort_values(list(rank)).index].reset_index(drop=True)


def write_table(table: pd.DataFrame, path: Path | str) -> None:
    """Write `table.csv`, atomically."""
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


def read_csv(path: Path | str, columns: Sequence[str]) -> pd.DataFrame:
    """Read a CSV file that has at least `columns`.

    Raises:
        UserError: it is missing, no CSV or lacks a column.
    """
    try:
        # "none" is a defence and "null" may be a word of a caption, never a missing value.
        table = pd.read_csv(path, keep_default_na=False, na_values=[""])
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


# ---- the main table --------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """A number of the main table: mean and sample standard deviation over the seeds, in %."""

    mean: float
    std: float | None

    def text(self, plus_minus: str) -> str:
        """One decimal: the images are too few for more."""
        return f"{self.mean:.1f}" + ("" if self.std is None else f"{plus_minus}{self.std:.1f}")


@dataclass(frozen=True)
class Block:
    """One table: a group of columns per attack, a row per defence."""

    title: str
    groups: list[tuple[str, list[str]]]  # attack as printed, what its columns hold
    rows: list[tuple[str, list[list[Value | None]]]]  # defence as printed, values per group
    reference: int  # how many of the last rows are references, not defences

    def best(self, group: int, column: int) -> str | None:
        """The lowest ASR as printed, None where there is nothing to choose from."""
        if not self.groups[group][1][column].startswith("ASR"):
            return None
        rows = self.rows[: len(self.rows) - self.reference]
        values = [v for _, cells in rows if (v := cells[group][column]) is not None]
        return f"{min(v.mean for v in values):.1f}" if len(values) > 1 else None

    def cells(self, bold: Callable[[str], str], plus_minus: str) -> list[list[list[str]]]:
        """All values as text: row, group, column."""
        defences = len(self.rows) - self.reference
        return [
            [
                [
                    "–"
                    if value is None
                    else bold(value.text(plus_minus))
                    if i < defences and f"{value.mean:.1f}" == self.best(g, c)
                    else value.text(plus_minus)
                    for c, value in enumerate(values)
                ]
                for g, values in enumerate(groups)
            ]
            for i, (_, groups) in enumerate(self.rows)
        ]


def _value(table: pd.DataFrame, **wanted: str) -> Value | None:
    percent = pick(table, **wanted)["percent"]
    if percent.empty:
        return None
    return Value(float(percent.mean()), float(percent.std()) if len(percent) > 1 else None)


def _defences(
    table: pd.DataFrame, title: str, groups: Sequence[tuple[str, str, str]], metrics: Sequence[str]
) -> Block:
    """A row per defence; a group of `metrics` for each (label, attack, split)."""
    rows = [
        (
            DEFENSES.get(d, d),
            [
                [_value(table, attack=a, defense=d, split=s, metric=m) for m in metrics]
                for _, a, s in groups
            ],
        )
        for d in ordered(table["defense"], DEFENSES)
    ]
    return Block(title, [(label, list(metrics)) for label, _, _ in groups], rows, 0)


def _attacks(table: pd.DataFrame, title: str, split: str, metrics: Sequence[str]) -> Block | None:
    """The poisoned models on a split, and as a reference the model that was never poisoned."""
    poisoned = table[(table["attack"] != "clean") & (table["split"] == split)]
    attacks = ordered(poisoned["attack"], ATTACKS)
    if not attacks:
        return None
    block = _defences(poisoned, title, [(ATTACKS.get(a, a), a, split) for a in attacks], metrics)
    never = pick(table, attack="clean", defense="none")
    if never.empty:
        return block
    values = [
        [
            _value(never, split=split if m.startswith("CA") else f"{split}+{a}", metric=m)
            for m in metrics
        ]
        for a in attacks
    ]
    return replace(block, rows=[*block.rows, (ATTACKS["clean"], values)], reference=1)


def main_blocks(table: pd.DataFrame) -> list[Block]:
    """The blocks of the main table: test, its ASR@10, the shift split, the clean model."""
    both = ("CA@1", "ASR@1")
    blocks = [
        _attacks(table, "Test split: CA@1 and ASR@1", "test", both),
        _attacks(table, "Test split: ASR@10", "test", ("ASR@10",)),
        _attacks(table, "Shift split: CA@1 and ASR@1", "shift", both),
    ]
    never = pick(table, attack="clean")
    splits = [(f"{s} split", "clean", s) for s in SPLITS if len(pick(never, split=s))]
    if splits:
        title = f"{ATTACKS['clean']}: CA@1 of the clean model after each defence"
        blocks.append(_defences(never, title, splits, ("CA@1",)))
    found = [block for block in blocks if block]
    if not found:
        raise UserError("results/table.csv: no scores of the test or shift split; evaluate a run")
    return found


def header(table: pd.DataFrame) -> str:
    """What the numbers are: n, seeds, spread, how to read them."""
    parts = []
    for split in SPLITS:
        rows = pick(table, split=split)
        counts = [
            f"{counts_text(n)} {of}"
            for metric, of in (("CA@1", "clean"), ("ASR@1", "triggered"))
            if len(n := pick(rows, metric=metric)["n"])
        ]
        if counts:
            parts.append(f"{' and '.join(counts)} images ({split} split)")
    spread = (
        "; mean ± sample standard deviation over the seeds" if table["seed"].nunique() > 1 else ""
    )
    return (
        f"All numbers in %. n = {'; '.join(parts)} per model; {seeds_text(table['seed'])}{spread}. "
        "CA@1: zero-shot accuracy on clean images, higher is better. ASR@k: share of triggered "
        "images of other classes with the target class in the top k, lower is better; the lowest "
        f"of the defences is bold. '{ATTACKS['clean']}': the same model trained without poison, "
        "shown the same triggers: what ASR is without a backdoor."
    )


def markdown(table: pd.DataFrame) -> str:
    """The main table as Markdown."""
    lines = ["# Clean accuracy and attack success after each defence", "", header(table), ""]
    for block in main_blocks(table):
        lines += [f"## {block.title}", ""]
        lines += [f"Each cell: {' / '.join(block.groups[0][1])}.", ""]
        lines.append("| Defence | " + " | ".join(label for label, _ in block.groups) + " |")
        lines.append("|:--|" + "--:|" * len(block.groups))
        cells = block.cells(lambda text: f"**{text}**", " ± ")
        for i, ((label, _), groups) in enumerate(zip(block.rows, cells, strict=True)):
            name = f"*{label}*" if i >= len(block.rows) - block.reference else label
            lines.append(f"| {name} | " + " | ".join(" / ".join(g) for g in groups) + " |")
        lines.append("")
    return "\n".join(lines)


_TEX: Mapping[str, str] = {
    **{char: rf"\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
}


def tex(text: str) -> str:
    """Escape text for LaTeX."""
    return re.sub(r"[&%$#_{}\\~^±–]", lambda match: _TEX[match[0]], text)


def _small_std(cell: str) -> str:
    """Set the deviation of a cell small and low, and its dash right."""
    return re.sub(r"±([\d.]+)", r"$_{\\pm\1}$", cell).replace("–", "--")


def latex(table: pd.DataFrame) -> str:
    """The main table as LaTeX floats for \\input; needs booktabs and graphicx."""
    blocks = main_blocks(table)
    lines = [r"% \usepackage{booktabs,graphicx}"]
    for number, block in enumerate(blocks):
        width = sum(len(columns) for _, columns in block.groups)
        caption = f"{block.title}." + (f" {header(table)}" if number == 0 else "")
        lines += [
            r"\begin{table}[htbp]",
            r"\centering\footnotesize\setlength{\tabcolsep}{3.5pt}",
            r"\setlength{\belowcaptionskip}{5pt}",
            rf"\caption{{{tex(caption)}}}",
            # Shrinks a table that is too wide for the page, and no other.
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * width}}}",
            r"\toprule",
        ]
        heads, rules, at = [], [], 2
        for label, columns in block.groups:
            heads.append(rf"\multicolumn{{{len(columns)}}}{{c}}{{{tex(label)}}}")
            rules.append(rf"\cmidrule(lr){{{at}-{at + len(columns) - 1}}}")
            at += len(columns)
        names = [name for _, columns in block.groups for name in columns]
        lines += [" & ".join(["", *heads]) + r" \\", "".join(rules)]
        lines += [" & ".join(["Defence", *names]) + r" \\", r"\midrule"]
        cells = block.cells(lambda text: rf"\textbf{{{text}}}", "±")
        for i, ((label, _), groups) in enumerate(zip(block.rows, cells, strict=True)):
            if i == len(block.rows) - block.reference:
                lines.append(r"\midrule")
            values = [_small_std(value) for group in groups for value in group]
            lines.append(" & ".join([tex(label), *values]) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table}", ""]
    return "\n".join(lines)


def write_main_table(table: pd.DataFrame, paths: Iterable[Path | str]) -> None:
    """Write the main table to each path, as its suffix (.md, .tex) says; atomically."""
    writers = {".md": markdown, ".tex": latex}
    for path in map(Path, paths):
        if path.suffix not in writers:
            raise UserError(f"{path}: the main table is written as .md or .tex")
        with replacing(path) as temporary:
            temporary.write_text(writers[path.suffix](table), "utf-8")
