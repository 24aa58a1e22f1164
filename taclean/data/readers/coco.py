"""COCO 2017's validation captions, for retrieval."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taclean.data.readers.base import ListReader, Reader, Sample
from taclean.util.errors import UserError

COCO_CAPTIONS = 5  # kept of each image; val2017 has a few with 6 or 7


def open_coco(spec: Mapping[str, Any], folder: Path) -> Reader:
    """Open `captions_val2017.json` with the images in `val2017`."""
    name = "captions_val2017.json"
    paths = [path for path in (folder / name, folder / "annotations" / name) if path.is_file()]
    if not paths or not (folder / "val2017").is_dir():
        missing = "val2017/" if paths else name
        raise UserError(f"{folder}: no {missing}; put {name} and val2017/ of COCO 2017 there")
    try:
        table = json.loads(paths[0].read_text("utf-8"))
        captions: dict[int, list[str]] = {}
        for note in sorted(table["annotations"], key=lambda note: note["id"]):
            captions.setdefault(note["image_id"], []).append(str(note["caption"]))
        samples: list[Sample] = []
        for image in sorted(table["images"], key=lambda image: image["id"]):
            found = captions.get(image["id"], [])
            found = ([text for text in found if text.strip()] or found)[:COCO_CAPTIONS]
            path = folder / "val2017" / image["file_name"]
            first = found[0] if found else None
            samples.append(Sample(image["file_name"], first, -1, path, tuple(found[1:])))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{paths[0]}: no COCO captions ({error!r}); fetch it again") from None
    if not samples:
        raise UserError(f"{paths[0]}: lists no images; fetch it again")
    return ListReader("val2017", samples, None)
