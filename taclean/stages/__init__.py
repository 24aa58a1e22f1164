"""The stages of the chain: a file each, with its config, its arguments and what it does.

A stage has a path such as "finetune/badnet/taclean/seed0", or "seed0-repeat1" for that victim's
second cleaning, and a config: the JSON object that decides its result. A rule has the path and the
digest of that object as a param, so that a changed key reruns exactly the stages that it matters
to; the job makes the object itself and writes it beside its result. A file of this folder defines

    `CONFIGS`: for each form of its paths, the function that makes the config from the whole one,
        the path's names and its seed; left out by commands that are no stage;
    `RECIPE`: raised when a change of the code changes results, so that Snakemake reruns the stage;
    `OPTIONS`: its options on the command line beside `--config`, made by `shared.option`;
    `run(stage, options)`: the work; `run(options)` for commands that are no stage.

Nothing here imports torch before it runs: Snakemake reads these files, and --help shall be quick.
"""

import hashlib
import importlib
import json
import pkgutil
import re
from types import ModuleType
from typing import Any

from taclean.config import Config
from taclean.config.schema import Train
from taclean.util.errors import UserError


def commands() -> dict[str, ModuleType]:
    """Return the files of this folder by command: the file's name without a _ at its end."""
    files = (file.name for file in pkgutil.iter_modules(__path__) if file.name != "shared")
    return {name.strip("_"): importlib.import_module(f"{__name__}.{name}") for name in files}


def stage_config(config: Config, path: str) -> dict[str, Any]:
    """Resolve what the stage of a path depends on; a UserError says that there is no such stage."""
    first, *names = path.split("/")
    known = {
        form.partition("/")[0]: (form, make, module)
        for module in commands().values()
        for form, make in getattr(module, "CONFIGS", {}).items()
    }
    if first not in known:
        raise UserError(f"stage {path!r}: unknown; stages begin with {', '.join(known)}")
    (form, make, module), seed = known[first], {}
    if names and (match := re.fullmatch(r"seed(\d{1,10})(?:-repeat([1-9]\d{,2}))?", names[-1])):
        found = {"seed": match[1], "repeat": match[2]}
        seed, names = {name: int(n) for name, n in found.items() if n}, names[:-1]
    try:
        recipe = {"recipe": module.RECIPE} if hasattr(module, "RECIPE") else {}
        return {"stage": path, **recipe, **make(config, *names, **seed)}
    except (AttributeError, KeyError, TypeError):
        raise UserError(f"stage {path!r}: unknown; give {form} with names of the config") from None


def recipe(config: Config, path: str) -> str:
    """Return "PATH@DIGEST", which changes if and only if the stage's config does."""
    text = json.dumps(Train.deciding(stage_config(config, path)), sort_keys=True)
    return f"{path}@{hashlib.sha256(text.encode()).hexdigest()[:12]}"
