"""One choice at a time: the entries along the axis differ in this one choice alone."""

import textwrap
from collections.abc import Mapping
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from taclean.report.figures.style import LABELS, finish, interval, keys, sample_text
from taclean.results.labels import FEWEST_SEEDS, Look, ordered
from taclean.results.statistics import victims
from taclean.results.table import ASR, CA, main_rows, pick


def axes(table: pd.DataFrame, label: str, values: Mapping[str, str], look: Look) -> Figure:
    """Draw ASR@1 above and CA@1 below at each value of the choice.

    If the choice is a defence's, there is a column for each attack, and dashed lines show the
    methods that are no part of it, without their variants. If it is an attack's, there is a line
    for each defence.

    Args:
        label: what changes.
        values: attack or defence -> what stands below it, in the order of the axis.
    """
    rows = main_rows(table, look)
    of_defense = bool({*values} & {*rows["defense"]})
    if of_defense:
        choice, column, columns = "defense", "attack", ordered(rows["attack"], look.attacks)
        others = [name for name in look.methods(rows["defense"]) if name not in values]
    else:
        choice, column, columns = "attack", "split", [*rows["split"].unique()]
        rows = rows[rows["attack"].isin(values)]
        others = ordered(rows["defense"], look.defenses)
    colours = {name: look.colours(rows["defense"])[name] for name in others}
    means = victims(rows)
    points = means[means[choice].isin(values)]
    points = points.assign(line="" if of_defense else points["defense"])
    shift = {name: 0.06 * (n - (len(others) - 1) / 2) for n, name in enumerate(others)}
    points["x"] = points[choice].map([*values].index) + points["line"].map({**shift, "": 0})
    number = points["seed"].nunique()
    texts = [textwrap.fill(text, 16) for text in values.values()]
    widest = max(len(line) for text in texts for line in text.split("\n"))
    width = max(1.8, len(values) * max(0.45, 0.1 + 0.07 * widest), 4.2 / len(columns))
    style: dict[str, Any] = {"x": "x", "y": "percent", "hue": "line", "legend": False}
    style |= {"palette": {**colours, "": "black"}, "marker": "o", "mew": 0}
    grid = sns.relplot(
        points, **style, row="metric", row_order=[ASR, CA], col=column, col_order=columns,
        kind="line", errorbar=interval if number >= FEWEST_SEEDS else None, err_style="bars", ms=5,
        lw=1.2, height=1.8, aspect=width / 1.8, facet_kws={"sharey": "row"},
    )  # fmt: skip
    grid.figure.set_layout_engine("constrained")
    grid.set_titles("")
    thin = {"units": "seed", "estimator": None, "ms": 2.5, "lw": 0.6, "alpha": 0.4}
    for (metric, name), ax in grid.axes_dict.items():
        if number > 1:
            sns.lineplot(pick(points, metric=metric, **{column: name}), **style, **thin, ax=ax)
        if of_defense:
            if metric == ASR:
                ax.set_title(look.attack_label(name))
            own = pick(means, metric=metric, attack=name).groupby("defense")["percent"].mean()
            for other, mean in own.reindex(others).dropna().items():
                ax.axhline(mean, color=colours[str(other)], lw=1.2, ls="--", zorder=1)
        ax.set_xticks(range(len(values)), texts)
        ax.set(xlim=(-0.5, len(values) - 0.5), xlabel="")
        ax.set_ylabel(LABELS[metric] if name == columns[0] else "")
        ax.grid(False, axis="x")
    subtitle = sample_text(rows, "mean with")
    subtitle += f"{'; thin: each victim' if number > 1 else ''}; vertical axes do not start at 0"
    handles = keys(look, colours, ls="--" if of_defense else "-")
    return finish(grid.figure, label[:1].upper() + label[1:], subtitle, handles)
