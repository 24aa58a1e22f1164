"""Checkpoints of a training: a run that was killed goes on from its last one to the same end."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import ExitStack
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from taclean.training import distributed
from taclean.util.errors import UserError, first_line
from taclean.util.files import locked, replacing

if TYPE_CHECKING:
    from taclean.training.loop import Training


class Checkpoints:
    """The checkpoint `last.pt` of one run in a folder.

    Args:
        mark: the run's `fingerprint`.
    """

    def __init__(self, folder: Path, mark: str) -> None:
        self._folder, self._path, self._mark = folder, folder / "last.pt", mark

    def hold(self, stack: ExitStack) -> None:
        """Hold the folder until `stack` closes, so that no other process trains in it."""
        distributed.on_first(partial(self._take, stack))

    def _take(self, stack: ExitStack) -> None:
        stack.enter_context(locked(self._folder))
        for left in self._folder.glob(".last.*.tmp.pt"):  # of a process that was killed as it wrote
            left.unlink()

    def resume(self, run: Training) -> bool:
        """Put the checkpoint into `run`, on every process, and return whether there was one.

        The checkpoint of another run, or a damaged one, is moved aside.

        Raises:
            UserError: process 0 can read the checkpoint and another process cannot.
        """
        found = distributed.on_first(partial(self._load, run))
        with distributed.together():
            if found and distributed.rank() and not self._load(run):
                raise UserError(f"{self._path}: not every process can read it; share the folder")
        return found

    def _load(self, run: Training) -> bool:
        if not self._path.exists():
            return False
        try:
            state = torch.load(self._path, map_location="cpu", weights_only=True)
            if state["fingerprint"] != self._mark:
                raise KeyError("fingerprint")
            run.load_state_dict(state)
        except Exception:  # whatever torch's readers raise
            os.replace(self._path, self._path.with_name("last.other.pt"))
            return False
        return True

    def save(self, run: Training) -> None:
        """Replace the checkpoint by the present state, on process 0.

        Raises:
            UserError: it cannot be written; the one before stays.
        """
        if distributed.rank():
            return
        try:
            with replacing(self._path) as temporary, temporary.open("wb") as file:
                torch.save({**run.state_dict(), "fingerprint": self._mark}, file)
                file.flush()
                os.fsync(file.fileno())  # whole after a crash of the machine, too
        except (OSError, RuntimeError) as error:  # torch's writer: RuntimeError on a full disk
            raise UserError(
                f"{self._path}: cannot write the checkpoint ({first_line(error)}); make room"
            ) from None


def fingerprint(*parts: Any) -> str:
    """Hash what decides a run's result, so that no other run's checkpoint is resumed.

    The parts are JSON values, arrays, tensors and dataclasses of them.
    """
    digest = hashlib.sha256()
    for part in parts:
        _add(digest, part)
    return digest.hexdigest()[:16]


def _add(digest: Any, value: Any) -> None:
    digest.update(type(value).__name__.encode())
    if isinstance(value, Tensor):
        value = value.detach().cpu().contiguous().numpy()
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).data)
    elif is_dataclass(value):
        for field in fields(value):
            _add(digest, getattr(value, field.name))
    elif isinstance(value, dict):
        for key in sorted(value):
            _add(digest, key)
            _add(digest, value[key])
    elif isinstance(value, list | tuple):
        for entry in value:
            _add(digest, entry)
    else:
        digest.update(json.dumps(value).encode())
