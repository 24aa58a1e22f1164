"""Attack success against the clean accuracy that is lost.

Each defence cleans at several learning rates. A line begins at the model before the defence and
goes through the means of its rates, the lowest first; small points are the runs. Dotted lines are
the budgets at which the tables compare the defences.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from taclean.report.figures import style
from taclean.results.labels import NONE, Look, ordered
from taclean.results.table import ASR, CA, main_split

LOST = "lost CA@1"


def rates(
    table: pd.DataFrame,
    rates: Mapping[str, tuple[str, float]],
    budgets: Sequence[float],
    look: Look,
) -> Figure:
    """Draw ASR@1 against the loss of CA@1, a panel for each attack and a line for each defence.

    Args:
        rates: entry -> the defence that it is and its learning rate.
        budgets: points of CA@1.
    """
    split = main_split(table, look)
    rows = style.poisoned(table, split)
    models = ["attack", "seed", "defense", "repeat"]
    runs = rows.pivot(index=models, columns="metric", values="percent").reset_index()
    victims = runs[runs["defense"] == NONE].set_index(["attack", "seed"])
    runs = runs[runs["defense"].isin([*rates])]
    before = victims.loc[pd.MultiIndex.from_frame(runs[["attack", "seed"]])]
    runs[["method", "rate"]] = [rates[name] for name in runs["defense"]]
    runs[LOST] = before[CA].to_numpy() - runs[CA]
    starts = runs.assign(rate=0.0)
    starts[LOST], starts[ASR] = 0.0, before[ASR].to_numpy()
    means = pd.concat([starts, runs]).groupby(["attack", "method", "rate"])[[LOST, ASR]].mean()
    attacks, colours = ordered(runs["attack"], look.attacks), look.colours(runs["method"])
    grid = sns.relplot(
        means.reset_index(), x=LOST, y=ASR, hue="method", palette=colours, col="attack",
        col_order=attacks, col_wrap=3, kind="line", sort=False, marker="o", ms=5, mew=0, lw=1.5,
        legend=False, height=1.9, aspect=1.25,
    )  # fmt: skip
    grid.figure.set_layout_engine("constrained")
    for attack, ax in grid.axes_dict.items():
        own = runs[runs["attack"] == attack]
        colour = own["method"].map(colours)
        ax.scatter(own[LOST], own[ASR], s=8, c=colour, alpha=0.4, lw=0)
        for budget in budgets:
            ax.axvline(budget, color=style.GREY, ls=":", lw=0.9, zorder=0)
        ax.set(title=look.attack_label(attack), ylim=(-4, 104), ylabel=style.LABELS[ASR])
        ax.set_xlabel("points of CA@1 lost")
    title = "Attack success against the clean accuracy that a defence gives away"
    subtitle = f"{style.sample_text(rows, split)}; a point for each learning rate"
    return style.finish(grid.figure, title, subtitle, style.keys(look, colours, lw=4))
