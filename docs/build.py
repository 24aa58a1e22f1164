"""Fill the blocks of README.md and docs/ from docs/data and benchmarks/results.csv: `make docs`.

A page has blocks, each between the marks `<!-- begin: NAME -->` and `<!-- end -->`, a line each.
NAME is a function of `docs.blocks` for the default run, NAME_of_RUN for another run. After a run,
`python -m docs.build --take results --minutes 21` keeps its numbers and pictures, and records where
and when it ran. `--as RUN` names it. The blocks of a run that was not taken are empty.
"""

import argparse
import datetime
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from docs.blocks import OF_A_RUN, OTHERS, picture_name
from docs.runs import DEFAULT, ROOT, Run
from taclean import config as configs
from taclean.results.labels import look_of
from taclean.results.table import read_table
from taclean.runs import Runs
from taclean.util.errors import UserError
from taclean.util.files import sha256, write_json, write_text

# The figures that docs/ keeps from each run; `picture_name` gives their names there.
PICTURES: dict[str, tuple[str, ...]] = {
    DEFAULT: ("first.png", "asr_ca.png"),
    "evidence": ("rates.png", "versus.png"),
    "former": ("versus.png",),
    "photos": ("asr_ca.png", "triggers.png"),
    **dict.fromkeys(("repeats", "target", "structured", "field"), ("asr_ca.png",)),
    "rebound": ("trajectory.png",),
    **dict.fromkeys(("few", "vit", "epyc"), ("rates.png",)),
    **dict.fromkeys(("axes", "ablation", "threat", "overlap"), ("axes/*.png",)),
    **dict.fromkeys("quick second_cpu fp32 held_back training_time frozen frozen_avx2".split(), ()),
}
TIMED = (DEFAULT, "second_cpu", "quick")  # README.md says how long they took
MADE_BY = ("Snakefile", "rules", "workflow_scripts", "taclean", "config")
MARKS = re.compile(r"(<!-- begin: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, root: Path, page: str) -> str:
    """Return a page's text, filled; a UserError names a block that is unknown or lacks a mark."""

    def block(match: re.Match[str]) -> str:
        name, _, of = match[2].partition("_of_")
        run = Run(root, of or DEFAULT)
        if name in OTHERS and not of:
            inner = OTHERS[name](root)
        elif name in OF_A_RUN and run.name in PICTURES:
            inner = OF_A_RUN[name](run) if run.there else "*Not measured yet.*\n" * bool(of)
        else:
            known = f"{', '.join([*OF_A_RUN, *OTHERS])}, of the runs {', '.join(PICTURES)}"
            raise UserError(f"{page}: unknown block {match[2]!r}; known are {known}")
        return f"{match[1]}{inner}{match[3]}"

    if len(re.findall(r"<!-- (?:begin: .*|end) -->", text)) != 2 * len(MARKS.findall(text)):
        raise UserError(f"{page}: a block lacks its begin or its end; write both, a line each")
    return MARKS.sub(block, text)


def pages(root: Path) -> list[Path]:
    """Return the pages that may have blocks."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def commit(root: Path) -> str:
    """Return the commit, with "-dirty" if the files that make a run differ from it."""

    def git(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *command], cwd=root, capture_output=True, text=True)

    found = git("rev-parse", "--short", "HEAD")
    if found.returncode:
        raise UserError(f"{root}: no git checkout ({found.stderr.strip()}); take a run in one")
    changed = git("status", "--porcelain", "--", *MADE_BY).stdout.strip()
    return found.stdout.strip() + "-dirty" * bool(changed)


def take(results: Path, root: Path, minutes: int | None, overlays: list[str], name: str) -> None:
    """Keep a run's table, cost, scan, pictures and record; a UserError names a missing file.

    Args:
        minutes: how long the run took; for the runs TIMED but `quick`, with the install. A run in
            pieces took the seconds of its rules' benchmarks, times their cores, over all cores.
        overlays: the config files of the run.
    """
    from benchmarks.common import machine  # imports torch

    config, folder = configs.load(configs.DEFAULT, *overlays), Run(root, name).folder
    axes = config.given(include={"axes"}).get("axes", {})
    table = read_table(results / "table.csv")
    figures = {}
    for wanted in PICTURES[name]:
        for axis in axes if "*" in wanted else [""]:
            file = results / "figures" / wanted.replace("*", axis)
            if not file.is_file():
                raise UserError(f"{file}: no such file; end the run first")
            figures[picture_name(name, file.name)] = file
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.csv"):
        old.unlink()
    tables = ["table", "cost", "scan", "detection"]  # the folder may have others of another run
    tables += ["rates", "budgets", "losses"] * bool(config.run.rates)
    tables += ["rebound"] * bool(Runs(config).followed())
    for kept in tables:
        if (results / f"{kept}.csv").is_file():
            shutil.copyfile(results / f"{kept}.csv", folder / f"{kept}.csv")
    for picture, file in figures.items():
        shutil.copyfile(file, root / "docs" / picture)
    written = datetime.date.fromtimestamp((results / "table.csv").stat().st_mtime)
    part = {"seeds": sorted({int(seed) for seed in table["seed"]}), "date": written.isoformat()}
    record = {
        "parts": [{**part, "commit": commit(root), "machine": machine()}],
        "minutes": minutes,
        "model": config.model.name,
        "data": config.data.name,
        "look": look_of(config),
        "pictures": {picture: sha256(root / "docs" / picture) for picture in figures},
        **({"axes": axes} if axes else {}),
    }
    write_json(folder / "run.json", record)


def main(arguments: Sequence[str] | None = None) -> None:
    """Take a run, if one is given; then fill every page."""
    parser = argparse.ArgumentParser(prog="python -m docs.build", description=__doc__)
    parser.add_argument("--take", type=Path, metavar="RESULTS", help="the folder of a run")
    parser.add_argument("--minutes", type=int, help="how long that run took")
    parser.add_argument("--as", dest="run", choices=PICTURES, default=DEFAULT, help="its name")
    parser.add_argument("--configfile", nargs="+", default=[], help="overlays of that run")
    options = parser.parse_args(arguments)
    try:
        if options.take:
            if options.minutes is None and options.run in TIMED:
                raise UserError("--minutes: missing; say how long the run took")
            take(options.take, ROOT, options.minutes, options.configfile, options.run)
        for page in pages(ROOT):
            text = page.read_text("utf-8")
            new = filled(text, ROOT, page.name)
            if new != text:
                write_text(page, new)
                print(f"{page.relative_to(ROOT)}: written")
    except UserError as error:
        raise SystemExit(f"docs.build: error: {error}") from None


if __name__ == "__main__":
    main()
