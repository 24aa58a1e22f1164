"""Time the packing of JPEG pairs of CC3M's size, in rows per second on one core."""

import io
import json
import tarfile
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import reference
from benchmarks.common import Row, captions, compare, photos, row
from taclean.clip.models import tokenize
from taclean.data.pack import pack_rows
from taclean.data.readers import make_reader

ROWS = 256


def jpegs(count: int) -> list[bytes]:
    """Make JPEG files with sides of 400 to 800 px, around the size of CC3M's."""
    rng, files = np.random.default_rng(0), []
    for height, width in rng.integers(400, 801, (count, 2)):
        file = io.BytesIO()
        Image.fromarray(photos(1, int(height), int(width), len(files))[0]).save(
            file, "JPEG", quality=90
        )
        files.append(file.getvalue())
    return files


def shards(folder: Path, rows: int, per_shard: int = 128) -> list[str]:
    """Write webdataset shards of `rows` pairs (64 different pictures) and return their names."""
    pictures, texts, names = jpegs(min(rows, 64)), captions(rows), []
    for start in range(0, rows, per_shard):
        names.append(f"cc3m-train-{start // per_shard:04d}.tar")
        with tarfile.open(folder / names[-1], "w") as tar:
            for i in range(start, min(start + per_shard, rows)):
                parts = {"jpg": pictures[i % 64], "txt": texts[i].encode()}
                parts["json"] = json.dumps({"caption": texts[i], "key": f"{i:09d}"}).encode()
                for extension, data in parts.items():
                    info = tarfile.TarInfo(f"{i:09d}.{extension}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return names


def pack(folder: Path, names: list[str], target: Path, workers: int = 1) -> None:
    """List whole shards and pack them into `target`."""
    reader = make_reader({"reader": "webdataset", "files": names}, folder)
    pack_rows(
        target, reader, reader.table(),
        size=224, tokenize=partial(tokenize, "RN50-quickgelu"), workers=workers,
    )  # fmt: skip


def main() -> list[Row]:
    """Time packing on one core against a plain loop over the same pictures as files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names, runs = shards(folder, ROWS), iter(range(1000))
        files = [folder / f"{i}.jpg" for i in range(64)]
        for file, data in zip(files, jpegs(64), strict=True):
            file.write_bytes(data)
        mine, other = compare(
            lambda: pack(folder, names, folder / f"packed{next(runs)}"),
            lambda: [reference.decode(files[i % 64]) for i in range(ROWS)],
            3,
        )
    what = "packing on one core, JPEG of 400 to 800 px to 224 px (plain: decoding only)"
    return [row(what, ROWS / mine, ROWS / other, "row/s", other / mine)]
