"""SIGTERM, or the end of a job's time, asks a long work to save and leave."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taclean.util import slurm
from taclean.util.errors import StoppedError

MARGIN = 120  # seconds before the end of a job's time


class Stop:
    """Handler of SIGTERM, and of an alarm before the time limit: Slurm's SIGTERM may not come here.

    `asked` says whether one of them came; `why` names it.
    """

    def __init__(self) -> None:
        self.asked, self._raises, self.why = False, False, "SIGTERM"

    def __call__(self, number: int, frame: Any) -> None:
        self.asked = True
        if number == signal.SIGALRM:
            self.why = "the end of its job's time"
        if self._raises:
            raise StoppedError

    @contextmanager
    def listening(self) -> Iterator["Stop"]:
        """Handle the signals within the block; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {n: signal.signal(n, self) for n in (signal.SIGTERM, signal.SIGALRM)}
        if (end := slurm.end_time()) is not None:
            signal.setitimer(signal.ITIMER_REAL, max(end - MARGIN - time.time(), 0.001))
        try:
            yield self
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Raise StoppedError within the block as a signal comes, or now if one came before."""
        try:
            self._raises = True
            if self.asked:
                raise StoppedError
            yield
        finally:
            self._raises = False
