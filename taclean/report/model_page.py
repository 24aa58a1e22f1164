"""The page of one's own model, before and after cleaning: results/own.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup

from taclean.report.figures.gallery import html_table
from taclean.report.page import rendered
from taclean.results.labels import Look
from taclean.results.table import CA

SHOWN = 12  # classes in a table
SUSPICIOUS = 2  # Neural Cleanse's bound of the anomaly index
FEW = 10  # pictures of a class: with fewer, one of them counts more than ten points

MOVES = (
    "Share in % of the pictures of other classes that go to the target with the trigger; in "
    "brackets the points by which it is more than without. Own class: the share that still gets "
    "its own class. “For CLASS” are patterns that the scan below optimised on the model as it "
    "came. A backdoor with another trigger is not seen here."
)
SCAN = Markup(
    "Deviations above the median class, of the easiest of the probes {}. Above {} a class stands "
    "out, and in a clean model of many classes a few do. This is a hint where to look, no proof: "
    "compare with clean models of the same kind (target <code>scan</code>)."
)


class Model(NamedTuple):
    """A model, and what the stages evaluate, moves and scan wrote about it.

    Attributes:
        defense: "none" for the model as it came.
    """

    defense: str
    scores: Mapping[str, Any]
    moves: Mapping[str, Any]
    scan: Mapping[str, Any]


class Part(NamedTuple):
    """A part of the page: a table, and words below it; each may be empty."""

    title: str
    table: str = ""
    note: str = ""


def page(
    models: Sequence[Model],
    look: Look,
    name: str,
    weights: str,
    splits: Sequence[str],
    examples: Markup | None = None,
) -> str:
    """Return the page as HTML that needs no other file.

    Args:
        models: the model as it came, then what each defence made of it.
        name, weights: open_clip's name of the model, and where the weights came from.
        splits: the scored splits, that of the tables first.
        examples: a gallery of the sub-captions that a defence was given.
    """
    names = ["As it came"] + [f"After {look.defense_label(one.defense)}" for one in models[1:]]
    parts = [
        _scores("Clean accuracy", models, names, splits, {"CA": "{split}, CA@{k}"}, "pictures"),
        _moves(models, names),
        _scan(models, names),
        *([_classes(models, names)] if len(models) > 1 else []),
    ]
    ways = {"I2T": "{split}, picture to text, R@{k}", "T2I": "{split}, text to picture, R@{k}"}
    recall = _scores("Retrieval on held-out pairs", models, names, splits, ways, "queries")
    parts += [recall] if recall.table else []
    parts += [Part("Sub-captions that were used", examples)] if examples else []
    return rendered(
        "own.html",
        title=f"{name}, cleaned" if len(models) > 1 else name,
        weights=weights,
        target=models[0].scan["target"],
        first=[(name, _in_short(one, splits[0])) for name, one in zip(names, models, strict=True)],
        parts=parts,
    )


def _percent(score: Mapping[str, int]) -> float:
    return 100 * score["hits"] / score["n"]


def _moved(view: Mapping[str, Any]) -> float:
    """Return the points of the pictures of other classes that a trigger brings to its target."""
    return 100 * (view["triggered"] - view["clean"]) / view["n"]


def _in_short(model: Model, split: str) -> str:
    """Return what a reader needs to know first about a model."""
    parts = [f"clean accuracy {_percent(model.scores['splits'][split][CA]):.1f} %"]
    if views := model.moves["views"]:
        worst = max(views, key=lambda view: _moved(views[view]))
        parts.append(
            f"the trigger that moves most pictures is {worst}: {_moved(views[worst]):+.1f} points "
            f"towards {views[worst]['target']}"
        )
    scan = model.scan
    parts.append(f"optimised patterns reach {scan['named']} most easily ({scan['score']:.1f})")
    return "; ".join(parts)


def _scores(
    title: str,
    models: Sequence[Model],
    names: Sequence[str],
    splits: Sequence[str],
    labels: Mapping[str, str],
    unit: str,
) -> Part:
    """Return a row for each split and score whose name without its k is one of `labels`."""
    rows = []
    for split in splits:
        for metric, score in models[0].scores["splits"][split].items():
            kind, k = metric.split("@")
            if kind in labels:
                values = [_percent(one.scores["splits"][split][metric]) for one in models]
                rows.append([labels[kind].format(split=split, k=k), *values, f"{score['n']:,}"])
    return Part(title, html_table(["%", *names, unit], rows) if rows else "")


def _moves(models: Sequence[Model], names: Sequence[str]) -> Part:
    views = [model.moves["views"] for model in models]
    if not views[0]:
        note = Markup("No trigger was tried: name some in <code>evaluate.triggers</code>.")
        return Part("Triggers", note=note)
    rows = []
    for name, view in views[0].items():
        own = [of_model[name] for of_model in views]
        reached = [f"{100 * v['triggered'] / v['n']:.1f} ({_moved(v):+.1f})" for v in own]
        kept = [100 * v["own"] / v["n"] for v in own]
        picture = Markup('<img alt="" src="{}">').format(models[0].moves["examples"][name])
        most, gain = view["gains"]
        gains = f"{most} ({gain:+d})" if gain else "–"
        rows.append([name, picture, view["target"], *reached, *kept, gains])
    own_class = [f"own class, {name[0].lower()}{name[1:]}" for name in names]
    head = ["Trigger", "", "target", *names, *own_class, "gains most, as it came"]
    return Part("Triggers that were tried", html_table(head, rows), MOVES)


def _scan(models: Sequence[Model], names: Sequence[str]) -> Part:
    scores = pd.DataFrame(
        {
            name: pd.Series(
                np.max([probe["anomaly"] for probe in model.scan["probes"].values()], 0),
                model.scan["classes"],
            )
            for name, model in zip(names, models, strict=True)
        }
    )
    order = scores[names[0]].sort_values(ascending=False, kind="stable").index
    target = models[0].scan["target"]
    shown = [*order[:SHOWN], *([target] if target in order[SHOWN:] else [])]
    rows = [[name, *scores.loc[name]] for name in shown] + [["highest", *scores.max()]]
    note = SCAN.format(", ".join(models[0].scan["probes"]), SUSPICIOUS)
    question = "Which class do optimised patterns reach most easily?"
    return Part(question, html_table(["Class", *names], rows), note)


def _classes(models: Sequence[Model], names: Sequence[str]) -> Part:
    first = models[0].moves
    hits = pd.DataFrame(
        {name: model.moves["hits"] for name, model in zip(names, models, strict=True)},
        first["classes"],
    )
    n = pd.Series(first["n"], first["classes"])
    shares = 100 * hits[n > 0].div(n[n > 0], axis=0)
    change = (shares[names[-1]] - shares[names[0]]).sort_values(kind="stable")
    shown = [*change.index]
    if len(shown) > 2 * SHOWN:
        shown = shown[:SHOWN] + shown[-SHOWN:]
    rows = [[c, *shares.loc[c], f"{change[c]:+.1f}", n[c]] for c in shown]
    text = f"{(change < 0).sum()} classes lost, {(change > 0).sum()} gained; shown are those that "
    text += "lost and gained most."
    if few := int(((n > 0) & (n < FEW)).sum()):
        text += f" {few} classes have fewer than {FEW} pictures."
    table = html_table(["Class", *names, "change", "pictures"], rows)
    return Part("Accuracy of each class", table, text)
