"""Batches of a training set, read ahead of the loop in an order that only the seed decides."""

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from joblib import cpu_count
from torch import Tensor

from taclean.data.split import Pairs
from taclean.training import distributed
from taclean.util.rng import permutation

ORDER = 0x0DE  # names the random stream of the data order
AHEAD = 3  # batches that are read while a step runs
READERS = 16  # for a GPU, at most; each reads a batch and holds its memory


@dataclass(frozen=True)
class Batch:
    """One process's part of one step's data."""

    epoch: int
    index: np.ndarray  # (B,) positions in the set
    images: Tensor  # (B, 3, H, W) uint8 on the device of the run
    tokens: Tensor  # (B, 77) int64 in host memory: the text tower asks for their length
    # The `index` of every process; together they are the whole batch, in its order.
    indices: tuple[np.ndarray, ...]


class Feed:
    """Read batches in the background while the loop computes.

    Rows that fill no batch are left out of an epoch; a set smaller than a batch is one batch.

    Args:
        batch: pairs per step, of all processes together.

    Attributes:
        per_epoch, steps: steps of an epoch and of all.
        waited: seconds that the loop has waited for data.
    """

    def __init__(
        self, pairs: Pairs, *, seed: int, batch: int, epochs: int, device: torch.device
    ) -> None:
        self._pairs, self._batch, self._device = pairs, batch, device
        self.per_epoch = max(1, len(pairs) // batch)
        self.steps, self.waited = self.per_epoch * epochs, 0.0
        self._order = lru_cache(1)(lambda epoch: permutation(len(pairs), seed, epoch, ORDER))
        self._next = 0
        self._reading: deque[Future[Batch]] = deque()
        # On a CPU the loop needs the cores; a GPU takes more than one thread can read from a disk.
        own = cpu_count() // distributed.world() if device.type == "cuda" else 1
        readers = min(READERS, max(1, own))
        self._ahead, self._pool = max(AHEAD, readers), ThreadPoolExecutor(readers, "feed")

    def _read(self, epoch: int, index: np.ndarray) -> Batch:
        """Read this process's part of a batch into host memory."""
        parts = tuple(np.split(index, distributed.world()))
        own = parts[distributed.rank()]
        images, tokens = self._pairs.batch(own, pinned=self._device.type == "cuda")
        return Batch(epoch, own, images, tokens, parts)

    def batch(self, step: int) -> Batch:
        """Return the batch of `step`: of any step in the first call, then of the next one."""
        if not self._reading:
            self._next = step
        while len(self._reading) < self._ahead and self._next < self.steps:
            epoch, place = divmod(self._next, self.per_epoch)
            index = self._order(epoch)[place * self._batch : (place + 1) * self._batch]
            self._reading.append(self._pool.submit(self._read, epoch, index))
            self._next += 1
        started = time.perf_counter()
        batch = self._reading.popleft().result()
        self.waited += time.perf_counter() - started
        return replace(batch, images=batch.images.to(self._device, non_blocking=True))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
