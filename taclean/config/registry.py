"""The registry of attacks and defences: each is a file with one class, which owns all of it.

What the config has to know of them (labels, parameters, texts) comes from the very classes that
run. Importing them imports torch, which takes seconds: so what they say is kept beside Python's
own caches for as long as no file of the package changes.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from taclean.config.section import Schema
from taclean.util.errors import UserError
from taclean.util.files import write_json

PACKAGE = Path(__file__).parents[1]
BASES = {"attacks": "Attack", "defenses": "Defense"}
NOUNS = {"attacks": "attack", "defenses": "defence"}


@functools.cache
def load(folder: str, name: str) -> Any:
    """The class of taclean/FOLDER/NAME.py.

    Args:
        folder: "attacks" or "defenses".

    Raises:
        UserError: there is no such file, it cannot be imported, or it holds no or two classes.
    """
    file, noun = f"taclean/{folder}/{name}.py", NOUNS[folder]
    if name not in _files(folder):
        known = ", ".join(n for n in _files(folder) if found(folder, n))
        raise UserError(f"{noun} {name!r}: there is no {file}; write it, or use one of {known}")
    classes = found(folder, name)
    if len(classes) != 1:
        has = ", ".join(cls.__name__ for cls in classes) or "none"
        raise UserError(
            f"{file}: wants one class that derives from {BASES[folder]} and has {has}; mark one "
            "that others derive from abstract=True"
        )
    return classes[0]


def _files(folder: str) -> list[str]:
    package = importlib.import_module(f"taclean.{folder}")
    return [file.name for file in pkgutil.iter_modules(package.__path__)]


def found(folder: str, name: str) -> list[Any]:
    """The methods that a file defines itself: none in one that only helps others.

    Raises:
        UserError: the file cannot be imported.
    """
    base = getattr(importlib.import_module(f"taclean.{folder}"), BASES[folder])
    try:
        module = importlib.import_module(f"taclean.{folder}.{name}")
    except UserError:
        raise
    except Exception as error:  # whatever a new file makes Python or pydantic raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"taclean/{folder}/{name}.py: cannot be imported: {reason[:300]}") from None
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and not vars(value).get("abstract", False)
    ]


def describe() -> dict[str, dict[str, Schema]]:
    """What every file says: {"attacks": {NAME: description}, "defenses": ...}.

    A description is what the class's `described` gives, or {"error": why there is no method}.
    """
    out: dict[str, dict[str, Schema]] = {}
    for folder in BASES:
        out[folder] = {}
        for name in _files(folder):
            try:
                if found(folder, name):
                    out[folder][name] = load(folder, name).described()
            except UserError as error:
                out[folder][name] = {"error": str(error)}
            except Exception as error:  # class variables of another form than the base class's
                reason = f"taclean/{folder}/{name}.py: {type(error).__name__}: {error}"
                out[folder][name] = {"error": " ".join(reason.split())[:300]}
    return out


@functools.cache
def _described() -> dict[str, dict[str, Schema]]:
    if "taclean.attacks" in sys.modules and "taclean.defenses" in sys.modules:
        return describe()
    digest = hashlib.sha256(sys.version.encode())
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(file.as_posix().encode() + file.read_bytes())
    kept = PACKAGE / "__pycache__" / f"methods-{digest.hexdigest()[:16]}.json"
    try:
        return json.loads(kept.read_text("utf-8"))
    except (OSError, ValueError):
        pass
    path = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]).strip(
        os.pathsep
    )
    done = subprocess.run(
        [sys.executable, "-m", "taclean.config.registry"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        raise UserError(f"taclean/attacks and taclean/defenses cannot be read: {reason}")
    made = json.loads(done.stdout.splitlines()[-1])  # a file may print as it is imported
    try:
        for old in kept.parent.glob("methods-*.json"):
            old.unlink()
        write_json(kept, made)
    except OSError:
        pass  # a package that may not be written to: read it again the next time
    return made


def described(folder: str, name: str, where: str) -> Schema:
    """What a method says of itself; `where` is the config's key that names it.

    Raises:
        UserError: there is no such method.
    """
    known = _described()[folder]
    if name not in known:
        file = f"taclean/{folder}/{name}.py"
        good = ", ".join(n for n, entry in known.items() if "error" not in entry)
        raise UserError(f"{where}: there is no {NOUNS[folder]} {file}; write it, or take {good}")
    if "error" in known[name]:
        raise UserError(f"{where}: {known[name]['error']}")
    return known[name]


def names(folder: str) -> list[str]:
    """The methods of a folder, by name."""
    return [name for name, entry in _described()[folder].items() if "error" not in entry]


if __name__ == "__main__":
    print(json.dumps(describe()))
