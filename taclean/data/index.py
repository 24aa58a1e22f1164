"""The index of a source: its shards and how many samples each has."""

from __future__ import annotations

from typing import Any

from taclean.data.readers.base import Reader
from taclean.errors import UserError
from taclean.workers import worker_pool


def make_index(reader: Reader, workers: int = 1) -> dict[str, Any]:
    """Count the samples of every shard: {"shards": [[name, count], ...]}.

    Rows are numbered from 0, or from `first` where the reader has a `first_id` (scenes).

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
    if first := getattr(reader, "first_id", 0):
        index["first"] = first
    return index
