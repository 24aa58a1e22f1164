"""Worker processes that inherit no lock and no thread, and end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from taclean.util.memory import collect_rarely, keep_freed


def worker_pool(
    workers: int,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
    preload: Sequence[str] = ("taclean.clip.models",),
) -> ProcessPoolExecutor:
    """Make a pool of processes from a fork server: a clean process that knows this package.

    A fork of the process itself would copy locks that its threads hold (torch has threads, and
    so hangs for ever) and keep its files locked after its end. What goes to the workers must be
    picklable; a script that calls this needs `if __name__ == "__main__":`.

    Args:
        workers: processes, 1 or more.
        initializer: called with `initargs` in each of them.
        preload: the modules that they import, once for all; by default for its tokenizers.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return ProcessPoolExecutor(workers, context, _start, (initializer, initargs))


def _start(initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
    keep_freed()
    collect_rarely()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback from each worker

    def end_with_parent() -> None:
        # A killed parent cannot stop its workers: without this they would wait for ever.
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    if initializer is not None:
        initializer(*initargs)
