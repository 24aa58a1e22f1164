"""SIGTERM, of a user or a scheduler, asks a long work to save and leave."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taclean.util.errors import StoppedError


class Stop:
    """Handler of SIGTERM.

    Attributes:
        asked: whether the signal came.
    """

    def __init__(self) -> None:
        self.asked = self._raises = False

    def __call__(self, *signal_and_frame: Any) -> None:
        self.asked = True
        if self._raises:
            raise StoppedError

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Handle SIGTERM within the block; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = signal.signal(signal.SIGTERM, self)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, before)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Raise StoppedError within the block as SIGTERM comes, or now if it came before."""
        try:
            self._raises = True
            if self.asked:
                raise StoppedError
            yield
        finally:
            self._raises = False
