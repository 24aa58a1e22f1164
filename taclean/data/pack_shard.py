"""What a worker of the packing does: the wanted rows of one shard, written in place."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taclean.data.images import Broken, load_image
from taclean.data.labels import LabelCaptions, RunLabels
from taclean.data.layout import Tokenize, one_line, picture_hash
from taclean.data.npy import NpyRows
from taclean.data.readers.base import STALE, Reader, Sample
from taclean.util.errors import UserError

# In the order in which a sample is looked at: one with two faults counts for the first.
KINDS = (
    "no_image",
    "no_caption",
    "empty_caption",
    "caption_not_utf8",
    "undecodable",
    "too_large",
    "wrong_mode",
)
ARRAYS = ("images", "tokens", "pictures")
BATCH = 64  # rows that are tokenised and written at once


def create_arrays(folder: Path, rows: int, size: int) -> None:
    folder.mkdir()
    NpyRows.create(folder / "images.npy", np.uint8, (rows, size, size, 3))
    NpyRows.create(folder / "tokens.npy", np.uint16, (rows, 77))
    NpyRows.create(folder / "pictures.npy", np.uint64, (rows,))


@contextmanager
def open_arrays(folder: Path) -> Iterator[dict[str, NpyRows]]:
    arrays = {name: NpyRows(folder / f"{name}.npy") for name in ARRAYS}
    try:
        yield arrays
    finally:
        for array in arrays.values():
            array.close()


@dataclass(frozen=True)
class Task:
    """What all jobs share; a worker gets it once."""

    reader: Reader
    partial: Path
    size: int
    tokenize: Tokenize
    labels: RunLabels | None
    captions: LabelCaptions | None = None


@dataclass(frozen=True)
class Job:
    """Rows of one shard: sorted positions in it, their ids and the slots that they go to."""

    name: str
    shard: str
    positions: np.ndarray
    ids: np.ndarray
    slots: np.ndarray


def _check_texts(sample: Sample) -> None:
    """A Broken where the caption is missing, empty or no UTF-8; labelled samples need none."""
    if sample.caption is None:
        if sample.label < 0:
            raise Broken("no_caption")
        return
    if not sample.caption.strip().strip("\ufeff"):
        raise Broken("empty_caption")
    for text in (sample.caption, *sample.more):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise Broken("caption_not_utf8") from None


def _packable(sample: Sample, size: int) -> np.ndarray:
    """The square of a sample that lacks nothing."""
    if sample.image is None or isinstance(sample.image, Path):
        raise Broken("no_image")
    _check_texts(sample)
    return load_image(sample.image, size)


def pack_shard(task: Task, job: Job) -> list[tuple[int, str]]:
    """Write a shard's rows in place and its done file; returns slot and kind of the broken ones."""
    broken: list[tuple[int, str]] = []
    done = task.partial / "done" / job.name
    temporary = done.with_suffix(".tmp")
    batch: list[tuple[int, np.ndarray, str]] = []
    with (
        open_arrays(task.partial / "rows") as arrays,
        temporary.open("w", encoding="utf-8") as file,
    ):

        def write_batch() -> None:
            if batch:
                slots, pixels, captions = zip(*batch, strict=True)
                arrays["images"].write(slots, np.stack(pixels))
                arrays["pictures"].write(slots, np.concatenate([*map(picture_hash, pixels)]))
                arrays["tokens"].write(slots, task.tokenize(captions))
                batch.clear()

        found = 0
        for sample in task.reader.read(job.shard, job.positions):
            slot, row_id = int(job.slots[found]), int(job.ids[found])
            found += 1
            key = sample.key.encode("utf-8", "backslashreplace").decode("utf-8")
            try:
                pixels = _packable(sample, task.size)
            except Broken as error:
                broken.append((slot, str(error)))
                print(json.dumps(broken[-1]), file=file)
                continue
            label = sample.label if task.labels is None else task.labels.place(sample.label)
            if task.captions is None:
                caption = one_line(sample.caption or "")
            else:
                caption = task.captions.caption(row_id, label)
            batch.append((slot, pixels, caption))
            more = [text for text in map(one_line, sample.more) if text]
            print(json.dumps([slot, None, row_id, label, key, caption, more]), file=file)
            if len(batch) == BATCH:
                write_batch()
        if found != len(job.positions):
            raise UserError(
                f"{job.shard}: {found} of {len(job.positions)} wanted samples are there; it "
                f"changed since it was indexed: {STALE}"
            )
        write_batch()
        file.flush()
        os.fsync(file.fileno())
    # The arrays are on the disk by now: a done file must not outlive its rows in a crash.
    os.replace(temporary, done)
    return broken


_task: Task | None = None


def take_task(task: Task) -> None:
    global _task
    _task = task


def pack_shard_of_task(job: Job) -> list[tuple[int, str]]:
    assert _task is not None
    return pack_shard(_task, job)
