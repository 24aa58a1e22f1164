"""The registry of attacks, defences and detectors: each is a file with one class that owns it.

The config validates an entry with that class: its fields are the entry's keys. The file is one of
these folders, by its name, or a file of the user's, by a path with .py.
"""

import contextlib
import functools
import importlib.util
import inspect
import pkgutil
import sys
import warnings
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

from taclean.util.errors import UserError
from taclean.util.files import sha256

BASES = {"attacks": "Attack", "defenses": "Defense", "detectors": "Detector"}
NOUNS = {"attacks": "attack", "defenses": "defence", "detectors": "detector"}


@functools.cache
def load(folder: str, name: str) -> Any:
    """Return the class of taclean/FOLDER/NAME.py, or of the file NAME if that ends in .py.

    FOLDER is one of BASES. A UserError names a file that is missing, cannot be imported, or holds
    no or two such classes.
    """
    file = _file(folder, name)
    there = Path(name).is_file() if name == file else name in _files(folder)
    classes = _classes(folder, name) if there else []
    if not classes:
        place = Path(name).absolute() if name == file else file
        what = f"{NOUNS[folder]} {place} with a class that derives from {BASES[folder]}"
        raise UserError(f"there is no {what}; write it, or use one of {', '.join(names(folder))}")
    if len(classes) > 1:
        found = ", ".join(cls.__name__ for cls in classes)
        raise UserError(f"{file}: has {found}; keep one, or mark the base of others abstract=True")
    return classes[0]


@functools.cache
def entry(folder: str, name: str) -> Any:
    """Return the class of the config's entries of a kind; a UserError names a faulty file."""
    method = load(folder, name)
    try:
        return method.entry()
    except Exception as error:  # class variables of another form than the base class's
        reason = f"{_file(folder, name)}: {type(error).__name__}: {error}"
        raise UserError(" ".join(reason.split())[:300]) from None


def names(folder: str) -> list[str]:
    """Return the names of the methods of a folder; files that cannot be imported are left out."""
    found = []
    for name in _files(folder):
        with contextlib.suppress(UserError):
            found += [name] * bool(_classes(folder, name))
    return found


@functools.cache  # a job of a run in which the file was edited finds another digest and stops
def own_code(name: str) -> dict[str, str]:
    """Return the digest of a user's file as `code`, since its stages depend on it; else nothing."""
    return {"code": sha256(name)[:12]} if name.endswith(".py") else {}


def _file(folder: str, name: str) -> str:
    return name if name.endswith(".py") else f"taclean/{folder}/{name}.py"


def _module(folder: str, name: str) -> ModuleType:
    if not name.endswith(".py"):
        return importlib.import_module(f"taclean.{folder}.{name}")
    other = getattr(sys.modules.get(stem := Path(name).stem), "__file__", None)
    if stem in sys.stdlib_module_names or (other and not Path(other).samefile(name)):
        raise ImportError(f"a module of Python is named {stem}, too; rename the file")
    spec: Any = importlib.util.spec_from_file_location(name, name)  # the name ends in .py
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    with contextlib.redirect_stdout(sys.stderr):  # a command's output stays its own
        spec.loader.exec_module(module)
    return module


def _files(folder: str) -> list[str]:
    package = importlib.import_module(f"taclean.{folder}")
    return [file.name for file in pkgutil.iter_modules(package.__path__)]


def _classes(folder: str, name: str) -> list[Any]:
    """Return the methods that a file defines; a file that only helps others defines none."""
    base = getattr(importlib.import_module(f"taclean.{folder}"), BASES[folder])
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Field ")  # pydantic's; the error says it, too
            module = _module(folder, name)
    except (Exception, SystemExit) as error:  # whatever a new file makes Python or pydantic raise
        reason = " ".join(str(error).split()).partition(" For further information")[0][:300]
        lines = [one.lineno for one in extract_tb(error.__traceback__) if one.filename == name]
        reason = (reason or type(error).__name__) + "".join(f" (line {n})" for n in lines[-1:])
        if isinstance(error, SystemExit):
            reason = "it ends Python; leave argparse and sys.exit out"
        if isinstance(error, ImportError) and Path(name).with_name(f"{error.name}.py").is_file():
            reason += "; put that file's code into this one, or install it"
        raise UserError(f"{_file(folder, name)}: cannot be imported: {reason}") from None
    found = dict.fromkeys(cls for _, cls in inspect.getmembers(module, inspect.isclass))
    own = [cls for cls in found if issubclass(cls, base)]
    return [cls for cls in own if cls.__module__ == module.__name__ and not vars(cls)["abstract"]]
