"""How a process keeps its memory: what is freed stays, and garbage is looked for less often."""

from __future__ import annotations

import ctypes
import gc

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of mallopt(3)


def keep_freed() -> bool:
    """Make the C library keep what is freed instead of handing it back to the system.

    Every batch on a CPU frees its activations, and glibc's default gives blocks of such a size back
    at once: the next batch takes them again page by page, which costs a tenth of a training step
    and up to half of an evaluation. Call it before the large work; it is for the rest of the
    process.

    Returns:
        Whether it took effect; where the C library is not glibc nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    largest = 2**31 - 1
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, largest))


def collect_rarely() -> None:
    """Make Python look for cyclic garbage after 50,000 new objects in place of some hundreds.

    Torch, torchvision and open_clip make about a million objects as they are imported, none of
    them garbage: looking takes a sixth of the second or two that every stage needs to begin.
    """
    gc.set_threshold(50_000)
