"""List the samples of a source."""

from pathlib import Path
from typing import Any

from taclean.config import Config
from taclean.data.readers import READERS
from taclean.data.readers.webdataset import WebDataset
from taclean.stages import pack
from taclean.stages.fetch import source_config
from taclean.stages.shared import WORKERS, option, say
from taclean.util.errors import UserError


def index_config(config: Config, source: str) -> dict[str, Any]:
    """Return what a source is and, if it has shards, the share of them that may be broken."""
    stage = source_config(config, source)
    shards = issubclass(READERS[stage["reader"]], WebDataset)
    return stage | ({"max_broken": config.dataset.max_broken} if shards else {})


RECIPE = pack.RECIPE
CONFIGS = {"index/SOURCE": index_config}
OPTIONS = [
    option("--folder", "folder, or CSV file, of the source"),
    option("--out", "Parquet file with the table of its samples"),
    WORKERS,
]


def run(stage: dict[str, Any], options: Any) -> None:
    from joblib import parallel_config

    from taclean.data.readers import make_reader, save_table

    with parallel_config(n_jobs=options.workers):
        table = make_reader(stage, Path(options.folder)).table()
    if table.empty:
        raise UserError(f"{options.folder}: no sample; put the data of {stage['name']} there")
    say(f"index {stage['name']}: {len(table)} samples of {table['picture'].nunique()} pictures")
    save_table(table, options.out)
