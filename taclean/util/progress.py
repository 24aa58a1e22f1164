"""Log lines, and how far a long work is."""

import logging
import sys
import time
from collections.abc import Callable

Say = Callable[[str], None]
EVERY = 10  # seconds between lines

_log = logging.getLogger("taclean")
say: Say = _log.info  # log a line


class _Stdout(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        code = getattr(sys.stdout, "encoding", None) or "utf-8"  # it may lack a character
        line = self.format(record).encode(code, "backslashreplace").decode(code)
        print(f"{line}\n", end="", flush=True)  # in one piece, since other stages print, too


def log_to_stdout() -> None:
    """Print the lines that this package logs: the message alone, at once, and UTF-8."""
    _log.handlers = [_Stdout()]
    _log.setLevel(logging.INFO)
    _log.propagate = False  # open_clip gives the root logger a handler


class Progress:
    """Log every ten seconds how far a work is and about how many seconds are left.

    Args:
        unit: what is counted, such as "rows".
        say: takes a line.
        first: units that a run which was stopped did before.
    """

    def __init__(self, label: str, total: int, unit: str, say: Say = say, first: int = 0) -> None:
        self._label, self._total, self._unit, self._say = label, total, unit, say
        self._first, self._last = first, time.monotonic()
        self._started, self._moved = self._last, False

    def speed(self, done: int) -> float:
        """Return the units per second so far, where `done` units are done."""
        return (done - self._first) / max(time.monotonic() - self._started, 1e-9)

    def update(self, done: int, note: str = "") -> bool:
        """Note that `done` units are done, with those of `first`; return whether a line was due.

        The speed is measured from the first call on, since what came before it, such as imports,
        happens once. A `note` is more text for the line.
        """
        if not self._moved:
            self._first, self._started, self._moved = done, time.monotonic(), True
        if time.monotonic() - self._last <= EVERY:
            return False
        self._last = time.monotonic()
        parts = [f"{self._label}: {done}/{self._total} {self._unit}", note]
        if done > self._first:
            parts.append(f"about {(self._total - done) / self.speed(done):.0f} s left")
        self._say(", ".join(filter(None, parts)))
        return True
