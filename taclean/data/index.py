"""The index of a source: its shards, how many samples each has, and which show one picture."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from taclean.data.readers.base import STALE, Reader
from taclean.util.errors import UserError
from taclean.util.workers import worker_pool


def make_index(reader: Reader, workers: int = 1) -> dict[str, Any]:
    """Count the samples of every shard.

    Returns:
        A JSON object: `shards`, a list of [name, count]; `first`, the id of the first row, where
        that is not 0 (scenes); `pictures`, only where rows share a picture (see `index_pictures`).

    Raises:
        UserError: a shard is missing, foreign or truncated, or there is no sample at all.
    """
    shards = reader.shards()
    if workers == 1 or len(shards) == 1:
        counts = [reader.count(shard) for shard in shards]
    else:
        with worker_pool(min(workers, len(shards))) as pool:
            counts = list(pool.map(reader.count, shards, chunksize=8))
    if not sum(counts):
        raise UserError(f"source: {len(shards)} shards without a sample; put the data there")
    index: dict[str, Any] = {"shards": [list(shard) for shard in zip(shards, counts, strict=True)]}
    if reader.first_id:
        index["first"] = reader.first_id
    if (pictures := reader.pictures()) is not None:
        _, first, group = np.unique(pictures, return_index=True, return_inverse=True)
        back = np.arange(len(pictures)) - first[group]
        if back.any():  # rows back to the first one with that picture: mostly alike, so tiny
            packed = zlib.compress(back.astype("<i4").tobytes())
            index["pictures"] = base64.b64encode(packed).decode("ascii")
    return index


def index_rows(index: Mapping[str, Any]) -> int:
    """The number of rows of an indexed source."""
    return sum(count for _, count in index["shards"])


def index_pictures(index: Mapping[str, Any]) -> np.ndarray | None:
    """Which rows show the same picture: (rows,) int64, the first row that shows it.

    None: every row has a picture of its own.

    Raises:
        UserError: the index is damaged.
    """
    if "pictures" not in index:
        return None
    try:
        back = np.frombuffer(zlib.decompress(base64.b64decode(index["pictures"])), "<i4")
        if len(back) != index_rows(index):
            raise ValueError
    except (ValueError, TypeError, zlib.error):
        raise UserError(f"index: its `pictures` are damaged; {STALE}") from None
    return np.arange(len(back)) - back
