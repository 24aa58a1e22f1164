"""The stages of the chain: a file each, with its config, its arguments and what it does.

A stage has a path such as "finetune/badnet/taclean/seed0", or "seed0-repeat1" for that victim's
second cleaning, and a config: the JSON object that decides its result. A rule has the path and the
digest of that object as a param, so that a changed key reruns exactly the stages that it matters
to; the job makes the object itself and writes it beside its result. A file of this folder defines

    `CONFIGS`: for each first part of its paths, the function that makes the config from the whole
        one, the path's names and its seed; left out by commands that are no stage;
    `RECIPE`: raise it when a change of the code changes the stage's results: Snakemake then reruns
        it. Other changes of the code rerun nothing;
    `arguments(add)`: its options on the command line beside `--config`;
    `run(stage, options)`: the work; `run(options)` for commands that are no stage.

Nothing here imports torch before it runs: Snakemake reads these files, and --help shall be quick.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from taclean.util.errors import UserError

if TYPE_CHECKING:
    from taclean.config import Config

# In the order of --help; a file's name but for the _ that keeps it off Python's own words.
ORDER = (
    "config", "keys", "plan", "fetch", "index", "pack", "import", "trigger", "poison", "train",
    "gate", "text", "evaluate", "scan", "moves", "check",
)  # fmt: skip


def commands() -> dict[str, ModuleType]:
    """The files of this folder by the name of their command."""
    files = {
        file.name.strip("_"): importlib.import_module(f"{__name__}.{file.name}")
        for file in pkgutil.iter_modules(__path__)
        if file.name != "shared"
    }
    return {name: files[name] for name in sorted(files, key=ORDER.index)}


def _configs() -> dict[str, Callable[..., dict[str, Any]]]:
    return {
        first: make
        for module in commands().values()
        for first, make in getattr(module, "CONFIGS", {}).items()
    }


def form(first: str) -> str:
    """How a path is written that begins with `first`: "finetune/ATTACK/DEFENSE/seedN"."""
    takes = list(inspect.signature(_configs()[first]).parameters)[1:]
    names = [first, *(name.upper() for name in takes if name not in ("seed", "repeat"))]
    seed = ["seedN" + "[-repeatR]" * ("repeat" in takes)] if "seed" in takes else []
    return "/".join(names + seed)


def stage_config(config: Config, path: str) -> dict[str, Any]:
    """Resolve what one stage depends on.

    Args:
        config: the whole config.
        path: the stage's, in one of the forms that `form` gives.

    Raises:
        UserError: there is no such stage.
    """
    first, *names = path.split("/")
    known, seed = _configs(), {}
    if names and (match := re.fullmatch(r"seed(\d+)(?:-repeat([1-9]\d*))?", names[-1])):
        found = {"seed": match[1], "repeat": match[2]}
        seed, names = {name: int(n) for name, n in found.items() if n}, names[:-1]
    if first not in known:
        raise UserError(f"stage {path!r}: unknown; stages begin with {', '.join(known)}")
    try:
        return {"stage": path, **known[first](config, *names, **seed)}
    except (KeyError, TypeError):
        raise UserError(
            f"stage {path!r}: unknown; give {form(first)} with names of the config"
        ) from None


def recipe(config: Config, path: str) -> str:
    """Return "PATH@DIGEST", which changes if and only if the stage's config does.

    Raises:
        UserError: there is no such stage.
    """
    text = json.dumps(stage_config(config, path), sort_keys=True)
    return f"{path}@{hashlib.sha256(text.encode()).hexdigest()[:12]}"
