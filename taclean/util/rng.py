"""Random numbers as a pure function of (key, row): independent of order, batch and workers."""

import numpy as np
import torch

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele et al. 2014): uint64 -> well mixed uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniform(rows: torch.Tensor | np.ndarray, n: int, *key: int) -> torch.Tensor:
    """Draw `n` numbers in [0, 1) for every row id: (B, n) float32 on the CPU.

    The same row and key always give the same numbers.

    Args:
        rows: (B,) integer row ids.
        key: integers that name the stream, such as (seed, epoch, purpose).
    """
    with np.errstate(over="ignore"):
        state = np.zeros(1, np.uint64)
        for part in key:
            state = _mix((state + np.uint64(part % 2**63) + np.uint64(1)) * _GOLDEN)
        ids = np.asarray(rows).astype(np.int64).astype(np.uint64)
        row_state = _mix(state + (ids + np.uint64(1)) * _GOLDEN)[:, None]
        draws = _mix(row_state + np.arange(1, n + 1, dtype=np.uint64)[None, :] * _GOLDEN)
    # 24 bits fill a float32 mantissa exactly, so 1.0 is never reached.
    return torch.from_numpy((draws >> np.uint64(40)).astype(np.float32) / np.float32(2**24))


def permutation(n: int, *key: int) -> np.ndarray:
    """Return a shuffled `arange(n)`, a function of `key` alone."""
    return np.random.default_rng([part % 2**63 for part in key]).permutation(n)
