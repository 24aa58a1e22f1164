"""Free the locks of a killed run, and keep those of a living one.

Snakemake's lock files outlive a SIGKILL and do not name their owner. So each run writes a list of
its own lock files into a folder that it holds by a file lock, and the kernel drops that lock when
the process ends.
"""

import atexit
import os
import shutil
import uuid
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from taclean.util.errors import UserError
from taclean.util.files import locked, read_json, write_json

FOLDER = "taclean-runs"  # beside Snakemake's `locks`
BOOT = Path("/proc/sys/kernel/random/boot_id")  # Linux's


def hold_locks(persistence: Any) -> None:
    """List the lock files of this run until the process ends; call it after Snakemake locked.

    On a file system without file locks nothing is listed, and a killed run's locks stay. The
    workflow's `persistence` keeps its record of lock files private.
    """
    files = [Path(file) for file in getattr(persistence, "_lockfile", {}).values()]
    run = Path(persistence.path).absolute() / FOLDER / uuid.uuid4().hex
    held = ExitStack()
    atexit.register(shutil.rmtree, run, ignore_errors=True)
    atexit.register(held.close)  # runs before the one above
    with suppress(UserError, OSError, NotImplementedError):
        held.enter_context(locked(run))
        # Snakemake reuses names: the time tells a lock from a later one of the same name.
        made = {str(file): file.stat().st_mtime_ns for file in files}
        write_json(run / "run.json", {"machine": _machine(), "locks": made})


def free_dead_locks(folder: Path | str = ".snakemake") -> None:
    """Remove the lock files of runs that died on this machine.

    Locks of a run on another machine stay, because file locks do not reach across every network
    file system. So do the files of another user. `folder` is Snakemake's.
    """
    for note in Path(folder).absolute().glob(f"{FOLDER}/*/run.json"):
        with suppress(UserError, OSError, NotImplementedError):  # alive; not ours to remove
            run = read_json(note)
            if not set(run["machine"]) & set(_machine()):
                continue
            with locked(note.parent):
                for file, made in run["locks"].items():
                    with suppress(FileNotFoundError):
                        if os.stat(file).st_mtime_ns == made:
                            os.unlink(file)
            shutil.rmtree(note.parent)


def _machine() -> list[str]:
    """Return the machine's name and the id of its boot, which its containers share."""
    return [os.uname().nodename, *(BOOT.read_text("utf-8").split() if BOOT.exists() else ())]
