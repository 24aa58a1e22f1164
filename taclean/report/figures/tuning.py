"""What each defence can have, and what was chosen.

Cleaned harder, a model loses more of the backdoor (ASR@1) and more of its use (CA@1). A point is a
trial, a setting of one defence, and its means over the attacks and seeds of the tuning; every
defence has the same number of trials. The grey lines are the poisoned models' CA, and the limit
below it. Chosen is each defence's lowest ASR above the limit; where no trial is above it, the one
that loses least.
"""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from taclean.report.figures.style import GREY, finish, keys, safety_axes
from taclean.results.labels import NONE, Look
from taclean.results.table import pick, seeds_text
from taclean.results.tuning import choose


def front(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials that no other one beats in both ASR and CA, by their ASR."""
    order = trials.sort_values(["ASR", "CA"], ascending=[True, False])
    return order[order["CA"] > order["CA"].cummax().shift(fill_value=float("-inf"))]


def tuning(grid: pd.DataFrame, within: float, look: Look) -> Figure:
    """Draw mean CA@1 against mean ASR@1 on val: a point per trial, a line per defence's best ones.

    Args:
        grid: of `taclean.results.tuning`.
        within: points of CA@1 that a choice may lose.
    """
    trials = choose(grid, within)
    colours, grey = look.colours(trials["defense"]), look.colours([NONE])[NONE]
    ca, asr = grid.drop_duplicates(["attack", "seed"])[["victim_CA", "victim_ASR"]].mean()
    figure, ax = plt.subplots(figsize=(6.0, 3.5), layout="constrained")
    ax.axhline(ca, color=GREY, lw=1.0)
    ax.axhline(ca - within, color=GREY, lw=1.0, ls="--", label=f"{within:g} points below")
    ax.plot(asr, ca, "X", color=grey, ms=8, label=look.defense_label(NONE))
    ax.plot([], [], "o", ms=9, mfc="none", mec="black", label="chosen")
    for defense, colour in colours.items():
        own = pick(trials, defense=defense)
        best, chosen = front(own), own[own["chosen"]]
        ax.plot(own["ASR"], own["CA"], "o", color=colour, ms=5, alpha=0.5, mew=0)
        ax.plot(best["ASR"], best["CA"], "o-", color=colour, ms=5, lw=1.4)
        ax.plot(chosen["ASR"], chosen["CA"], "o", ms=11, mfc="none", mec=colour, mew=1.6)
        style: dict[str, Any] = {"size": 6.8, "color": colour, "textcoords": "offset points"}
        for _, row in own.iterrows():
            ax.annotate(str(row["trial"]), (row["ASR"], row["CA"]), (5, -8), **style)
    low, high = (f([*trials["CA"], ca, ca - within]) for f in (min, max))
    margin = max(1.0, 0.08 * (high - low))
    safety_axes(ax, low - margin, high + margin)
    handles = [*keys(look, colours, marker="o", ms=4), *ax.get_legend_handles_labels()[0]]
    attacks = ", ".join(map(look.attack_label, dict.fromkeys(grid["attack"])))
    subtitle = (
        f"val split, means over {attacks}; {seeds_text(grid['seed'])}; a point: a trial, by its "
        "number; line: trials that no other beats; ringed: the largest rate within the limit"
    )
    title = "What each defence can have of clean accuracy and safety"
    return finish(figure, title, subtitle, handles)
