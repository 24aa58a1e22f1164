"""Files that appear whole or not at all, folders that one process holds, full disks."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taclean.util import slurm
from taclean.util.errors import UserError, first_line

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Raise a UserError where `path` cannot be written because the disk or a quota is full."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of its own kind from safetensors, without a number from numpy
        text = first_line(error)
        numbers = "|".join(map(str, FULL))
        full = re.search(rf"os error ({numbers})\b|\d+ requested and \d+ written", text)
        if full or (isinstance(error, OSError) and error.errno in FULL):
            text = f"cannot be written, the disk is full ({text}); make room and run it again"
            raise UserError(f"{path}: {text}") from None
        raise


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary file or folder name beside `path`; move it there if the block succeeds.

    A folder is moved entry by entry, so that files which others keep in `path` stay.
    """
    path = Path(path)
    if not path.name or (path.exists() and not (path.is_file() or path.is_dir())):
        raise UserError(f"{path}: nothing can be written there; give the path of a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    # The original suffix stays last: writers such as numpy append one that they do not find.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        with writing(path):
            yield temporary
            if temporary.is_dir():
                path.mkdir(exist_ok=True)
                for entry in sorted(temporary.iterdir()):
                    os.replace(entry, path / entry.name)
            else:
                os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def sha256(path: Path | str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mistaken(path: Path | str) -> str:
    """Return in brackets what a file is in place of its contents, such as an HTML page, or ""."""
    if not Path(path).is_file():  # a pipe would wait for its other end
        return ""
    try:
        with Path(path).open("rb") as file:
            head = file.read(200).lstrip().lower()
    except OSError:
        return ""
    if head.startswith(b"version https://git-lfs"):
        return " (a Git LFS pointer: get the file itself by `git lfs pull`)"
    page = head.startswith((b"<!doctype html", b"<html"))
    return " (an HTML page: download the file itself)" if page else ""


@contextmanager
def reading(
    path: Path | str, what: str, *errors: type[Exception], cure: str = "make or fetch it again"
) -> Iterator[None]:
    """Raise a UserError where a file is missing, or where reading it raises one of the errors.

    `what` says what the file is then, such as "not a JSON file".
    """
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; make it or correct the path") from None
    except errors as error:
        why = mistaken(path) or f" ({first_line(error)})"
        raise UserError(f"{path}: {what}{why}; {cure}") from None


def write_text(path: Path | str, text: str) -> None:
    """Write a text as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file; a UserError names one that is missing or is not JSON."""
    with reading(path, "not a JSON file", ValueError, RecursionError):
        return json.loads(Path(path).read_text("utf-8"))


def _ended(lock: Path, who: str) -> bool:
    """Return whether a lock without flock is of a process of another host's job that has ended."""
    found = re.search(r"process (\d+) on (\S+), job (\d+)$", who)
    if not found or found[2] == os.uname().nodename or not lock.exists():
        return False
    named = {line.rpartition("=")[2] for line in lock.read_text("utf-8").splitlines()}
    return {found[1], found[2]} <= named and slurm.has_ended(found[3])


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one process; a UserError names another process that holds it.

    The lock of a killed process is free at once, although workers that it forked may live on. On a
    file system without flock, a lock of another host is free once Slurm says its job has ended.
    """
    from filelock import FileLock, Timeout  # most commands take no lock

    folder.mkdir(parents=True, exist_ok=True)
    file, holder = folder / "lock", folder / "holder"
    who = holder.read_text("utf-8") if holder.exists() else "another run"
    if _ended(file, who):
        file.unlink()
    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        text = f"in use by {who}; wait for it or stop it (without flock: or remove {file})"
        raise UserError(f"{folder}: {text}") from None
    with lock:
        job = os.environ.get("SLURM_JOB_ID")
        who = f"process {os.getpid()} on {os.uname().nodename}" + (f", job {job}" if job else "")
        with writing(holder):
            holder.write_text(who, "utf-8")
        yield
