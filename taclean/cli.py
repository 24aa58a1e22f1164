"""Every stage as a command: `python -m taclean STAGE --help`.

Snakemake calls these very commands. A stage's `--config` is the JSON object that `taclean config`
prints for it; with `--stage`, it is the whole config, from which the command makes that object and
writes it beside its result. What else a command reads and writes is on its command line. The stages
themselves are in taclean/stages.
"""

import argparse
import difflib
import gc
import inspect
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from taclean import stages
from taclean.util.errors import ElsewhereError, StoppedError, UserError, first_line
from taclean.util.files import FULL, read_json, write_json
from taclean.util.machine import keep_freed
from taclean.util.progress import log_to_stdout, say


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a user's mistake ends with one line on stderr and exit status 2."""
    options = _parser().parse_args(arguments)
    stage: dict[str, Any] = {}
    # OpenMP reads this when torch is imported: threads that wait for one another give their core
    # back after a while, so that a busy process beside a training costs its share and no more.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    keep_freed()
    gc.set_threshold(50_000)  # the imports make a million objects, none of them garbage
    log_to_stdout()
    try:
        if options.stages:
            stage = _stage(options)
        with ExitStack() as stack:
            if hasattr(options, "device"):
                from taclean.training.device import described, using

                device = options.device = stack.enter_context(using(options.device))
                say(f"{options.command}: on {described(device, stage.get('precision'))}")
            options.run(*([stage] if options.stages else []), options)
        if stage and options.stage and os.environ.get("RANK", "0") == "0":  # torchrun's first
            out = Path(options.out)
            own = out / "recipe.json" if out.is_dir() else out.with_suffix(".recipe.json")
            write_json(own, stage)
        print(end="", flush=True)  # sys.stdout is None where the caller closed it
    except (Exception, KeyboardInterrupt) as error:
        status, line = _end(error, stage, options.config if stage and not options.stage else "")
        if line:
            print(f"taclean {options.command}: {line}", file=sys.stderr)
        raise SystemExit(status) from None


def _end(error: Any, stage: dict[str, Any], edited: str) -> tuple[int, str]:
    """Return exit status and last line; `edited` is the path of a user's stage config, or ""."""
    if isinstance(error, UserError):
        return 2, "" if isinstance(error, ElsewhereError) else f"error: {error}"
    if isinstance(error, StoppedError):
        return 128 + signal.SIGTERM, str(error)
    if isinstance(error, KeyboardInterrupt):
        return 130, "interrupted; the same command goes on from here"
    closed = isinstance(error, BrokenPipeError)
    if closed or (isinstance(error, OSError) and not error.filename and error.errno in FULL):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes at its end
        return 2, "" if closed else f"error: output: {error.strerror}"
    if isinstance(error, OSError) and (place := error.filename2 or error.filename) is not None:
        return 2, f"error: {place}: {error.strerror}; correct that and run it again"
    own = '.py"' in json.dumps(stage)  # a file of the user, who wants to see where it went wrong
    kinds = AssertionError | MemoryError | OSError | RuntimeError
    if edited and not own and not isinstance(error, kinds):
        why = f"{type(error).__name__}: {first_line(error)}"
        return 2, f"error: {edited}: {why}; print it anew with `taclean config`"
    if type(error).__name__ != "OutOfMemoryError":  # torch's; its import would slow the others
        raise error
    keys = ("train", "fit", "scan")  # the sections that may have a batch
    key = next((key for key in keys if "batch" in stage.get(key, {})), None)
    what, cure = "a batch of images", "take another GPU"
    if key:
        what, cure = f"{key}.batch: {stage[key]['batch']}", f"lower it, or {cure}"
    return 2, f"error: {what} needs more GPU memory ({first_line(error)}); {cure}"


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, and which command was meant."""

    def error(self, message: str) -> NoReturn:
        wrong, *known = re.findall(r"'([\w-]+)'", message) or [""]
        close = difflib.get_close_matches(wrong, known, 1)
        what = "command" if "STAGE" in message else "choice"
        text = f"{message}; see `{self.prog} --help`"
        text = f"no {what} {wrong!r}; did you mean {close[0]}?" if close else text
        self.exit(2, f"{self.prog}: error: {' '.join(text.split())}\n")


def _filled(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("empty; give a value")
    return text


def _parser() -> argparse.ArgumentParser:
    text = "Backdoor attacks on CLIP and fine-tuning defences."
    parser = _Parser(prog="taclean", description=text)
    parser.add_argument("--version", action="version", version=version("taclean"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="STAGE")
    for name, module in stages.commands().items():
        text = (inspect.getdoc(module) or "").splitlines()[0]
        sub = commands.add_parser(name, help=text, description=text)
        forms = list(getattr(module, "CONFIGS", {}))
        sub.set_defaults(run=module.run, stages=forms)
        if forms:
            path = " or ".join(forms)
            text = f"the stage's config, `taclean config {path}`, or with --stage the whole config"
            sub.add_argument("--config", required=True, type=_filled, help=text)
            sub.add_argument("--stage", help=f"{path}, and @DIGEST to check that it is meant")
        for flag, more in module.OPTIONS:
            own = {} if "action" in more or more.get("default") == "" else {"type": _filled} | more
            if flag[0] == "-" and not forms and own.get("nargs") == "?":
                own["nargs"] = None  # rules, which leave values out, run stages
            if more.get("nargs") in ("+", "*"):
                own["action"] = "extend"  # a second --configfile would replace the first
            sub.add_argument(flag, **more | own)
    return parser


def _stage(options: argparse.Namespace) -> dict[str, Any]:
    """Return the stage's config; refuse that of another command, or with another digest."""
    config = read_json(options.config)
    firsts = [form.partition("/")[0] for form in options.stages]
    named = options.stage or (config.get("stage", firsts[0]) if isinstance(config, dict) else None)
    path = str(named).partition("@")[0]
    if path.partition("/")[0] not in firsts or not isinstance(config, dict):
        command = f"taclean config {' or '.join(options.stages)}"
        raise UserError(f"{options.config}: no config of this stage; print one with `{command}`")
    if options.stage is None:
        return config
    from taclean.config import check  # imports torch

    whole = check(config)
    if "@" in options.stage and stages.recipe(whole, path) != options.stage:
        what = f"{options.config}, or a file of yours, changed after {path} was planned"
        raise UserError(f"{what}; run snakemake again")
    return stages.stage_config(whole, path)
