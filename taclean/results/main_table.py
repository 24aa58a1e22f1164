"""The main table: clean accuracy and attack success after each defence.

`main_table` makes it as one frame and `cells` turns a block of it into text. Pandas writes that as
Markdown or HTML, and a template as LaTeX.
"""

import html as markup
import re
from collections.abc import Iterator, Sequence
from itertools import groupby

import pandas as pd

from taclean.results import table as tables
from taclean.results.labels import CLEAN, NONE, Look, ordered
from taclean.results.statistics import differences, half_text, interval_text, summary
from taclean.results.table import ASR, CA, I2T, T2I, main_rows, main_split, pick, scored_splits
from taclean.results.templates import filled
from taclean.util.errors import UserError

METRICS = ((CA, ASR), ("ASR@10",), (I2T, T2I), ("LCA@1", "LASR@1"), ("TCR@1", "TCR@10"))


def main_table(table: pd.DataFrame, look: Look) -> pd.DataFrame:
    """Return the numbers of the main table in percent, a row each; a UserError if there are none.

    Returns:
        title: the block: the main split, its ASR@10, the other splits, the last defence minus each
            other one, the clean model.
        defense, attack: their labels, as categories in the order of rows and columns.
        metric: the score; a difference starts with Δ.
        mean, half: a number and half of its 95 % interval, NaN if it has none.
        bold: the lowest success rates of the defences, and settled differences.
        reference: whether the row is the model that was never poisoned, which is no defence.
    """
    splits, main = scored_splits(table, look), main_split(table, look)
    scores = summary(table).assign(settled=False)
    poisoned, never = scores[scores["attack"] != CLEAN], pick(scores, attack=CLEAN)
    attacks = ordered(poisoned["attack"], look.attacks)
    under_attack = pd.concat([poisoned, _never_poisoned(pick(never, defense=NONE), attacks)])
    parts = []
    for split in sorted(splits, key=lambda split: split != main):
        own, under = pick(poisoned, split=split), pick(under_attack, split=split)
        under = under[under["attack"].isin(own["attack"])]
        for metrics in METRICS:
            names = [metric for metric in metrics if metric in set(own["metric"])]
            title = f"{tables.split_title(split)}: {' and '.join(names)}"
            if split == main or names != ["ASR@10"]:
                parts.append(under[under["metric"].isin(names)].assign(title=title))
    parts.append(_differences(table, look))
    for metrics in ((CA,), (I2T, T2I)):
        title = f"{look.attack_label(CLEAN)}: {' and '.join(metrics)} of the clean model"
        block = never[never["metric"].isin(metrics) & never["split"].isin(splits)]
        parts.append(block.assign(title=f"{title} after each defence", attack=block["split"]))
    found = pd.concat([part for part in parts if len(part)] or [scores], ignore_index=True)
    if "title" not in found:
        raise UserError("results/table.csv: no CA@1, ASR@1 or recall@1; evaluate a run")
    found["bold"] = _lowest(found) | found["settled"]
    found["reference"] = found["defense"] == CLEAN
    defenses = {d: look.defense_label(d) for d in ordered(table["defense"], look.defenses)}
    rows = defenses | {CLEAN: look.attack_label(CLEAN)}
    rows |= {f"−{defense}": f"− {label}" for defense, label in defenses.items()}
    columns = {a: look.attack_label(a) for a in attacks} | {s: f"{s} split" for s in splits}
    for key, labels in (("defense", rows), ("attack", columns)):
        found[key] = pd.Categorical(found[key].map(labels), [*dict.fromkeys(labels.values())])
    return found[["title", "defense", "attack", "metric", "mean", "half", "bold", "reference"]]


def _never_poisoned(never: pd.DataFrame, attacks: Sequence[str]) -> pd.DataFrame:
    """Return the clean model's scores as rows of each attack, whose trigger it was shown."""
    triggered = never["metric"].map(tables.of_the_attacker).astype(bool)
    own = never[~triggered].drop(columns="attack").merge(pd.Series(attacks, name="attack"), "cross")
    shown = never[triggered].copy()
    shown[["split", "attack"]] = shown["split"].str.extract(r"(.*)\+(.*)")
    return pd.concat([own, shown]).assign(defense=CLEAN)


def _differences(table: pd.DataFrame, look: Look) -> pd.DataFrame:
    """Return the last defence minus each other one on the main split, if there are intervals."""
    rows = main_rows(table, look)
    *others, last = ordered(rows["defense"], look.defenses) or [NONE]
    found = differences(rows, [(last, other) for other in others])
    if found["low"].isna().all():
        return found[:0]
    title = tables.split_title(main_split(table, look))
    title = f"{title}: {look.defense_label(last)} minus each other"
    return found.assign(
        title=f"{title}, same victims",
        defense="−" + found["against"],
        metric="Δ" + found["metric"],
        mean=found["difference"],
        half=(found["high"] - found["low"]) / 2,
    )


def _lowest(found: pd.DataFrame) -> pd.Series:
    """Return which success rates are printed as the lowest of at least two defences."""
    rates = found[(found["defense"] != CLEAN) & found["metric"].map(tables.of_the_attacker)]
    printed = rates["mean"].map("{:.1f}".format).astype(float)
    group = printed.groupby([rates["title"], rates["attack"], rates["metric"]])
    lowest = (printed == group.transform("min")) & (group.transform("size") > 1)
    return lowest.reindex(found.index, fill_value=False)


def blocks(table: pd.DataFrame, look: Look) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each title of the main table with its numbers."""
    yield from main_table(table, look).groupby("title", sort=False)  # type: ignore[misc]


def cells(block: pd.DataFrame, bold: str = "**{}**") -> pd.DataFrame:
    """Return a block as text: a row for each defence, a column for each (attack, metric).

    `bold` is the format of a bold number.
    """

    def text(mean: float, half: float, metric: str, mark: bool) -> str:
        number = f"{mean:+.1f}".replace("-", "−") if metric[0] == "Δ" else f"{mean:.1f}"
        number += half_text(half)
        return bold.format(number) if mark else number

    texts = [*map(text, block["mean"], block["half"], block["metric"], block["bold"])]
    metrics = pd.Categorical(block["metric"], block["metric"].unique())
    found = block.assign(text=texts, metric=metrics).sort_values(["attack", "metric"])
    wide = found.pivot(index="defense", columns=["attack", "metric"], values="text")
    return wide.sort_index().fillna("–")


def by_attack(texts: pd.DataFrame, between: str = " / ") -> pd.DataFrame:
    """Join the metrics of each attack: a row for each attack, a column for each defence."""
    joined = texts.T.groupby(level="attack", sort=False).agg(between.join)
    return joined.rename_axis(index=None, columns=None)


def numbers_text(table: pd.DataFrame, look: Look) -> str:
    """Return what the numbers are: unit, counts, seeds and intervals."""
    over = interval_text(table)
    counts = {s: tables.images_text(table, s) for s in scored_splits(table, look)}
    n = "; ".join(f"{text} ({split} split)" for split, text in counts.items() if text)
    spread = f"; mean {'with' if over.startswith('no') else '± half of its'} {over}" * bool(over)
    return f"All numbers in %. n = {n} per model; {tables.seeds_text(table['seed'])}{spread}."


def header(table: pd.DataFrame, look: Look) -> str:
    """Return what the numbers are and how to read each score."""
    never, compared = look.attack_label(CLEAN), len(_differences(table, look)) > 0
    how = filled("reading.txt", measured={*table["metric"]}, compared=compared, never=never)
    return " ".join([numbers_text(table, look), *how.splitlines()])


def _escaped(text: str) -> str:
    """Escape what Markdown would take for markup."""
    return re.sub(r"[\\`*|<\[\]]", r"\\\g<0>", text)


def block_markdown(block: pd.DataFrame) -> str:
    """Return a block as a Markdown table: a row for each defence, a column for each attack."""
    texts = by_attack(cells(block)).T.rename(index=_escaped, columns=_escaped)
    never = block.loc[block["reference"], "defense"].map(_escaped)
    texts = texts.rename(index={name: f"*{name}*" for name in never})
    return tables.markdown_table(texts.rename_axis("Defence").reset_index())


def markdown(table: pd.DataFrame, look: Look) -> str:
    parts = ["# Clean accuracy and attack success after each defence", header(table, look)]
    for title, block in blocks(table, look):
        each = f"Each cell: {' / '.join(block['metric'].unique())}."
        parts += [f"## {_escaped(title)}", each, block_markdown(block)]
    return "\n\n".join(parts) + "\n"


def html(block: pd.DataFrame) -> str:
    """Return a block as an HTML table: a row for each attack, a column for each defence."""
    texts = cells(block, "<b>{}</b>").map("<span>{}</span>".format)
    texts = by_attack(texts, "").rename(index=markup.escape, columns=markup.escape)
    kinds = {"tall": block["half"].notna().any(), "reference": block["reference"].any()}
    classes = [kind for kind, shown in kinds.items() if shown]
    return texts.to_html(escape=False, border=0, classes=classes, justify="unset")


def latex(table: pd.DataFrame, look: Look) -> str:
    """Return the main table as LaTeX floats for \\input; needs booktabs and graphicx."""
    floats, half = [], {r" ± ([\d.+]+)": r"$_{\\pm\1}$"}
    for title, block in blocks(table, look):
        texts = cells(block, r"\textbf{{{}}}")
        texts = texts.replace({"–": "--", "−": "$-$", **half}, regex=True)
        names = groupby(texts.columns.get_level_values("attack"))
        attacks = [(name, len([*own])) for name, own in names]
        never = block.loc[block["reference"], "defense"].unique()
        floats.append((title, texts, attacks, block["metric"].nunique(), never))
    return filled("main_table.tex", floats=floats, header=header(table, look))
