"""Checkpoints of a training: a run that was killed goes on from its last one to the same end."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from taclean.training import distributed
from taclean.util.errors import UserError, first_line
from taclean.util.files import locked, replacing
from taclean.util.progress import say

if TYPE_CHECKING:  # its import takes seconds
    from torch.distributed.checkpoint.stateful import Stateful


class Checkpoints:
    """The checkpoint `last.pt` of one run, whose `fingerprint` is `mark`, in a folder."""

    def __init__(self, folder: Path, mark: str) -> None:
        self._folder, self._path, self._mark = folder, folder / "last.pt", mark

    def hold(self, stack: ExitStack) -> None:
        """Hold the folder until `stack` closes, so that no other process trains in it."""
        distributed.on_first(lambda: stack.enter_context(locked(self._folder)))
        if distributed.rank() == 0:
            for left in self._folder.glob(".last.*.tmp.pt"):  # of a process killed as it wrote
                left.unlink()

    def resume(self, run: Stateful) -> bool:
        """Put the checkpoint into `run`, on every process, and return whether there was one.

        The checkpoint of another run is moved to `last.FINGERPRINT.pt`: a run that comes back
        goes on from its own. A damaged one is moved to `last.other.pt`.
        """
        found = distributed.on_first(lambda: self._load(run))
        with distributed.together():
            if found and distributed.rank() and not self._load(run):
                raise UserError(f"{self._path}: not every process can read it; share the folder")
        return found

    def _load(self, run: Stateful) -> bool:
        own = self._path.with_name(f"last.{self._mark}.pt")
        while self._path.exists() or own.exists():
            if not self._path.exists():
                os.replace(own, self._path)
            try:
                state = torch.load(self._path, map_location="cpu", weights_only=True)
                if (mark := state["fingerprint"]) == self._mark:
                    run.load_state_dict(state)
                    return True
                aside = mark if mark.isalnum() else "other"
            except Exception as error:  # whatever torch's readers raise
                busy = isinstance(error, OSError | MemoryError | torch.OutOfMemoryError)
                if busy and getattr(error, "errno", None) != errno.EINVAL:  # of a truncated file
                    reason = f"cannot be read ({first_line(error)}); run the same command again"
                    raise UserError(f"{self._path}: {reason}") from None
                aside = "other"
                say(f"{self._path}: cannot be gone on from ({first_line(error)}); set aside")
            os.replace(self._path, self._path.with_name(f"last.{aside}.pt"))
        return False

    def save(self, run: Stateful) -> None:
        """Replace the checkpoint by the present state, on process 0; if that fails, it stays."""
        if distributed.rank():
            return
        try:
            with replacing(self._path) as temporary, temporary.open("wb") as file:
                torch.save({**run.state_dict(), "fingerprint": self._mark}, file)
                file.flush()
                os.fsync(file.fileno())  # whole after a crash of the machine, too
        except (OSError, RuntimeError) as error:  # torch's writer: RuntimeError on a full disk
            text = f"cannot write the checkpoint ({first_line(error)}); make room"
            raise UserError(f"{self._path}: {text}") from None
