"""Compare your own defence, a file with one class, with the others on the same victims."""

import os
import signal
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import yaml

from taclean import config as configs
from taclean.config import registry
from taclean.stages.shared import CONFIGFILE, count, option, say
from taclean.util.errors import UserError
from taclean.util.files import write_text

BENCH = configs.DEFAULT.with_name("bench.yaml")
OPTIONS = [
    ("file", {"help": "the file of your defence, such as examples/my_defence.py"}),
    option("--victims", "archive of frozen victims (default: victims are trained)", default=None),
    option("--attacks", "attacks (default: badnet badclip)", nargs="+", default=None),
    option("--seeds", "victims' seeds, 3 for an interval", nargs="+", type=int, default=None),
    option("--directory", "where all of it goes", default="bench"),
    option("--cores", "cores", type=lambda n: n if n == "all" else count(n), default="all"),
    CONFIGFILE,
]


def overlay(options: Any) -> dict[str, Any]:
    """Return the config of a run with the user's defence, of a new name, as its last one."""
    file = Path(options.file).absolute()
    if file.suffix != ".py":
        raise UserError(f"{options.file}: no Python file; give a file of one class, NAME.py")
    name = registry.entry("defenses", str(file)).model_construct(kind=str(file)).stem
    if name in configs.read(configs.DEFAULT, BENCH)["defenses"]:
        raise UserError(f"{options.file}: {name} is a defence of taclean; give the file a new name")
    given = configs.read(configs.DEFAULT, BENCH, *options.configfile).get("run")
    others = given.get("defenses") if isinstance(given, dict) else None
    if not isinstance(others, list):
        raise UserError("run.defenses: no list of defences; leave it out or give one")
    run: dict[str, Any] = {"defenses": [*(other for other in others if other != name), name]}
    if options.victims:
        run["victims"] = str(Path(options.victims).absolute())
    asked = {"attacks": options.attacks, "seeds": options.seeds}
    run |= {key: value for key, value in asked.items() if value}
    return {"run": run, "defenses": {name: {"kind": str(file)}}}


def run(options: Any) -> None:
    """Run the chain in its own folder; print the scores, the verdict and where the curve is."""
    snakefile = configs.DEFAULT.parents[1] / "Snakefile"
    if not snakefile.is_file():
        raise UserError("bench: there is no Snakefile beside the package; install a clone of it")
    folder, own = Path(options.directory), Path(options.directory, "bench.yaml")
    write_text(own, yaml.safe_dump(overlay(options), sort_keys=False))
    paths = [str(Path(file).absolute()) for file in (BENCH, *options.configfile, own)]
    with chdir(folder):  # to which Snakemake takes the paths in it as relative
        config = configs.load(configs.DEFAULT, *paths)
    if not (config.run.rates and config.run.attacks):
        raise UserError("bench: run.rates or run.attacks is empty; give at least one of each")
    command = ["snakemake", "--snakefile", str(snakefile), "--directory", str(folder)]
    command += ["--cores", str(options.cores), "--configfile", *paths]
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    with subprocess.Popen(command) as chain:
        signal.signal(signal.SIGTERM, lambda *_: chain.terminate())
    if chain.returncode:
        raise SystemExit(chain.returncode)
    results = folder / "results"
    say((results / "budgets.md").read_text("utf-8"))
    from taclean.results.labels import Look, look_of
    from taclean.results.table import read_table
    from taclean.results.verdict import verdict

    table = read_table(results / "table.csv")
    found = verdict(table, Look.of(look_of(config)), config.run.defenses[-1])
    for sentence in found.sentences if found else ():
        say(sentence)
    say(f"bench: {results}/report.html shows all, {results}/figures/rates.png the curve")
