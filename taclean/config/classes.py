"""Names of classes and prompt templates that a config can refer to. Imports no torch."""

import functools
import importlib.util
import runpy
from importlib import resources
from pathlib import Path
from typing import Any

from taclean.data.labels import read_names, unique_names
from taclean.util.errors import UserError

KNOWN = ("default", "all", "imagenet")


def names(given: str | list[str], where: str = "classes") -> list[str]:
    """Return the classes that one of KNOWN, a text file with a name per line or a list gives."""
    if isinstance(given, str):
        if given == "imagenet":
            return list(_open_clip_metadata()["IMAGENET_CLASSNAMES"])
        if given in KNOWN:
            table = (resources.files("taclean") / "assets/emoji/classes.tsv").read_text("utf-8")
            rows = [line.split("\t") for line in table.splitlines()[1:]]
            return [row[0] for row in rows if given == "all" or row[2] == "1"]
        given = read_names(Path(given).expanduser(), where)
    if len(found := unique_names(given, where)) < 2:
        raise UserError(f"{where}: {len(found)} names; give at least 2")
    return found


def openai_templates() -> list[str]:
    """Return OpenAI's 80 ImageNet templates, with `{}` for the class."""
    return [fill("{}") for fill in _open_clip_metadata()["OPENAI_IMAGENET_TEMPLATES"]]


@functools.cache
def _open_clip_metadata() -> dict[str, Any]:
    return runpy.run_path(str(open_clip_file("zero_shot_metadata.py")))


def open_clip_file(name: str) -> Path:
    """Return a file of open_clip without importing open_clip, which would import torch."""
    spec: Any = importlib.util.find_spec("open_clip")
    return Path(spec.origin).with_name(name)
