"""The page of a run's results, and that of one's own model: one file each, the result first."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from docutils.core import publish_parts
from docutils.writers.html5_polyglot import Writer
from markupsafe import Markup

from taclean.results.labels import Look
from taclean.results.main_table import blocks, header, html
from taclean.results.templates import rendered
from taclean.results.verdict import BACKDOOR_POINTS, verdict

SHOWN = 12  # classes in a table
FEW = 10  # pictures of a class: with fewer, one of them counts more than ten points
RECALL = {"I2T": "{split}, picture to text, R@{k}", "T2I": "{split}, text to picture, R@{k}"}


class Section(NamedTuple):
    """A figure on the page: its body is the picture, or the gallery."""

    name: str  # what links lead to
    title: str
    caption: Markup
    body: Markup
    source: str  # the file with the function that draws it

    @classmethod
    def read(cls, file: Path | str, text: Path | str) -> Self:
        """Read a figure (.png, or .html for a gallery) and its text: a title, then the caption."""
        file, text = Path(file), Path(text)
        title, _, caption = text.read_text("utf-8").partition("\n")
        title = title.rstrip(".")
        if file.suffix == ".html":
            body = Markup(file.read_text("utf-8"))
        else:
            data = base64.b64encode(file.read_bytes()).decode()
            picture = '<figure><img src="data:image/png;base64,{}" alt="{}"></figure>'
            body = Markup(picture).format(data, title)
        settings = {"report_level": 2, "halt_level": 2, "raw_enabled": False}
        parts = publish_parts(caption, writer=Writer(), settings_overrides=settings)
        modules = Path(__file__).with_name("figures").glob("*.py")
        source = next(m for m in modules if f"\ndef {text.stem}(" in m.read_text("utf-8"))
        name = f"taclean/report/figures/{source.name}"
        return cls(file.stem, title, Markup(parts["body"]), body, name)


def page(
    table: pd.DataFrame, look: Look, figures: Sequence[Section], machines: Mapping[str, list[str]]
) -> str:
    """Return the page as HTML that needs no other file; the verdict is about the last defence.

    The first figure is the main one; `machines` has the devices of "trained_on" and "scored_on".
    """
    *_, tested = look.defenses
    return rendered(
        "page.html",
        verdict=verdict(table, look, tested),
        tested=look.defense_label(tested),
        blocks=[
            (title, block["defense"].nunique(), block["metric"].unique(), Markup(html(block)))
            for title, block in blocks(table, look)
        ],
        header=header(table, look),
        figures=figures,
        machines=machines,
        splits=look.splits,
        csv=table.to_csv(index=False, float_format="%.4f", lineterminator="\n"),
    )


class Model(NamedTuple):
    """A model, and what the stages evaluate, moves and scan wrote about it."""

    defense: str  # "none" for the model as it came
    scores: Mapping[str, Any]
    moves: Mapping[str, Any]
    scan: Mapping[str, Any]


def own_page(
    models: Sequence[Model],
    look: Look,
    name: str,
    weights: str,
    splits: Sequence[str],
    examples: Markup | None = None,
) -> str:
    """Return the page of one's own model as HTML that needs no other file.

    Args:
        models: the model as it came, then what each defence made of it.
        name, weights: open_clip's name of the model, and where the weights came from.
        splits: the scored splits, that of the tables first.
        examples: a gallery of the sub-captions that a defence was given.
    """
    first, *cleaned = models
    named = {"As it came": first}
    named |= {f"After {look.defense_label(model.defense)}": model for model in cleaned}
    return rendered(
        "own.html",
        title=f"{name}, cleaned" if cleaned else name,
        tried=[name for name in first.moves["views"] if " for " not in name],  # no scan's patterns
        backdoor=BACKDOOR_POINTS,
        weights=weights,
        models=named,
        split=splits[0],
        moved=_moved,
        percent=_percent,
        accuracy=_scores(models, splits, {"CA": "{split}, CA@{k}"}),
        scan=_scan(models),
        few=FEW,
        classes=_classes(models) if cleaned else None,
        recall=_scores(models, splits, RECALL),
        examples=examples,
    )


def _percent(score: Mapping[str, int]) -> float:
    return 100 * score["hits"] / score["n"]


def _moved(view: Mapping[str, Any]) -> float:
    """Return the points of the pictures of other classes that a trigger brings to its target."""
    return 100 * (view["triggered"] - view["clean"]) / view["n"]


def _scores(
    models: Sequence[Model], splits: Sequence[str], labels: Mapping[str, str]
) -> list[list[Any]]:
    """Return a row for each split and score whose name without its k is one of `labels`."""
    rows = []
    for split in splits:
        scores = [model.scores["splits"][split] for model in models]
        for metric, score in scores[0].items():
            kind, k = metric.split("@")
            if kind in labels:
                values = [_percent(of_model[metric]) for of_model in scores]
                rows.append([labels[kind].format(split=split, k=k), *values, f"{score['n']:,}"])
    return rows


def _scan(models: Sequence[Model]) -> list[list[Any]]:
    """Return a row for each class that optimised patterns reach most easily, and the target."""
    probes = [[probe["anomaly"] for probe in model.scan["probes"].values()] for model in models]
    scores = pd.DataFrame(np.max(probes, 1).T, models[0].scan["classes"])
    order = scores[0].sort_values(ascending=False, kind="stable").index
    rest = [name for name in order[SHOWN:] if name == models[0].scan["target"]]
    rows = [[name, *scores.loc[name]] for name in [*order[:SHOWN], *rest]]
    return [*rows, ["highest", *scores.max()]]


def _classes(models: Sequence[Model]) -> dict[str, Any]:
    """Return a row for each class whose accuracy changed most, and the counts below the table."""
    moves = [model.moves for model in models]
    hits = pd.DataFrame([own["hits"] for own in moves], columns=moves[0]["classes"]).T
    n = pd.Series(moves[0]["n"], hits.index)
    shares = 100 * hits[n > 0].div(n[n > 0], axis=0)
    change = (shares.iloc[:, -1] - shares.iloc[:, 0]).sort_values(kind="stable")
    shown = [*change.index]
    if len(shown) > 2 * SHOWN:
        shown = shown[:SHOWN] + shown[-SHOWN:]
    return {
        "rows": [[c, *shares.loc[c], f"{change[c]:+.1f}", n[c]] for c in shown],
        "lost": (change < 0).sum(),
        "gained": (change > 0).sum(),
        "small": int(((n > 0) & (n < FEW)).sum()),
    }
