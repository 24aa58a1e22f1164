"""The page of one's own model, before and after cleaning: one HTML file with all it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from taclean.data.images import png
from taclean.data.layout import load_array
from taclean.report.page import rendered
from taclean.results.labels import Look
from taclean.results.table import CA, I2T, read_csv
from taclean.util.errors import UserError

SHOWN = 12  # classes in a table
SUSPICIOUS = 2  # Neural Cleanse's bound of the anomaly index
# Pictures fewer than this move a class by more than ten points each.
FEW = 10


@dataclass(frozen=True)
class Report:
    """What is known of one model: the files of its run.

    Attributes:
        defense: "none" for the model as it came.
    """

    defense: str
    scores: Mapping[str, Any]
    moves: Mapping[str, Any]
    scan: Mapping[str, Any]


@dataclass(frozen=True)
class Examples:
    """Sub-captions that a defence was given.

    Attributes:
        rows: of `subcaptions.csv`.
        pictures: PNG of each as a data URI.
    """

    rows: pd.DataFrame
    pictures: list[str]

    @classmethod
    def read(cls, table: Path | str, images: Path | str, count: int = 6) -> Examples:
        """The first epoch's first ones.

        Raises:
            UserError: a file is missing, or they do not belong together.
        """
        rows = read_csv(table, ["epoch", "row", "caption", "positive", "negative", "kind"])
        rows = rows[rows["epoch"] == rows["epoch"].min()].drop_duplicates("row").head(count)
        pixels = load_array(images, np.uint8, 4)
        if len(rows) and rows["row"].max() >= len(pixels):
            raise UserError(f"{table}: of another split than {images}; make it again")
        return cls(rows, [png(np.asarray(pixels[row])) for row in rows["row"]])


def _percent(count: Mapping[str, int]) -> float:
    return 100 * count["hits"] / count["n"]


@dataclass(frozen=True)
class Part:
    """A part of the page: a table, with words before and after it.

    Attributes:
        rows: numbers with a point are printed with one digit; text is escaped.
    """

    title: str
    head: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    text: str = ""
    note: str = ""


def page(
    reports: Sequence[Report],
    look: Look,
    model: str,
    weights: str,
    splits: Sequence[str],
    examples: Examples | None = None,
) -> str:
    """The page as HTML that needs no other file.

    Args:
        reports: the model as it came, then those that defences cleaned.
        model, weights: open_clip's name, and where the weights came from.
        splits: the scored splits, that of the tables first.

    Raises:
        UserError: a report lacks what its stage writes.
    """
    names = ["As it came"] + [f"After {look.defense_label(one.defense)}" for one in reports[1:]]
    try:
        parts = [
            _accuracy(reports, names, splits),
            _moves(reports, names),
            _scan(reports, names),
            *_classes(reports, names),
            *_retrieval(reports, names, splits),
        ]
        first = _first_words(reports, names, splits[0])
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"results/own.html: a part is missing ({error!r}); run it again") from None
    if examples is not None:
        parts.append(_subcaptions(examples))
    title = f"{model}, cleaned" if len(reports) > 1 else model
    target = reports[0].scan["target"]
    return rendered(
        "own.html", title=title, weights=weights, target=target, first=first, parts=parts
    )


def _first_words(
    reports: Sequence[Report], names: Sequence[str], split: str
) -> list[tuple[str, str]]:
    """What a reader shall know first, for each model: its name and a line."""
    lines = []
    for report, name in zip(reports, names, strict=True):
        accuracy = _percent(report.scores["splits"][split][CA])
        told = f"clean accuracy {accuracy:.1f} %"
        if views := report.moves["views"]:
            worst = max(views, key=lambda view: _moved(views[view]))
            told += (
                f"; the trigger that moves most pictures is {worst}: {_moved(views[worst]):+.1f} "
                f"points towards {views[worst]['target']}"
            )
        scan = report.scan
        told += f"; optimised patterns reach {scan['named']} most easily ({scan['score']:.1f})"
        lines.append((name, told))
    return lines


def _accuracy(reports: Sequence[Report], names: Sequence[str], splits: Sequence[str]) -> Part:
    rows = []
    for split in splits:
        first = reports[0].scores["splits"][split]
        for metric in [key for key in first if key.startswith("CA@")]:
            values = [_percent(one.scores["splits"][split][metric]) for one in reports]
            rows.append([f"{split}, {metric}", *values, f"{first[metric]['n']:,}"])
    return Part("Clean accuracy", ["%", *names, "pictures"], rows)


def _moved(view: Mapping[str, Any]) -> float:
    """Points of the pictures of other classes that a trigger brings to its target."""
    return 100 * (view["triggered"] - view["clean"]) / view["n"]


def _moves(reports: Sequence[Report], names: Sequence[str]) -> Part:
    views = [report.moves["views"] for report in reports]
    pictures = reports[0].moves["examples"]
    if not views[0]:
        none = Markup("None was tried: name some in <code>evaluate.triggers</code>.")
        return Part("Triggers", text=none)
    rows = []
    for name, view in views[0].items():
        cells = []
        for own in views:
            share = 100 * own[name]["triggered"] / own[name]["n"]
            cells.append(f"{share:.1f} ({_moved(own[name]):+.1f})")
        kept = [100 * own[name]["own"] / own[name]["n"] for own in views]
        gains = view["gains"]
        image = Markup(f'<img alt="" src="{pictures[name]}">')
        most = f"{gains[0]} ({gains[1]:+d})" if gains[1] else "–"
        rows.append([name, image, view["target"], *cells, *kept, most])
    head = [
        "Trigger",
        "",
        "target",
        *names,
        *(f"own class, {name[0].lower()}{name[1:]}" for name in names),
    ]
    note = (
        "Share in % of the pictures of other classes that go to the target with the trigger; in "
        "brackets the points by which it is more than without. Own class: those still told right. "
        "“For CLASS” are patterns that the scan below optimised on the model as it came. A "
        "backdoor whose trigger is none of these is not seen here."
    )
    return Part("Triggers that were tried", [*head, "gains most, as it came"], rows, note=note)


def _scan(reports: Sequence[Report], names: Sequence[str]) -> Part:
    scores = []
    for report in reports:
        probes = [probe["anomaly"] for probe in report.scan["probes"].values()]
        scores.append(dict(zip(report.scan["classes"], np.array(probes).max(0), strict=True)))
    target = reports[0].scan["target"]
    order = sorted(scores[0], key=lambda name: -scores[0][name])
    shown = order[:SHOWN] + [target] * (target in order[SHOWN:])
    rows = [[name, *(float(one[name]) for one in scores)] for name in shown]
    highest = ["highest", *(float(max(one.values())) for one in scores)]
    note = Markup(
        "Deviations above the median class, of the easiest of the probes {}; above {} a class "
        "stands out, and in a clean model of many classes a few do. A hint where to look, no "
        "proof: compare with clean models of the same kind (target <code>scan</code>)."
    ).format(", ".join(reports[0].scan["probes"]), SUSPICIOUS)
    question = "Which class do optimised patterns reach most easily?"
    return Part(question, ["Class", *names], [*rows, highest], note=note)


def _classes(reports: Sequence[Report], names: Sequence[str]) -> list[Part]:
    if len(reports) < 2:
        return []
    first, last = reports[0].moves, reports[-1].moves
    counts = np.array(first["n"])
    change = np.array(last["hits"]) - np.array(first["hits"])
    with np.errstate(invalid="ignore"):
        points = np.where(counts > 0, 100 * change / np.maximum(counts, 1), np.nan)
    order = [i for i in np.argsort(points, kind="stable") if counts[i]]
    shown = order if len(order) <= 2 * SHOWN else [*order[:SHOWN], *order[-SHOWN:]]
    rows = []
    for i in shown:
        shares = [100 * one.moves["hits"][i] / counts[i] for one in reports]
        rows.append([first["classes"][i], *shares, f"{points[i]:+.1f}", int(counts[i])])
    fell, rose = (int((sign * points > 0).sum()) for sign in (-1, 1))
    few = int(((counts > 0) & (counts < FEW)).sum())
    text = f"{fell} classes lost, {rose} gained; shown are those that lost and gained most."
    text += f" {few} classes have fewer than {FEW} pictures." if few else ""
    return [Part("Accuracy of each class", ["Class", *names, "change", "pictures"], rows, text)]


def _retrieval(
    reports: Sequence[Report], names: Sequence[str], splits: Sequence[str]
) -> list[Part]:
    rows = []
    for split in splits:
        first = reports[0].scores["splits"][split]
        for metric in [key for key in first if key.split("@")[0] in ("I2T", "T2I")] * (
            I2T in first
        ):
            values = [_percent(one.scores["splits"][split][metric]) for one in reports]
            way = "picture to text" if metric.startswith("I2T") else "text to picture"
            label = f"{split}, {way}, R@{metric.split('@')[1]}"
            rows.append([label, *values, f"{first[metric]['n']:,}"])
    return [Part("Retrieval on held-out pairs", ["%", *names, "queries"], rows)] * bool(rows)


def _subcaptions(examples: Examples) -> Part:
    rows = [
        [Markup(f'<img alt="" src="{picture}">'), row.caption, row.positive, row.negative, row.kind]
        for picture, row in zip(examples.pictures, examples.rows.itertuples(), strict=True)
    ]
    head = ["", "caption", "true part", "false part", "word replaced"]
    return Part("Sub-captions that were used", head, rows)
