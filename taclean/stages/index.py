"""List the samples of a source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from taclean.stages import pack
from taclean.stages.fetch import source_config
from taclean.stages.shared import option, say
from taclean.util.errors import UserError

RECIPE = pack.RECIPE
CONFIGS = {"index/SOURCE": source_config}
OPTIONS = [
    option("--folder", "folder, or CSV file, of the source"),
    option("--out", "Parquet file with the table of its samples"),
]


def run(stage: dict[str, Any], options: Any) -> None:
    """List the samples."""
    from taclean.data.readers import make_reader
    from taclean.data.table import save_table

    table = make_reader(stage, Path(options.folder)).table()
    if table.empty:
        raise UserError(f"{options.folder}: no sample; put the data of {stage['name']} there")
    say(f"index {stage['name']}: {len(table)} samples of {table['picture'].nunique()} pictures")
    save_table(table, options.out)
