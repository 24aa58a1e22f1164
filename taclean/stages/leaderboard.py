"""Add a run's rows to a leaderboard of frozen victims, or check rows that were submitted."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taclean import config as configs
from taclean.stages.shared import CONFIGFILE, option, say
from taclean.util.errors import UserError
from taclean.util.files import sha256, write_text

if TYPE_CHECKING:
    import pandas as pd

OPTIONS = [
    option("--table", "the leaderboard (CSV); a new one is made"),
    option("--victims", "the archive of frozen victims that the rows are of", default=None),
    option("--results", "results of a run on these victims, to add its rows", default=None),
    option("--check", "rows that somebody submitted (CSV), to check and add them", default=None),
    option("--commit", "commit or paper of the run's last method", default=""),
    option("--page", "also write the page (HTML)", default=None),
    CONFIGFILE,
]


def run(options: Any) -> None:
    import pandas as pd

    from taclean.attacks import victims
    from taclean.results import leaderboard
    from taclean.results.table import read_csv
    from taclean.results.templates import rendered

    source = options.results or options.check
    if not (source or options.page) or (options.results and options.check):
        raise UserError("leaderboard: give one of --results and --check, or --page alone")
    columns = leaderboard.COLUMNS
    known = pd.DataFrame(columns=columns)
    if Path(options.table).is_file() or not source:
        known = read_csv(options.table, columns).drop_duplicates(["victims", *leaderboard.KEYS])
    if source:
        if not options.victims:
            raise UserError("leaderboard: --victims: missing; give the archive of the rows")
        digest, index = sha256(options.victims), victims.read(options.victims)
        rows = _of_run(options, index, digest) if options.results else read_csv(source, columns)
        try:
            leaderboard.check(rows, known[known["victims"] == digest], index, digest)
        except UserError as error:
            raise UserError(f"{source}: {error}") from None
        before = len(known)  # rows of others replace none
        known = leaderboard.merge(known, rows, keep="last" if options.results else "first")
        write_text(options.table, known.to_csv(index=False, lineterminator="\n"))
        methods = ", ".join(rows["method"].unique())
        say(f"leaderboard: {len(rows)} rows of {methods}, of which {len(known) - before} are new")
    if options.page:
        means = leaderboard.means(known).to_dict("records")
        write_text(options.page, rendered("leaderboard.html", rows=means))


def _of_run(options: Any, index: dict[str, Any], digest: str) -> "pd.DataFrame":
    """Return the rows of a run whose victims are those of the archive."""
    from taclean.results import leaderboard
    from taclean.results.table import AGAIN, read_csv, read_table
    from taclean.util.machine import processor

    results = Path(options.results)
    budgets = read_table(results / "budgets.csv", "budget")
    for attack, seed in {*zip(budgets["attack"], budgets["seed"], strict=True)}:
        name = f"runs/{attack}/none/seed{seed}/model.safetensors"
        there, wanted = results / name, index["files"].get(name)
        if wanted and not (there.is_file() and sha256(there) == wanted):
            text = f"not the archive's; clean with run.victims: {options.victims}"
            raise UserError(f"{there}: {text}")
    cost = read_csv(results / "cost.csv", ["defense", "seconds"])
    if cost.empty or cost["defense"].duplicated().any():
        raise UserError(f"{results / 'cost.csv'}: no rows, or a defence twice; {AGAIN}")
    test = configs.load(configs.DEFAULT, *options.configfile).split_of_role("test") or ""
    about = {"version": version("taclean"), "commit": options.commit, "victims": digest}
    return leaderboard.entries(budgets, cost, test, about | {"machine": processor()})
