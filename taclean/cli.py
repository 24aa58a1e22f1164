"""Every stage as a command: `python -m taclean STAGE --help`.

Snakemake calls these very commands. A stage's `--config` is the JSON object that `taclean config`
prints for it; whatever else it reads and writes is on its command line. The stages themselves are
in taclean/stages.
"""

from __future__ import annotations

import argparse
import inspect
import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from taclean import stages
from taclean.util.errors import ElsewhereError, StoppedError, UserError
from taclean.util.files import read_json
from taclean.util.memory import collect_rarely, keep_freed


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a user's mistake ends with one line on stderr and exit status 2."""
    options = _parser().parse_args(arguments)
    keep_freed()
    collect_rarely()
    try:
        if options.stages:
            options.run(_stage(options), options)
        else:
            options.run(options)
    except UserError as error:
        if not isinstance(error, ElsewhereError):
            print(f"taclean {options.command}: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except StoppedError as error:
        if str(error):
            print(f"taclean {options.command}: {error}", file=sys.stderr)
        raise SystemExit(128 + signal.SIGTERM) from None
    except OSError as error:  # no permission, a full disk
        if error.filename is None:
            raise
        reason = f"{error.filename}: {error.strerror}; mend that and run it again"
        print(f"taclean {options.command}: error: {reason}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print(f"taclean {options.command}: stopped", file=sys.stderr)
        raise SystemExit(130) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="taclean", description="Backdoor attacks on CLIP and fine-tuning defences."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="STAGE")
    for name, module in stages.commands().items():
        text = (inspect.getdoc(module) or "").splitlines()[0]
        sub = commands.add_parser(name, help=text, description=text)
        forms = [stages.form(first) for first in getattr(module, "CONFIGS", {})]
        sub.set_defaults(run=module.run, stages=forms)
        if forms:
            text = f"stage config, `taclean config {' or '.join(forms)}`"
            sub.add_argument("--config", required=True, help=text)
        module.arguments(partial(_add, sub))
    return parser


def _add(parser: argparse.ArgumentParser, flag: str, text: str, **more: Any) -> None:
    """Add an option; it must be given unless `more` says otherwise."""
    if not more.keys() & {"default", "nargs"} and flag.startswith("--"):
        more["required"] = True
    parser.add_argument(flag, help=text, **more)


def _stage(options: argparse.Namespace) -> dict[str, Any]:
    """The stage config of --config.

    Raises:
        UserError: it is another command's.
    """
    stage = read_json(options.config)
    firsts = [form.partition("/")[0] for form in options.stages]
    named = stage.get("stage", firsts[0]) if isinstance(stage, dict) else None
    if str(named).partition("/")[0] not in firsts:
        raise UserError(
            f"{options.config}: no config of this stage; print one with `taclean config "
            f"{' or '.join(options.stages)}`"
        )
    return stage
