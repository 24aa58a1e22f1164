"""Fetch a source from the hub or from its publisher, and the descriptors of its captions."""

from pathlib import Path
from typing import Any

from taclean.config import Config
from taclean.stages import pack
from taclean.stages.shared import option
from taclean.util.errors import UserError
from taclean.util.files import write_json


def source_config(config: Config, source: str) -> dict[str, Any]:
    return {"name": source, **config.dataset.sources[source].given()}


RECIPE = pack.RECIPE
CONFIGS = {"fetch/SOURCE": source_config}
OPTIONS = [
    option("--folder", "folder for the source's files; a killed fetch goes on there"),
    option("--out", "JSON with what is there"),
]


def run(stage: dict[str, Any], options: Any) -> None:
    from taclean.data.download import fetch_published
    from taclean.data.fetch import fetch
    from taclean.data.readers import READERS

    folder, found = Path(options.folder), dict[str, Any]()
    if "hub" in stage:
        found["files"] = fetch(stage, folder)
    elif stage.get("download") and (download := READERS[stage["reader"]].download):
        download(folder)
        found["download"] = stage["reader"]
    if (stage.get("details") or {}).get("descriptors") == "download":
        path = fetch_published("descriptors", folder, "details.descriptors")
        found["descriptors"] = path.name
    if not found:
        raise UserError(f"{stage['name']}: a folder of yours, {stage['folder']}; nothing to fetch")
    write_json(options.out, found)
