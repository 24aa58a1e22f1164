"""Count the samples of each shard of a source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from taclean.stages.fetch import source_config
from taclean.stages.shared import say
from taclean.util.files import write_json

CONFIGS = {"index": source_config}


def arguments(add: Any) -> None:
    """Options beside --config."""
    add("--folder", "folder, or CSV file, of the source")
    add("--out", "JSON with the samples of each shard")


def run(stage: dict[str, Any], options: Any) -> None:
    """Count."""
    from taclean.data.index import index_rows, make_index
    from taclean.data.readers import make_reader

    index = make_index(make_reader(stage, Path(options.folder)))
    total = index_rows(index)
    say(f"index {stage['name']}: {total} samples in {len(index['shards'])} shards")
    write_json(options.out, index)
