"""What several files of tests need: Snakemake, mistakes, objectives and models."""

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from taclean.data.readers import Reader, make_table
from taclean.util.errors import UserError
from workflow_scripts import forks as forked

ROOT = Path(__file__).parent.parent
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1}
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
TRIGGERS = [  # attack, parameters
    ("badnet", {"place": "random"}), ("badnet", {"redraw": True}), ("blended", {}),
    ("blended", {"redraw": True}), ("sig", {}), ("trojvqa", {}), ("badclip", {}), ("ssba", {})
]  # fmt: skip
SOURCES = ("Snakefile", "rules", "workflow_scripts", "taclean", "config", "profiles", "envs")


def refused(call: Callable[[], object], *words: str) -> str:
    """Return the message of the UserError that `call` raises; it holds all the words."""
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert [word for word in words if word not in message] == [], message
    return message


class Given(Reader):
    """Samples in memory, of which some may have no picture."""

    gives = "pairs"

    def __init__(self, images, captions=None, labels=-1, classes=None) -> None:
        places = [None if image is None else str(i) for i, image in enumerate(images)]
        keys = map(str, range(len(images)))
        self.given = make_table(keys, places, captions, labels, None, classes)
        self.images = images

    def table(self):
        return self.given

    def image(self, where):
        return self.images[int(where)]


class Dies:
    """An objective that raises KeyboardInterrupt before step `left`."""

    def __init__(self, inner: Any, left: int) -> None:
        self.inner, self.left = inner, left

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def loss(self, model, batch):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.inner.loss(model, batch)


def write_tar(path: Path, members: Iterable[tuple[str, bytes]], **options: Any) -> Path:
    """Write a tar of files by name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def copy_sources(folder: Path, *more: str) -> Path:
    """Copy the workflow, which a test may then edit."""
    tree = partial(shutil.copytree, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (*SOURCES, *more):
        copy = tree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    return folder


def command(folder: Path, *options: object, files: Sequence[Path | str] = ()) -> list[str]:
    """Return the call of Snakemake for results in `folder`, with config files on the default."""
    call = ["snakemake", "--cores", "2", "--directory", folder, *options]
    return [str(part) for part in ([*call, "--configfile", *files] if files else call)]


def environment(source: Path = ROOT) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(source)}


@cache
def forks() -> str:
    """Start a server of workflow_scripts/forks.py; return a PATH whose programs ask it."""
    folder = forked.programs((*forked.MODULES, "snakemake.cli"))
    if folder is None:  # no server here
        return os.environ["PATH"]
    ask = f"exec {sys.executable} -IS {forked.__file__} {folder}/socket"
    (folder / "snakemake").write_text(f'#!/bin/sh\n{ask} -m snakemake "$@"\n', "utf-8")
    (folder / "snakemake").chmod(0o755)
    while not (folder / "socket").exists():
        time.sleep(0.05)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def run(
    *call: object, cwd: Path = ROOT, source: Path = ROOT, fails: bool = False, plain: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command with the package of `source`; it must end well, or fail where it shall.

    Stages and Snakemake are forked (workflow_scripts/forks.py); `plain`: they start by themselves.
    """
    how: Any = {"capture_output": True, "text": True, "check": False}
    own = environment(source) | ({forked.PLAIN: "1"} if plain else {"PATH": forks()})
    done = subprocess.run([*map(str, call)], cwd=cwd, env=own, **how)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done


def snakemake(
    folder: Path,
    *options: object,
    files: Sequence[Path | str] = (),
    text: str = "",
    source: Path = ROOT,
    **how: Any,
) -> str:
    """Run the workflow of `source`, with `text` as the last config file; return what it prints."""
    if text:
        files = [*files, folder.with_name(f"{folder.name}.yaml")]
        files[-1].write_text(text, "utf-8")
    done = run(*command(folder, *options, files=files), cwd=source, source=source, **how)
    return done.stdout + done.stderr


def jobs(said: str) -> dict[str, int]:
    """Return the number of jobs of each rule, as a dry run lists them."""
    return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", said, re.MULTILINE)}
