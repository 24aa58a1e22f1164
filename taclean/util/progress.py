"""What a long work tells while it runs: how far it is, and a log of what happened."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from taclean.util.errors import UserError
from taclean.util.files import writing

T = TypeVar("T")
Say = Callable[[str], None]
EVERY = 10  # seconds between lines


class Progress:
    """Says every ten seconds how far a work is and about how many seconds are left.

    Args:
        label: what the lines start with.
        total: units of the whole work.
        unit: what is counted, such as "rows".
        say: takes a line; None says nothing.
        first: units that were done before, by a run that was stopped.
    """

    def __init__(self, label: str, total: int, unit: str, say: Say | None, first: int = 0) -> None:
        self._label, self._total, self._unit, self._say = label, total, unit, say
        self._first, self._started = first, time.monotonic()
        self._told = self._started

    def speed(self, done: int) -> float:
        """Units per second so far, where `done` are done."""
        return (done - self._first) / max(time.monotonic() - self._started, 1e-9)

    def update(self, done: int, note: str = "") -> bool:
        """Tell that `done` units are done; returns whether a line was due.

        Args:
            done: units done in all, those of `first` included.
            note: what else the line shall say.
        """
        now = time.monotonic()
        if now - self._told <= EVERY:
            return False
        self._told = now
        left = ""
        if done > self._first:
            left = f", about {(self._total - done) / self.speed(done):.0f} s left"
        if self._say:
            self._say(
                f"{self._label}: {done}/{self._total} {self._unit}{note and f', {note}'}{left}"
            )
        return True

    def follow(self, parts: Iterable[T], size: Callable[[T], int] = lambda part: 1) -> Iterator[T]:
        """Pass `parts` on, each of `size(part)` units, and tell how far they are."""
        done = self._first
        for part in parts:
            yield part
            done += size(part)
            self.update(done)


class Log:
    """A training's `train.jsonl`, and its TensorBoard if it has one; nothing on later processes.

    Raises:
        UserError: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, step: int, *, tensorboard: bool, first_process: bool) -> None:
        self._path = folder / "train.jsonl" if first_process else None
        self._board = _board(folder, step) if tensorboard and first_process else None

    def event(self, event: str, **record: Any) -> None:
        """Add a line: the time, what happened, and `record`.

        Raises:
            UserError: the disk is full.
        """
        if self._path:
            line = {"time": round(time.time(), 1), "event": event, **record}
            with writing(self._path), self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def scalars(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Add numbers to TensorBoard, if there is one; only then are tensors read."""
        if self._board:
            for key in values.keys() - {"epoch"}:
                self._board.add_scalar(f"{kind}/{key}", float(values[key]), step)

    def close(self) -> None:
        """Write what TensorBoard still holds back."""
        if self._board:
            self._board.close()


def _board(folder: Path, step: int) -> Any:
    """A TensorBoard writer that goes on at `step`.

    Raises:
        UserError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "train.tensorboard: TensorBoard is not installed; pip install 'taclean[tensorboard]', "
            "or set it to false"
        ) from None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step)
