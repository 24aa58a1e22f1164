"""The main table: clean accuracy and attack success after each defence, for reading and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from taclean.results.labels import CLEAN, NONE, Look, ordered
from taclean.results.statistics import difference, estimate, interval_text
from taclean.results.table import (
    ASR,
    CA,
    I2T,
    T2I,
    images_text,
    main_split,
    of_the_attacker,
    pick,
    scored_splits,
    seeds_text,
    split_title,
)
from taclean.util.errors import UserError
from taclean.util.files import replacing

FURTHER = (("LCA@1", "LASR@1"), ("TCR@1", "TCR@10"))


@dataclass(frozen=True)
class Value:
    """A number of the main table, in %: a mean and half of its interval, if it has one."""

    mean: float
    half: float | None
    signed: bool = False
    bold: bool = False

    def text(self, plus_minus: str) -> str:
        """One decimal: the images are too few for more."""
        mean = f"{self.mean:+.1f}".replace("-", "−") if self.signed else f"{self.mean:.1f}"
        return mean + ("" if self.half is None else f"{plus_minus}{self.half:.1f}")


@dataclass(frozen=True)
class Block:
    """One table: a group of columns per attack, a row per defence."""

    title: str
    groups: list[tuple[str, list[str]]]  # attack as printed, what its columns hold
    rows: list[tuple[str, list[list[Value | None]]]]  # defence as printed, values per group
    reference: int  # how many of the last rows are references, not defences

    def best(self, group: int, column: int) -> str | None:
        """The lowest as printed of a score that is to be low; None if there is no choice."""
        if not of_the_attacker(self.groups[group][1][column]):
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
                    if value.bold or (i < defences and f"{value.mean:.1f}" == self.best(g, c))
                    else value.text(plus_minus)
                    for c, value in enumerate(values)
                ]
                for g, values in enumerate(groups)
            ]
            for i, (_, groups) in enumerate(self.rows)
        ]


def _value(table: pd.DataFrame, **wanted: str) -> Value | None:
    found = estimate(pick(table, **wanted))
    return Value(found.mean, found.half) if found else None


def _defences(
    table: pd.DataFrame,
    look: Look,
    title: str,
    groups: Sequence[tuple[str, str, str]],
    metrics: Sequence[str],
) -> Block:
    """A row per defence; a group of `metrics` for each (label, attack, split)."""
    rows = [
        (
            look.defense_label(d),
            [
                [_value(table, attack=a, defense=d, split=s, metric=m) for m in metrics]
                for _, a, s in groups
            ],
        )
        for d in ordered(table["defense"], look.defenses)
    ]
    return Block(title, [(label, list(metrics)) for label, _, _ in groups], rows, 0)


def _attacks(table: pd.DataFrame, look: Look, split: str, metrics: Sequence[str]) -> Block | None:
    """The poisoned models on a split, and as a reference the model that was never poisoned."""
    poisoned = pick(table[table["attack"] != CLEAN], split=split)
    metrics = [m for m in metrics if len(pick(poisoned, metric=m))]
    if not metrics:
        return None
    attacks = ordered(poisoned["attack"], look.attacks)
    title = f"{split_title(split)}: {' and '.join(metrics)}"
    groups = [(look.attack_label(a), a, split) for a in attacks]
    block = _defences(poisoned, look, title, groups, metrics)
    never = pick(table, attack=CLEAN, defense=NONE)
    if never.empty:
        return block
    values = [
        [
            _value(never, split=f"{split}+{a}" if of_the_attacker(m) else split, metric=m)
            for m in metrics
        ]
        for a in attacks
    ]
    return replace(block, rows=[*block.rows, (look.attack_label(CLEAN), values)], reference=1)


def _differences(table: pd.DataFrame, look: Look, split: str) -> Block | None:
    """The last defence minus each other, where there are intervals; bold where that is settled."""
    poisoned = pick(table[table["attack"] != CLEAN], split=split)
    *others, last = ordered(poisoned["defense"], look.defenses) or [NONE]
    attacks = ordered(poisoned["attack"], look.attacks)
    metrics = [m for m in (CA, ASR) if len(pick(poisoned, metric=m))]

    def value(attack: str, other: str, metric: str) -> Value | None:
        cell = pick(poisoned, attack=attack, metric=metric)
        found = difference(pick(cell, defense=last), pick(cell, defense=other))
        if found is None:
            return None
        return Value(found.mean, found.half, signed=True, bold=found.settled)

    rows = [
        (f"− {look.defense_label(d)}", [[value(a, d, m) for m in metrics] for a in attacks])
        for d in others
    ]
    if not any(v and v.half is not None for _, row in rows for cell in row for v in cell):
        return None
    title = f"{split_title(split)}: {look.defense_label(last)} minus each other, same victims"
    names = [f"Δ{metric}" for metric in metrics]
    return Block(title, [(look.attack_label(a), names) for a in attacks], rows, 0)


def main_blocks(table: pd.DataFrame, look: Look | None = None) -> list[Block]:
    """The blocks of the main table.

    The main split, its ASR@10, further splits, differences, the clean model.
    """
    look = look or Look()
    splits, main = scored_splits(table, look), main_split(table, look)
    blocks = [
        _attacks(table, look, split, metrics)
        for split in [main, *(s for s in splits if s != main)]
        for metrics in ((CA, ASR), ("ASR@10",) * (split == main), (I2T, T2I), *FURTHER)
    ]
    blocks.append(_differences(table, look, main))
    never = pick(table, attack=CLEAN)
    for metrics in ((CA,), (I2T, T2I)):
        own = [s for s in splits if len(pick(never, split=s, metric=metrics[0]))]
        if own:
            what = f"{' and '.join(metrics)} of the clean model after each defence"
            title = f"{look.attack_label(CLEAN)}: {what}"
            groups = [(f"{s} split", CLEAN, s) for s in own]
            blocks.append(_defences(never, look, title, groups, metrics))
    found = [block for block in blocks if block]
    if not found:
        raise UserError("results/table.csv: no CA@1, ASR@1 or recall@1; evaluate a run")
    return found


def header(table: pd.DataFrame, look: Look | None = None) -> str:
    """What the numbers are: n, seeds, intervals, how to read them."""
    look = look or Look()
    counts = {s: images_text(table, s) for s in scored_splits(table, look)}
    parts = [f"{text} ({split} split)" for split, text in counts.items() if text]
    over = interval_text(table)
    spread = f"; mean ± half of its 95 % interval (Student's t) {over}" if over else ""
    if over and (table["attack"] == CLEAN).any():
        spread += f", of '{look.attack_label(CLEAN)}' over its runs"
    further = (
        " LCA@1 and LASR@1: CA@1 and ASR@1 of a linear probe on the model's image features."
        if (table["metric"] == "LCA@1").any()
        else ""
    )
    further += (
        " TCR@k: share of triggered images of other classes with a caption that names the target "
        "among the k best of the split's own, lower is better."
        if table["metric"].str.startswith("TCR").any()
        else ""
    )
    settled = (
        " Δ: difference on the same victims; bold where its interval leaves out 0."
        if _differences(table, look, main_split(table, look))
        else ""
    )
    recall = (
        " I2T@1 and T2I@1: share of images whose best caption, and of captions whose best image, "
        "is their own, higher is better."
        if (table["metric"] == I2T).any()
        else ""
    )
    return (
        f"All numbers in %. n = {'; '.join(parts)} per model; {seeds_text(table['seed'])}{spread}. "
        "CA@1: zero-shot accuracy on clean images, higher is better. ASR@k: share of triggered "
        "images of other classes with the target class in the top k, lower is better; the lowest "
        f"of the defences is bold.{recall}{further}{settled} '{look.attack_label(CLEAN)}': the "
        "same model trained without poison, shown the same triggers: what ASR is without a "
        "backdoor."
    )


def _plain(text: str) -> str:
    """Escape what Markdown would take for more than text."""
    return re.sub(r"[\\`*|<\[\]]", r"\\\g<0>", text)


def markdown(table: pd.DataFrame, look: Look | None = None) -> str:
    """The main table as Markdown."""
    lines = ["# Clean accuracy and attack success after each defence", "", header(table, look), ""]
    for block in main_blocks(table, look):
        lines += [f"## {_plain(block.title)}", ""]
        lines += [f"Each cell: {' / '.join(block.groups[0][1])}.", ""]
        lines.append("| Defence | " + " | ".join(_plain(label) for label, _ in block.groups) + " |")
        lines.append("|:--|" + "--:|" * len(block.groups))
        cells = block.cells(lambda text: f"**{text}**", " ± ")
        for i, ((label, _), groups) in enumerate(zip(block.rows, cells, strict=True)):
            name = _plain(label)
            name = f"*{name}*" if i >= len(block.rows) - block.reference else name
            lines.append(f"| {name} | " + " | ".join(" / ".join(g) for g in groups) + " |")
        lines.append("")
    return "\n".join(lines)


def plain(table: pd.DataFrame, look: Look | None = None) -> str:
    """The first block for a terminal: a row for each attack, the lowest ASR with a star."""
    block = main_blocks(table, look)[0]
    cells = block.cells(lambda text: f"*{text}", " ± ")
    columns = {
        label: [" / ".join(group) for group in groups]
        for (label, _), groups in zip(block.rows, cells, strict=True)
    }
    rows = pd.DataFrame(columns, index=[label for label, _ in block.groups])
    return f"{block.title} in %, the lowest ASR of the defences with a star\n\n{rows.to_string()}"


_TEX: Mapping[str, str] = {
    **{char: rf"\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "Δ": r"$\Delta$",
    "–": "--",
}


def tex(text: str) -> str:
    """Escape text for LaTeX."""
    return re.sub(r"[&%$#_{}\\~^±–−Δ]", lambda match: _TEX[match[0]], text)


def _small_half(cell: str) -> str:
    """Set the interval of a cell small and low, and its dash and minus right."""
    return re.sub(r"±([\d.]+)", r"$_{\\pm\1}$", cell).replace("–", "--").replace("−", "$-$")


def latex(table: pd.DataFrame, look: Look | None = None) -> str:
    """The main table as LaTeX floats for \\input; needs booktabs and graphicx."""
    blocks = main_blocks(table, look)
    lines = [r"% \usepackage{booktabs,graphicx}"]
    for number, block in enumerate(blocks):
        width = sum(len(columns) for _, columns in block.groups)
        caption = f"{block.title}." + (f" {header(table, look)}" if number == 0 else "")
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
        names = [tex(name) for _, columns in block.groups for name in columns]
        lines += [" & ".join(["", *heads]) + r" \\", "".join(rules)]
        lines += [" & ".join(["Defence", *names]) + r" \\", r"\midrule"]
        cells = block.cells(lambda text: rf"\textbf{{{text}}}", "±")
        for i, ((label, _), groups) in enumerate(zip(block.rows, cells, strict=True)):
            if i == len(block.rows) - block.reference:
                lines.append(r"\midrule")
            values = [_small_half(value) for group in groups for value in group]
            lines.append(" & ".join([tex(label), *values]) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table}", ""]
    return "\n".join(lines)


def write_main_table(
    table: pd.DataFrame, paths: Iterable[Path | str], look: Look | None = None
) -> None:
    """Write the main table to each path, as its suffix (.md, .tex) says; atomically."""
    writers = {".md": markdown, ".tex": latex}
    for path in map(Path, paths):
        if path.suffix not in writers:
            raise UserError(f"{path}: the main table is written as .md or .tex")
        with replacing(path) as temporary:
            temporary.write_text(writers[path.suffix](table, look), "utf-8")
