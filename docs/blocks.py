"""The blocks of README.md and docs/: each function returns the Markdown between two marks."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from docs.held_back import against, expected, summary
from docs.runs import DEFAULT, Run
from taclean import config as configs
from taclean.detectors import detection_table, scan_table
from taclean.results import main_table as tables
from taclean.results import statistics as stats
from taclean.results.histories import LOSS, choose, headline
from taclean.results.labels import CLEAN, FEWEST_SEEDS, NONE, Look, labelled
from taclean.results.statistics import interval_text, plus_minus, signed
from taclean.results.table import ASR, CA, markdown_table, of_the_attacker, pick, scored_splits
from taclean.results.verdict import verdict

EVIDENCE = "evidence rebound structured few axes threat vit".split()
TIME = """`make reproduce` took {} min with its install on {} (with an older version), \
and {} min on {}.
`make quick`, one attack and twenty classes, takes {} min after the install on {}.
"""


def wide(texts: pd.DataFrame, index: str, columns: str, between: str = " / ") -> pd.DataFrame:
    """Return the column `text` as a table, in order, with the texts of a cell joined."""
    cells = texts.groupby([index, columns], sort=False)["text"].agg(between.join)
    return cells.unstack(sort=False).rename_axis(columns=None)


def picture_name(run: str, file: str) -> str:
    """Return the name of a run's picture in docs/."""
    return file if run == DEFAULT else f"{run}_{file}"


def _table(run: Run, rows: pd.DataFrame, note: str = "", left: int = 1) -> str:
    """Return a table of text and below it a note and where the numbers come from."""
    below = " ".join(text for text in (note, f"{run.where}.") if text)
    return f"{markdown_table(rows.astype(object).fillna('–'), left)}\n\n{below}\n"


def of_main_table(*metrics: str, split: str = "") -> Callable[[Run], str]:
    """Return a block of the main table, by default on the main split."""

    def block(run: Run) -> str:
        title = f"{(split or run.split).capitalize()} split: {' and '.join(metrics)}"
        found = dict(tables.blocks(run.table, run.look)).get(title)
        text = f"Each cell: {' / '.join(metrics)}. {run.where}.\n"
        return "" if found is None else f"{tables.block_markdown(found)}\n\n{text}"

    return block


def main_table(run: Run) -> str:
    """Return clean accuracy and attack success on the main split."""
    numbers = tables.numbers_text(run.table, run.look)
    note = f"{numbers} The lowest ASR of the defences is bold. {run.where}."
    return of_main_table(CA, ASR)(run).replace(f"{run.where}.", note)


def time(run: Run) -> str:
    """Return how long the first command and the quick one take."""
    runs = [run, Run(run.root, "second_cpu"), Run(run.root, "quick")]
    numbers = (x for taken in runs for x in (taken.record["minutes"], taken.machine))
    return TIME.format(*numbers) if all(taken.there for taken in runs) else ""


def in_words(run: Run) -> str:
    """Return the verdict."""
    found = verdict(run.table, run.look, run.tested)
    return "".join(f"- {sentence}\n" for sentence in found.sentences) if found else ""


def retrieval(run: Run) -> str:
    """Return recall on clean pairs: means over the attacks, and differences by seed."""
    label = run.look.defense_label
    metrics = [f"{way}@{k}" for way in ("I2T", "T2I") for k in (1, 5, 10)]
    keys = ["defense", "split", "metric", "seed", "repeat"]
    means = run.scores.groupby(keys, as_index=False)["percent"].mean().assign(attack="all")
    means = means[means["metric"].isin(metrics)]
    recall = labelled(stats.summary(means), run.look, "defense")
    minus = run.minus(means)
    names = f"*{label(run.tested)} minus " + minus["against"].map(label) + "*"
    minus = minus.assign(text=signed(minus, bold=True), defense=names)
    texts = pd.concat([recall.assign(text=plus_minus(recall)), minus])
    rows = wide(texts, "defense", "metric").reindex(columns=metrics)
    note = f"In %, mean over {run.scores['attack'].nunique()} attacks, ± half of the"
    note += f" {interval_text(run.scores)}."
    return _table(run, rows.rename_axis("Defence").reset_index(), note)


def deviations(run: Run) -> str:
    """Return means and standard deviations over cleanings on the main split."""
    found = labelled(stats.spread(run.scores), run.look, "defense", "attack")
    found = found[found["sd_repeats"].notna() & found["metric"].isin([CA, ASR])]
    found["text"] = plus_minus(found.assign(half=found["sd_repeats"]))
    found["score"] = found["defense"] + ": " + found["metric"]
    return _table(run, wide(found, "attack", "score").reset_index(), "Mean ± standard deviation.")


def cost(run: Run) -> str:
    """Return the time that a cleaning takes."""
    table = pd.read_csv(run.folder / "cost.csv")
    number = "{:.0f}".format
    spread = (" ± " + table["sd"].map(number)).where(table["sd"].notna(), "")
    columns = {
        "Defence": table["defense"].map(run.look.defense_label),
        "cleanings": table["cleanings"].astype(str),
        "seconds of a cleaning": table["seconds"].map(number) + spread,
        "seconds of its texts": table["text_seconds"].map(number),
    }
    return _table(run, pd.DataFrame(columns))


def of_csv(name: str, markdown: Callable[[pd.DataFrame, Look], str]) -> Callable[[Run], str]:
    """Return a block of a table that only some runs have."""

    def block(run: Run) -> str:
        path = run.folder / f"{name}.csv"
        return f"{markdown(pd.read_csv(path), run.look)}\n{run.where}.\n" if path.is_file() else ""

    return block


def further_victim(run: Run) -> str:
    """Return where CA@1 and ASR@1 of one more victim are expected."""
    scores = run.scores[run.scores["metric"].isin([CA, ASR])]
    found = labelled(expected(scores), run.look, "defense", "attack")
    low, high = (found[end].clip(0, 100).map("{:.1f}".format) for end in ("low", "high"))
    rows = wide(found.assign(text=low + " to " + high), "defense", "attack")
    note = "Each cell: CA@1 / ASR@1, in %."
    return _table(run, rows.rename_axis("Defence").reset_index(), note)


def held_back(run: Run) -> str:
    """Return how many scores of other seeds lie where the evidence predicts them."""
    evidence = Run(run.root, "evidence")
    found = against(evidence.table, run.table, evidence.look)
    return f"{run.where}:\n\n```\n{summary(found)}\n```\n"


def at_equal_ca(run: Run) -> str:
    """Return the differences in ASR@1 and CA@1 from each other defence."""
    found = run.minus(run.scores[run.scores["metric"].isin([CA, ASR])])
    found = labelled(found.assign(text=signed(found, bold=True)), run.look, "against", "attack")
    rows = found.set_index(["attack", "against", "metric"])["text"].unstack(sort=False)
    rows = rows[[ASR, CA]].fillna("–").reset_index(names=["attack", "minus"])
    note = f"{run.look.defense_label(run.tested)} minus the other, in points, with"
    note += f" {interval_text(run.scores)}; bold where settled."
    return _table(run, rows, note, left=2)


def settled(run: Run) -> str:
    """Return where the defence under test is settled better or worse than each other one."""
    poisoned = run.table[run.table["attack"] != CLEAN]
    main, *further = scored_splits(poisoned, run.look)
    shown = (ASR, "ASR@10", "TA@1", CA, "LASR@1", "TCR@10", "I2T@5", "T2I@5")
    wanted = [(main, metric, metric) for metric in shown]
    wanted += [(split, m, f"{m}, {split} split") for split in further for m in (ASR, CA)]
    names = pd.DataFrame(wanted, columns=["split", "metric", "score"])
    found = labelled(run.minus(names.merge(poisoned)).merge(names), run.look, "against", "attack")
    better = (found["difference"] < 0) == found["metric"].map(of_the_attacker)
    found["way"] = better.map({True: "better", False: "**worse**"})

    def on(attacks: pd.Series) -> str:
        n = len(attacks)
        return f"all {n}" if n == found["attack"].nunique() else f"{n}: {', '.join(attacks)}"

    ways = found[found["settled"]].sort_values("way", ascending=False, kind="stable")
    texts = ways.groupby(["score", "against", "way"], sort=False)["attack"].agg(on)
    texts = texts.reset_index(name="on")
    texts["text"] = texts["way"] + " on " + texts["on"]
    rows = wide(texts, "score", "against", "; ").reindex(
        index=[name for name in names["score"] if name in set(found["score"])],
        columns=found["against"].unique(),
    )
    rows = rows.fillna("open").add_prefix("minus ").rename_axis("score").reset_index()
    note = f"{run.look.defense_label(run.tested)} minus each other defence, "
    note += f"with {interval_text(poisoned)}. Of {len(found)} such comparisons, about "
    note += f"{len(found) / 20:.0f} would be settled by chance if nothing differed."
    return _table(run, rows, note, left=len(rows.columns))


def came_back(run: Run) -> str:
    """Return the peak of ASR@1 in further training, the rise to it, and CA@1 at the end."""
    keys = ["attack", "defense", "seed", "repeat", "split"]
    scores = pd.read_csv(run.folder / "rebound.csv").assign(split="val")
    scores = scores.melt(keys, ["asr_peak", "rise", "ca_end"], "metric", "percent")
    others = [name for name in scores["defense"].unique() if not name.startswith("taclean")]
    pairs = [(f"taclean_{name.rpartition('_')[2]}", name) for name in others]
    minus = stats.differences(pick(scores, metric="rise"), pairs)
    minus = minus.assign(text=signed(minus, bold=True), defense=minus["against"])
    found = stats.summary(scores)
    texts = pd.concat([found.assign(text=plus_minus(found)), minus])
    rows = wide(labelled(texts, run.look, "defense", "attack"), "defense", "attack").reset_index()
    note = "On val: peak and rise of ASR@1 / CA@1 at the end / TA-Cleaner's rise minus this one,"
    return _table(run, rows, f"{note} in %, ± half of the {interval_text(scores)}.")


def axes(run: Run) -> str:
    """Return the figure and the table of each axis."""
    return "\n".join(_axis(run, name, axis) for name, axis in run.record["axes"].items())


def _axis(run: Run, name: str, axis: Mapping[str, Any]) -> str:
    """Return the scores at each value of a choice, and the differences from the method itself."""
    values = {key: " ".join(text.split()) for key, text in axis["values"].items()}
    scores = run.scores[run.scores["metric"].isin([CA, ASR])]
    of_defenses = bool(set(values) & set(scores["defense"]))
    varied, other = ("defense", "attack") if of_defenses else ("attack", "defense")
    scores = scores[scores[varied].isin(values)]
    found = labelled(stats.summary(scores), run.look, other)
    rows = wide(found.assign(text=plus_minus(found)), varied, other).reindex([*values])
    note = "CA@1 / ASR@1 in %"
    # Other attacks have other victims, which cannot be paired.
    methods = [v for v in values if of_defenses and v != NONE and v not in run.look.variants]
    for method in methods[-1:]:
        pairs = [(value, method) for value in values if value != method]
        minus = stats.differences(scores, pairs, by=["split", "metric"])
        texts = minus.assign(text=signed(minus, bold=True)).groupby("defense")["text"]
        rows[f"CA@1 / ASR@1 minus {values[method]}"] = texts.agg(" / ".join)
        n = minus["n"].max()
        bold = "bold where settled" if n >= FEWEST_SEEDS else "not enough to settle any"
        note += f"; differences on the same victims, n = {n}, {bold}"
    rows = rows.rename(index=values).rename_axis(axis["label"]).reset_index()
    picture = f"![{axis['label']}]({picture_name(run.name, f'{name}.png')})"
    return f"{picture}\n\n{_table(run, rows, f'{note}.')}"


def reported() -> pd.DataFrame:
    """Return what others report; `seen` is "quoted" (read at the source) or "second-hand"."""
    return pd.read_csv(Path(__file__).with_name("reported_numbers.csv"))


def claim(run: Run) -> str:
    """Return the published difference between two defences, and the same one here."""
    rows = reported()
    rows = rows[rows["defense"].str.contains(" minus ")].set_index("metric")
    source, where, backbone, attack, pair = rows.iloc[0, :5]
    defenses = pair.split(" minus ")
    found = stats.differences(pick(run.scores, attack=attack), [defenses])
    here = signed(found).set_axis(found["metric"])
    lines = {
        f"{source}, {where}; {backbone}": rows["percent"].map("{:+.2f}".format),
        f"this repository; {run.record['model']} on {run.record['data']}": here,
    }
    frame = pd.DataFrame(lines).reindex(rows.index).fillna("–").T
    names = " minus ".join(map(run.look.defense_label, defenses))
    frame = frame.rename_axis(f"{run.look.attack_label(attack)}: {names}, points")
    return f"{markdown_table(frame.reset_index())}\n"


def baselines(run: Run) -> str:
    """Return what FT and CleanCLIP leave and lose as published, and here at five points."""
    published = pick(reported(), source="arXiv 2409.15968").assign(whose="published")
    here = pick(pd.read_csv(run.folder / "budgets.csv"), budget=5.0, split=run.split)
    here = here[here["attack"].isin(published["attack"])].assign(whose="here")
    keys, scores = ["attack", "whose"], ["metric", "defense"]
    means = pd.concat([published, here]).pivot_table("percent", keys, scores, sort=False)
    means = means.rename(index=run.look.attack_label, level="attack")
    rows = means[ASR].reindex(columns=[NONE, "ft", "cleanclip"]).map("{:.1f}".format)
    for name in rows.columns[1:]:
        change = means[CA, name] - means[CA, NONE]
        rows[name] += change.map(" ({:+.1f})".format)
    rows = rows.rename(columns=run.look.defense_label).rename_axis(columns=None)
    note = "ASR@1 in %, and the change of CA@1 in points. Published: arXiv 2409.15968, Tables I-II."
    return _table(run, rows.reset_index(names=["attack", ""]), f"{note} Here:", left=2)


def reported_numbers(root: Path) -> str:
    """Return what others report in percent: a table for each source and backbone."""
    numbers, parts = reported(), []
    levels = numbers[~numbers["defense"].str.contains(" minus ")]
    for names, rows in levels.groupby(["source", "where", "backbone"], sort=False):
        seen = " and ".join(dict.fromkeys(rows["seen"]))
        table = rows.pivot_table("percent", ["attack", "defense"], "metric", sort=False)
        table = table.map(lambda value: "–" if pd.isna(value) else f"{value:g}")
        table = table.reset_index().rename(columns={"defense": "defence"})
        title = "### {}, {}; {} ({})".format(*names, seen)
        parts.append(f"{title}\n\n{markdown_table(table, left=2)}\n")
    return "\n".join(parts)


def speed(root: Path) -> str:
    """Return the rows of the benchmarks, by machine."""
    rows = pd.read_csv(root / "benchmarks" / "results.csv", dtype=str, keep_default_na=False)
    columns = ["what", "ours", "reference", "ratio", "unit"]
    return "\n".join(
        f"### {machine}\n\n{markdown_table(own[columns])}\n"
        for machine, own in rows.groupby("machine", sort=False)
    )


def tuning(root: Path) -> str:
    """Return the trials of the tuning as means; the chosen ones are bold, † are the oracle's."""
    within = configs.read_yaml(root / "config" / "tune.yaml")["tune"]["within"]
    trials = choose(pd.read_csv(root / "docs" / "data" / "tune" / "grid.csv"), within)
    settings = trials["overrides"].str.replace(r'[{}"]', "", regex=True)
    names = trials["trial"].astype(str) + trials["oracle"].map({True: "†", False: ""})
    names += ": " + settings
    numbers = trials[["CA", "victim_CA", "ASR", "TA"]].map("{:.1f}".format)
    rows = pd.concat([trials["defense"], names, numbers], axis=1)
    rows.columns = pd.Index(["defence", "trial", "CA@1", "of the victims", "ASR@1", "TA@1"])
    bold = rows.map("**{}**".format)
    return f"{markdown_table(rows.mask(trials['chosen'], bold), left=2)}\n"


def evidence_time(root: Path) -> str:
    """Return how long the runs of `make evidence`, EVIDENCE, took."""
    took = {run.name: run.record["minutes"] for n in EVIDENCE if (run := Run(root, n)).there}
    if None in took.values() or len(took) < len(EVIDENCE):
        return "*Not noted for every run; `python -m docs.build --take` takes `--minutes`.*\n"
    each = ", ".join(f"{name} {minutes:,}" for name, minutes in took.items())
    machines = "; ".join(dict.fromkeys(Run(root, name).machine for name in EVIDENCE))
    return f"Minutes: {each}; together {sum(took.values()) / 60:.1f} hours on {machines}.\n"


OF_A_RUN: dict[str, Callable[[Run], str]] = {
    **{function.__name__: function for function in (time, main_table, in_words, claim, retrieval)},
    **{function.__name__: function for function in (further_victim, held_back, at_equal_ca, axes)},
    **{f.__name__: f for f in (settled, deviations, cost, came_back, baselines)},
    "budgets": of_csv("budgets", headline),
    "losses": of_csv("losses", partial(headline, budget=LOSS)),
    "scan": of_csv("scan", scan_table.markdown),
    "detection": of_csv("detection", detection_table.markdown),
    "asr10": of_main_table("ASR@10"),
    "shift": of_main_table(CA, ASR, split="shift"),
    "probe": of_main_table("LCA@1", "LASR@1"),
    "captions": of_main_table("TCR@1", "TCR@10"),
}
OTHERS: dict[str, Callable[[Path], str]] = {
    function.__name__: function for function in (reported_numbers, speed, tuning, evidence_time)
}
