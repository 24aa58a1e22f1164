"""The figures of the report.

A figure is a module with a function of the same name, which returns a Matplotlib figure, or HTML
for a gallery of pictures. The first line of the module's docstring is the figure's title in
results/report.html, and the rest, in reStructuredText, its caption. `drawings` says which files a
figure is drawn from. The Snakefile imports this module, so it imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from taclean.config.runs import Runs

PICTURE, GALLERY = (".pdf", ".png"), (".html",)


class Drawing(NamedTuple):
    """The files that a figure is drawn from."""

    inputs: dict[str, Any]  # argument of the function -> files, for `taclean.report.inputs`
    when: bool = True  # whether these runs have something to show
    arguments: dict[str, Any] = {}  # noqa: RUF012 - never changed; `look` is always given, too
    module: str = ""  # by default the name of the figure
    suffixes: tuple[str, ...] = PICTURE  # the forms of the figure; the page shows the last one


def drawings(runs: Runs) -> dict[str, Drawing]:
    """Return what each figure is drawn from, by its name below results/figures, in page order."""
    table = {"table": "results/table.csv"}

    def samples(*defenses: str) -> dict[str, Any]:
        return {"samples": [run.path("samples.npz") for run in runs.first(defenses)]}

    cleaned, pairs = runs.defenses[1:], runs.retrieval_splits()
    learned = runs.texts_of(runs.shown, runs.seeds[0])
    has_first = (
        bool(runs.attacks[1:]) and "subcaptions" in learned and runs.dataset.form == "scenes"
    )
    captions = {
        "captions": f"{runs.data}/{runs.scored[0]}/captions.txt",
        "texts": learned["subcaptions"] if has_first else [],
    }
    histories = {"histories": [run.path("history.csv") for run in runs.cleanings()]}
    val = runs.dataset.splits[runs.config.split_of_role("val")]
    user, tested = "".join(runs.shown_user("subcaptions")), {"tested": runs.shown}
    examples = {}
    if user:
        examples = {
            "texts": runs.text("subcaptions", user, runs.seeds[0]),
            "images": runs.of_role("clean")[0],
        }
    all_samples = samples(*runs.defenses)
    found = {
        "asr_ca": Drawing(table),
        "first": Drawing(samples("none", runs.shown) | captions, has_first, tested),
        "tradeoff": Drawing(table),
        "versus": Drawing(table, runs.has_intervals()),
        "further_splits": Drawing(table, len(runs.scored) - len(pairs) > 1),
        "retrieval": Drawing(table, bool(pairs)),
        "trajectory": Drawing(
            {"histories": runs.followed()}, bool(runs.followed()), {"n": val.rows}
        ),
        "curves": Drawing(histories, bool(cleaned), {"n": val.rows}),
        "embeddings": Drawing(all_samples),
        "triggers": Drawing(samples("none")),
        "recovered": Drawing(all_samples, bool(cleaned), tested, suffixes=GALLERY),
        "subcaptions": Drawing(examples, bool(user), {"defense": user}, suffixes=GALLERY),
    }
    for name, choice in (runs.config.axes or {}).items():
        found[f"axes/{name}"] = Drawing(table, True, choice.given(), "axis")
    return {name: d._replace(module=d.module or name) for name, d in found.items()}
