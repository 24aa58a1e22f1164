"""The figures of the report.

A figure is a function of its name, which returns a Matplotlib figure, or HTML for a gallery of
pictures. `drawings` says in which module it is and which files it is drawn from. The file of its
name in assets/figures has its title in results/report.html, and its caption in reStructuredText.
The Snakefile imports this module, so it imports nothing heavy.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from taclean.runs import Runs

PICTURE, GALLERY = (".pdf", ".png"), (".html",)


class Drawing(NamedTuple):
    """The files that a figure is drawn from."""

    module: str  # of this folder
    inputs: dict[str, Any]  # argument of the function -> files, for `taclean.report.inputs`
    when: bool = True  # whether these runs have something to show
    arguments: dict[str, Any] = {}  # noqa: RUF012 - never changed; `look` is always given, too
    suffixes: tuple[str, ...] = PICTURE  # the forms of the figure; the page shows the last one


def drawings(runs: "Runs") -> dict[str, Drawing]:
    """Return what each figure is drawn from, in page order.

    The keys are names below results/figures, which begin with that of the function.
    """
    table, at_rates = {"table": "results/table.csv"}, {"table": "results/rates.csv"}
    seed, data, config = runs.seeds[0], runs.data, runs.config

    def samples(*defenses: str) -> dict[str, Any]:
        shown = runs.all(defenses, runs.attacks[1:], [seed], [0])
        return {"samples": [run.path("samples.npz") for run in shown]}

    def texts(defense: str) -> dict[str, Any]:
        return {"texts": runs.texts_of(defense, seed)["subcaptions"]} if defense else {}

    cleaned, tested = runs.defenses[1:], runs.pictured[-1]
    pairs = [split for split in runs.scored if "labels" not in config.gives(split)]
    has_first = runs.dataset.form == "scenes" and "subcaptions" in runs.texts_of(tested, seed)
    captions = {"captions": f"{data}/{runs.scored[0]}/captions.txt"}
    first = samples("none", tested) | captions | texts(tested if has_first else "")
    user, models = runs.shown_user("subcaptions"), samples(*runs.pictured)
    examples = {**texts(user), "images": runs.of_role("clean")[0]} if user else {}
    histories = {"histories": runs.histories(cleaned)}
    followed = {"histories": runs.followed()}
    val = {"n": runs.dataset.splits[config.split_of_role("val")].rows}
    compared = {"rates": config.rates, "budgets": config.run.budgets}
    found = {
        "asr_ca": Drawing("bars", table),
        "first": Drawing("samples", first, has_first),
        "rates": Drawing("tradeoff", at_rates, bool(config.rates), compared),
        "tradeoff": Drawing("tradeoff", table),
        "versus": Drawing("versus", table, runs.has_intervals()),
        "further_splits": Drawing("bars", table, len(runs.scored) - len(pairs) > 1),
        "retrieval": Drawing("bars", table, bool(pairs)),
        "trajectory": Drawing("curves", followed, bool(followed["histories"]), val),
        "curves": Drawing("curves", histories, bool(cleaned), val),
        "embeddings": Drawing("samples", models),
        "triggers": Drawing("samples", samples("none")),
        "recovered": Drawing("gallery", models, bool(cleaned), suffixes=GALLERY),
        "subcaptions": Drawing("gallery", examples, bool(user), {"defense": user}, GALLERY),
    }
    for name, choice in config.axes.items():
        found[f"axes/{name}"] = Drawing("axes", table, True, choice.given())
    return found
